"""Compares how many requests a pipeline runs at once with how many the load test has in flight."""

from __future__ import annotations

from collections.abc import Iterator

from planner.engine_facts.traits import MeasuredBatch
from planner.fit.concurrency import concurrency
from planner.fit.demand import demand_of, too_long
from planner.fit.plan import Finding
from planner.fit.verdicts import Prediction, predict, seconds, verdicts
from planner.performance.published_rows import Impossible
from planner.rules.rule import RuleContext, Rules
from settings import StackSettings
from settings.error_messages import SettingPath
from settings.flatten import with_values
from settings.wording import count, figure

RULES = Rules()

_MAX_BATCH_SIZE: SettingPath = ("coordinator", "config", "dynamicBatching", "maxBatchSize")
_TARGETS = ("targets.latency", "targets.throughputRps")
_LEAST_GAIN = 1.05
"""A gain in requests a second below this factor is within the noise of the measurements to which the estimate was fitted."""


@RULES.rule
def requests_of_the_load(context: RuleContext) -> Iterator[Finding]:
    """Raises the batch to what the load test has in flight where a missed target is then met; elsewhere says what that would bring.

    It applies only to engines for which this was measured (`EngineTraits.more_at_once`), and never exceeds what the cache holds.
    """
    settings, measured = context.settings, context.traits.more_at_once
    batching = settings.coordinator.config.dynamic_batching
    if measured is None or not batching.enabled:
        return
    size = _size(context)
    if size <= batching.max_batch_size:
        return
    widened = with_values(settings, {_MAX_BATCH_SIZE: size})
    before, after = _predicted(context, settings), _predicted(context, widened)
    if before is None or after is None or after.requests_s_of_users < _LEAST_GAIN * before.requests_s_of_users:
        return
    met_before, met_after = _met(settings, before), _met(widened, after)
    if met_before == set(_TARGETS):
        return
    gained = sorted(met_after - met_before)
    because = (
        f"{count(before.load.users, 'user')} of {count(before.pipelines, 'pipeline')} have more requests in flight than the "
        f"{batching.max_batch_size} that a pipeline runs at once, and the rest wait: the estimate is {_rate_and_latency(before)}; with "
        f"{size} at once it is {_rate_and_latency(after)}, {_gain(gained)}. {_measurement(measured)}"
    )
    yield Finding(
        code="TARGET-003",
        outcome="adjusted" if gained else "noted",
        path=_MAX_BATCH_SIZE,
        value=size if gained else None,
        because=because,
        source=measured.source,
    )


def _size(context: RuleContext) -> int:
    """Requests that a pipeline has in flight under the load test, at most as many as its cache and its engine hold."""
    settings, load = context.settings, demand_of(context.settings)
    in_flight = -(-load.users // settings.sharding.pipelines)
    most = min(in_flight, context.traits.most_sequences or in_flight)
    return concurrency(with_values(settings, {_MAX_BATCH_SIZE: most}), context.gpu, context.shape, load.request_tokens).requests


def _predicted(context: RuleContext, settings: StackSettings) -> Prediction | None:
    load = demand_of(settings)
    if too_long(load, context.shape, concurrency(settings, context.gpu, context.shape, load.request_tokens).request_tokens):
        return None
    try:
        return predict(settings, context.size, context.gpu, context.shape, load)
    except Impossible:
        return None


def _met(settings: StackSettings, prediction: Prediction) -> set[str]:
    judged = verdicts(settings, prediction)
    return {verdict.key for verdict in judged if verdict.key in _TARGETS and verdict.outcome == "met"}


def _rate_and_latency(prediction: Prediction) -> str:
    tokens = count(prediction.load.judged_tokens, "token")
    return f"{figure(prediction.requests_s_of_users)} requests/s and {seconds(prediction.times.latency)} for {tokens}"


def _gain(gained: list[str]) -> str:
    return f"which meets {' and '.join(gained)}" if gained else f"which does not meet {' or '.join(_TARGETS)} either"


def _measurement(measured: MeasuredBatch) -> str:
    few, many = measured.few, measured.many
    return (
        f"Measured ({measured.how}): {few.at_once} at once gave {few.requests_s:g} requests/s and 95% of the answers within "
        f"{few.latency_p95_s:g} s, {many.at_once} gave {many.requests_s:g} and {many.latency_p95_s:g} s"
    )
