"""Every setting is somewhere, and is found there in what the program registers, for all kinds of stacks.

Each stack's rows are computed, and each place that a row names is looked up. What is registered is what `infra.registration` says, and for
some stacks also what Pulumi's own mocks were sent. A rendering that is removed leaves a row without a place, or a place without the value.
"""

import dataclasses
import datetime
import functools

import pytest

from infra.registration import UNKNOWN, Registration, registration
from planner import plan as make_plan
from planner.engine_facts import NAMES
from reports.outcomes import outcomes
from settings.flatten import leaves
from stacks import program
from tests import evidence
from tests.infra import variations
from tests.infra.changes import differences
from tests.infra.kubernetes.conftest import settings_of
from tests.mocks import Recorder, recording, run
from tests.shipped import STACKS

STACK = "test"
TODAY = datetime.date(2026, 1, 1)
MOCKED = (
    "prod",
    "all changed",
    "llama.cpp behind every lock",
    "vllm as two Ray groups on H100",
    "vllm on two GPUs, fetched weights on the node",
)
"""Stacks that are deployed under the mocks too, which takes forty times as long; between them they have every component."""


@dataclasses.dataclass(frozen=True)
class Stack:
    """What one stack registers, and its rows."""

    registration: Registration
    rows: tuple

    def find(self, place):
        found = self.registration.find(place)
        assert place.kind in ("plan", "Pulumi resource") or len(found) < 2 or "*" in place.name, f"{place} is {len(found)} resources"
        return found


def settings_named(variation):
    if variation in STACKS:
        return settings_of(variation)
    return variations.all_changed() if variation == "all changed" else variations.variation(variation)


@functools.cache
def registered(variation):
    asked = settings_named(variation)
    record = registration(make_plan(asked), STACK, today=TODAY)
    return Stack(record, outcomes(asked, record))


def test_another_value_is_not_found():
    stack = registered("prod")
    for row in stack.rows:
        for place in row.places:
            assert evidence.wrong(dataclasses.replace(place, holds=f"{place.holds or ''}x"), stack.find), str(place)


def test_all_changed_changes_all():
    """What is found in both is found because it was asked for, not because a field happens to hold it."""
    before, after = registered("prod").rows, {row.key: row for row in registered("all changed").rows}
    same = {row.key for row in before if row.key in after and after[row.key].asked == row.asked}
    assert same == {key for key in leaves(settings_of("prod")) if key in variations.KEPT}
    changed_back = {row.key for row in after.values() if row.outcome in ("adjusted", "not supported") and row.given != row.asked}
    assert changed_back == set()


def test_each_engine_has_a_variation():
    assert {changes.get("engine", "zig_ai") for changes in variations.VARIATIONS.values()} == set(NAMES), "add one to variations.py"


@pytest.mark.parametrize("variation", [*variations.VARIATIONS, *STACKS[1:], "all changed"])
def test_each_setting_is_somewhere_and_is_found_there(variation):
    stack = registered(variation)
    assert [row.key for row in stack.rows if row.outcome == "error"] == []
    problems = [evidence.wrong(place, stack.find) for row in stack.rows for place in row.places]
    assert [problem for problem in problems if problem] == []


@pytest.mark.parametrize("variation", MOCKED)
def test_what_is_found_without_an_engine_is_what_an_engine_is_sent(variation):
    stack, recorder = registered(variation), under_mocks(variation)
    assert different(stack.registration, recorder) == []
    # The places once more, in what was sent: only the cloud's own values differ, and no place names one of those.
    sent = as_sent(stack.registration, recorder)
    problems = [evidence.wrong(place, sent.find) for row in stack.rows for place in row.places]
    assert [problem for problem in problems if problem] == []


def test_the_mocked_stacks_have_every_component():
    def kinds(names):
        return {resource.type for name in names for resource in registered(name).registration.resources}

    assert kinds((*variations.VARIATIONS, "dev")) <= kinds(MOCKED)


def under_mocks(variation):
    recorder = recording(STACK)
    asked = settings_named(variation)
    run(lambda: program.deploy(asked, make_plan(asked), STACK, today=TODAY))
    return recorder


def different(record, recorder):
    """Every resource, field and protection that the mocks were sent otherwise; what is not known yet may be anything."""
    ours, sent = ({(one.type, one.name): one for one in resources} for resources in (record.resources, recorder.resources))
    found = [f"{name} is registered on one side only" for _, name in ours.keys() ^ sent.keys()]
    for key in ours.keys() & sent.keys():
        fields = differences(ours[key].inputs, sent[key].inputs)
        found += [f"{key[1]}: {field}" for field in fields if f": {UNKNOWN} -> " not in field]
        if not ours[key].is_component and ours[key].protect != recorder.options[key].protect:
            found.append(f"{key[1]}: protect")
    return found


def as_sent(record: Registration, recorder: Recorder) -> Registration:
    """The same registration with the inputs that the mocks were sent."""
    sent = {(one.type, one.name): one.inputs for one in recorder.resources}
    return dataclasses.replace(
        record, resources=tuple(dataclasses.replace(one, inputs=sent[one.type, one.name]) for one in record.resources)
    )
