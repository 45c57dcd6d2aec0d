"""Every setting is somewhere, and is found there in what the program registers, for all kinds of stacks.

Each stack's rows are computed, the whole program is deployed under the mocks, and each place that a row names is looked up. A rendering
that is removed leaves a row without a place, or a place without the value.
"""

import dataclasses
import datetime
import functools
from fnmatch import fnmatchcase

import pytest

from infra.registration import registration
from planner import plan as make_plan
from planner.engine_facts import NAMES
from reports.outcomes import outcomes
from settings.flatten import leaves
from stacks import program
from tests import evidence
from tests.infra import variations
from tests.infra.kubernetes.conftest import settings_of
from tests.mocks import recording, run

STACK = "test"


class Deployed:
    """A whole stack under the mocks, and its rows."""

    def __init__(self, asked):
        self.plan = make_plan(asked)
        self.rows = outcomes(asked, registration(self.plan, STACK))
        self._recorder = recording(STACK)
        run(lambda: program.deploy(asked, self.plan, STACK, today=datetime.date(2026, 1, 1)))

    def find(self, place):
        if place.kind == "plan":
            return [self.plan]
        if place.kind == "Pulumi resource":
            named = [r for r in self._of(place, lambda r: [r.name]) if not (place.path and r.type.startswith("zig-ai-aks:"))]
            return [r.inputs | {"protect": self._recorder.options[r.type, r.name].protect} for r in named]
        found = [r.inputs for r in self._of(place, _names) if r.type.rsplit(":", 1)[1] == place.kind]
        assert len(found) < 2 or "*" in place.name, f"{place.kind} {place.name} is {len(found)} resources"
        return found

    def _of(self, place, names):
        return [r for r in self._recorder.resources if any(fnmatchcase(name, place.name) for name in names(r))]


def _names(resource):
    """Of a Kubernetes object with its namespace; of an Azure resource whatever names it."""
    if resource.type.startswith("kubernetes:"):
        metadata = resource.inputs.get("metadata", {})
        return ["/".join(filter(None, (metadata.get("namespace"), metadata.get("name"))))]
    return [value for key, value in resource.inputs.items() if key.endswith("Name") and isinstance(value, str)]


def test_another_value_is_not_found():
    stack = deployed("prod")
    for row in stack.rows:
        for place in row.places:
            assert evidence.wrong(dataclasses.replace(place, holds=f"{place.holds or ''}x"), stack.find), str(place)


def test_all_changed_changes_all():
    """What is found in both is found because it was asked for, not because a field happens to hold it."""
    before, after = deployed("prod").rows, {row.key: row for row in deployed("all changed").rows}
    same = {row.key for row in before if row.key in after and after[row.key].asked == row.asked}
    assert same == {key for key in leaves(settings_of("prod")) if key in variations.KEPT}
    assert {row.key for row in after.values() if row.outcome in ("adjusted", "not supported")} == set(), "nothing may be changed back"


@functools.cache
def deployed(variation):
    if variation == "dev":
        return Deployed(settings_of("dev"))
    if variation == "all changed":
        return Deployed(variations.all_changed())
    return Deployed(variations.variation(variation))


def test_each_engine_has_a_variation():
    assert {changes.get("engine", "zig_ai") for changes in variations.VARIATIONS.values()} == set(NAMES), "add one to variations.py"


@pytest.mark.parametrize("variation", [*variations.VARIATIONS, "dev", "all changed"])
def test_each_setting_is_somewhere_and_is_found_there(variation):
    stack = deployed(variation)
    assert [row.key for row in stack.rows if row.outcome == "error"] == []
    problems = [evidence.wrong(place, stack.find) for row in stack.rows for place in row.places]
    assert [problem for problem in problems if problem] == []
