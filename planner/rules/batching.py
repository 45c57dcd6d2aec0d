"""Requests at once in a pipeline against those that the load test has in flight."""

from __future__ import annotations

from collections.abc import Iterator

from planner.engine_facts.traits import MeasuredBatch
from planner.fit.concurrency import concurrency
from planner.fit.demand import load_of, too_long
from planner.fit.verdicts import Prediction, predict, seconds, verdicts
from planner.performance.published_rows import Impossible
from planner.rules.rule import Advice, Situation
from settings import StackSettings
from settings.error_messages import SettingPath
from settings.flatten import with_values
from settings.wording import count, figure

_SIZE: SettingPath = ("coordinator", "config", "dynamicBatching", "maxBatchSize")
_TARGETS = ("targets.latency", "targets.throughputRps")
_WORTH_A_WORD = 1.05
"""Times the requests a second: less is within the noise of the measurements that the estimate was fitted to."""


def requests_of_the_load(at: Situation) -> Iterator[Advice]:
    """More requests at once where the load has more in flight and a target that is missed is then met; else what more would bring.

    Only of engines with a measurement of this (`EngineTraits.more_at_once`). No more than the cache holds of the load's requests.
    """
    batching, measured = at.settings.coordinator.config.dynamic_batching, at.traits.more_at_once
    if measured is None or not batching.enabled:
        return
    size = _size(at)
    if size <= batching.max_batch_size:
        return
    widened = with_values(at.settings, {_SIZE: size})
    before, after = _predicted(at, at.settings), _predicted(at, widened)
    if before is None or after is None or after.requests_s_of_users < _WORTH_A_WORD * before.requests_s_of_users:
        return
    met, met_then = _met(at.settings, before), _met(widened, after)
    if met == set(_TARGETS):
        return
    gained = sorted(met_then - met)
    because = (
        f"{count(before.load.users, 'user')} of {count(before.pipelines, 'pipeline')} have more in flight than the "
        f"{batching.max_batch_size} that one works on at once, and the rest wait: predicted {_shown(before)}; with {size} at once "
        f"{_shown(after)}, {_said_of(gained)}. {_of(measured)}"
    )
    yield Advice(
        code="TARGET-003",
        outcome="adjusted" if gained else "noted",
        path=_SIZE,
        value=size if gained else None,
        because=because,
        source=measured.source,
    )


def _size(at: Situation) -> int:
    """Requests that a pipeline has in flight under the load test, at most those that its cache and its engine hold."""
    load = load_of(at.settings)
    each = -(-load.users // at.settings.sharding.pipelines)
    most = min(each, at.traits.most_sequences or each)
    return concurrency(with_values(at.settings, {_SIZE: most}), at.gpu, at.shape, load.request_tokens).requests


def _predicted(at: Situation, settings: StackSettings) -> Prediction | None:
    load = load_of(settings)
    if too_long(load, at.shape, concurrency(settings, at.gpu, at.shape, load.request_tokens).request_tokens):
        return None
    try:
        return predict(settings, at.size, at.gpu, at.shape, load)
    except Impossible:
        return None


def _met(settings: StackSettings, found: Prediction) -> set[str]:
    return {one.key for one in verdicts(settings, found) if one.key in _TARGETS and one.outcome == "met"}


def _shown(found: Prediction) -> str:
    tokens = count(found.load.judged_tokens, "token")
    return f"{figure(found.requests_s_of_users)} requests/s and {seconds(found.times.latency)} for {tokens}"


def _said_of(gained: list[str]) -> str:
    return f"which meets {' and '.join(gained)}" if gained else f"which does not meet {' or '.join(_TARGETS)} either"


def _of(measured: MeasuredBatch) -> str:
    few, many = measured.few, measured.many
    return (
        f"Measured ({measured.how}): {few.at_once} at once gave {few.requests_s:g} requests/s and 95% of the answers within "
        f"{few.latency_p95_s:g} s, {many.at_once} gave {many.requests_s:g} and {many.latency_p95_s:g} s"
    )


RULES = (requests_of_the_load,)
