"""What the cheapest layout would be if one thing were otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from planner.catalogue import hardware
from planner.recommend.assessment import Assessment
from planner.recommend.choice import Choice, Wish, bits
from planner.recommend.search import search
from settings import StackSettings
from settings.flatten import with_values


@dataclass(frozen=True, kw_only=True)
class WhatIf:
    what: str
    choice: Choice | None
    """The cheapest; None where nothing meets the targets then."""


def what_ifs(found: Assessment) -> Iterator[WhatIf]:
    for what, asked, wish, least_bits in _cases(found):
        best = search(asked, found.shape, wish).best(1, least_bits)
        yield WhatIf(what=what, choice=best[0] if best else None)


def _cases(found: Assessment) -> Iterator[tuple[str, StackSettings, Wish, int]]:
    asked, wish, least = found.asked, found.wish, bits(found.asked)
    test, targets = asked.load_test, asked.targets
    yield "as the stack asks", asked, wish, least
    for times in (0.5, 2.0):
        seconds = targets.latency.seconds * times
        yield f"latency within {seconds:g} s", with_values(asked, {("targets", "latency"): f"{round(seconds * 1000)}ms"}), wish, least
    for times in (0.1, 0.5, 2.0):
        rate, users = targets.throughput_rps * times, max(1, round(test.concurrent_users * times))
        changed = {("targets", "throughputRps"): rate, ("loadTest", "concurrentUsers"): users}
        yield f"{rate:g} requests/s, {users:,} users", with_values(asked, changed), wish, least
    yield "a prompt of 1,000 tokens", with_values(asked, {("loadTest", "prompt"): "word" * 1000}), wish, least
    answer = test.max_tokens * 4
    yield (
        f"answers of {answer:,} tokens, judged at {targets.tokens:,}",
        with_values(asked, {("loadTest", "maxTokens"): answer}),
        wish,
        least,
    )
    yield "GPUs that may idle", with_values(asked, {("targets", "gpuUtilization"): "0%"}), wish, least
    yield "one node may be lost", asked, replace(wish, survive=wish.survive + 1), least
    yield "enough if the estimate itself meets the targets", asked, replace(wish, expected=True), least
    yield "spot prices", asked, replace(wish, spot=True), least
    yield "any region", asked, replace(wish, regions=hardware.regions()), least
    if least > 4:
        yield "weights in 4 bits, with other answers", asked, wish, 4
