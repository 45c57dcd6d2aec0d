"""What the cheapest layout would be if one thing were different."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from planner.catalogue import hardware
from planner.recommend.assessment import Assessment
from planner.recommend.choice import Choice, SearchOptions, bits
from planner.recommend.search import search
from settings import StackSettings
from settings.error_messages import SettingPath
from settings.flatten import with_values


@dataclass(frozen=True, kw_only=True)
class WhatIf:
    """One change to the stack or to the search, and the cheapest layout under it."""

    what: str
    choice: Choice | None
    """None where no layout meets the targets then."""


def what_ifs(assessment: Assessment) -> Iterator[WhatIf]:
    """Searches again under one change after another, beginning with none."""
    for what, asked, options, least_bits in _cases(assessment):
        best = search(asked, assessment.shape, options).best(1, least_bits)
        yield WhatIf(what=what, choice=best[0] if best else None)


def _cases(assessment: Assessment) -> Iterator[tuple[str, StackSettings, SearchOptions, int]]:
    asked, options, least = assessment.asked, assessment.options, bits(assessment.asked)
    test, targets = asked.load_test, asked.targets
    yield "as the stack asks", asked, options, least
    for times in (0.5, 2.0):
        seconds = targets.latency.seconds * times
        yield f"latency within {seconds:g} s", with_values(asked, {("targets", "latency"): f"{round(seconds * 1000)}ms"}), options, least
    for times in (0.1, 0.5, 2.0):
        rate, users = targets.throughput_rps * times, max(1, round(test.concurrent_users * times))
        changed: dict[SettingPath, Any] = {("targets", "throughputRps"): rate, ("loadTest", "concurrentUsers"): users}
        yield f"{rate:g} requests/s, {users:,} users", with_values(asked, changed), options, least
    yield "a prompt of 1,000 tokens", with_values(asked, {("loadTest", "prompt"): "word" * 1000}), options, least
    answer = test.max_tokens * 4
    yield (
        f"answers of {answer:,} tokens, judged at {targets.tokens:,}",
        with_values(asked, {("loadTest", "maxTokens"): answer}),
        options,
        least,
    )
    yield "GPUs that may idle", with_values(asked, {("targets", "gpuUtilization"): "0%"}), options, least
    yield "one node may be lost", asked, replace(options, survive=options.survive + 1), least
    yield "enough if the estimate itself meets the targets", asked, replace(options, expected=True), least
    yield "spot prices", asked, replace(options, spot=True), least
    yield "any region", asked, replace(options, regions=hardware.regions()), least
    if least > 4:
        yield "weights in as few as 4 bits, with other answers", asked, options, 4
