"""How long a request may wait and how long it may be silent: both follow from what the plan's pipelines can do."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

from planner.fit.concurrency import concurrency, waiting_requests
from planner.fit.demand import demand_of
from planner.fit.plan import Finding
from planner.fit.serving import Pipeline, pipeline
from planner.performance.published_rows import Impossible
from planner.rules.front_door import DNS_SECONDS
from planner.rules.rule import RuleContext, Rules
from settings.wording import figure

RULES = Rules()

CLIENT_S = 60
"""Seconds after which most clients give up: k6's `timeout`, which the load test has, and nginx's `proxy_read_timeout` unless someone
changes them (grafana.com/docs/k6, javascript-api/k6-http/params; nginx.org, ngx_http_proxy_module)."""
WAIT_S = CLIENT_S / 4
"""Seconds that the last request in the queue may wait. The rest of the clients' patience is for the answer, and for pipelines that are
half as fast as predicted. A queue as long as their patience is the worst of all, as every client that reaches its end has left (`python -m
bench.overload`: 5 % of the answers arrived with half of the clients' patience in the queue and a machine that had slowed down by half)."""
SHUTDOWN_SECONDS = 5
"""The part of `rollout.terminationGrace` in which the process itself ends, after its requests had the rest."""
_LONGEST_S = 3600
"""The greatest value of `shard.config.networkTimeout`."""
_SOURCE = "planner/performance"


@dataclass(frozen=True, kw_only=True)
class FullLoad:
    """What the pipelines do with as many requests as they run at once."""

    request_s: float
    """Seconds for a request of the load test, at the slow end of the estimate."""
    longest_s: float
    """Seconds for the longest answer that a request may ask for, at the slow end."""
    longest_tokens: int
    requests_s: float
    """Requests a second of all pipelines together."""
    at_once: int
    """Requests that one pipeline runs at once."""
    pipeline: Pipeline
    """One of the pipelines, under the load of the load test."""


def full_load(context: RuleContext) -> FullLoad | None:
    """What the stack's pipelines do when they are full; None where nothing can be predicted."""
    settings, load = context.settings, demand_of(context.settings)
    runs = concurrency(settings, context.gpu, context.shape, load.request_tokens)
    longest = replace(load, input_tokens=1, output_tokens=max(2, runs.request_tokens - 1))
    try:
        usual, slowest = (
            pipeline(settings, context.size, context.gpu, context.shape, demand, most=runs.requests) for demand in (load, longest)
        )
    except Impossible:
        return None
    request = usual.at(runs.requests).request
    return FullLoad(
        request_s=request.high,
        longest_s=slowest.at(runs.requests).request.high,
        longest_tokens=runs.request_tokens,
        requests_s=settings.sharding.pipelines * runs.requests / request.value,
        at_once=runs.requests,
        pipeline=usual,
    )


@RULES.rule
def silence(context: RuleContext) -> Iterator[Finding]:
    """The timeout must outlast every silent request: one that waits its turn, reads its prompt, or writes an answer without streaming
    it."""
    full = full_load(context) if context.traits.timeout_covers_answers else None
    if full is None:
        return
    timeout, replicas = context.settings.shard.config.network_timeout, context.settings.coordinator.replicas
    # Each coordinator lets a pipeline have as many requests as it runs, so with several coordinators further ones wait at the pipeline.
    turns_s = (replicas - 1) * full.request_s
    needed_s = min(_LONGEST_S, turns_s + full.longest_s)
    if timeout.seconds < needed_s:
        yield Finding(
            code="NET-001",
            outcome="adjusted",
            path=("shard", "config", "networkTimeout"),
            value=f"{math.ceil(needed_s / 60)}m",
            because=f"with {full.at_once} requests in a pipeline, an answer that is not streamed stays silent for {full.request_s:.0f} s "
            f"with the load test's tokens, and for {full.longest_s:.0f} s with the {full.longest_tokens:,} tokens that a request may have, "
            "by the slow end of the estimate. A request that is given up sooner is lost, and dead pipelines are detected by other means",
            source=_SOURCE,
        )


@RULES.rule
def queue(context: RuleContext) -> Iterator[Finding]:
    """The queue may be no longer than clients wait: beyond that, the pipelines answer clients that have left."""
    full = full_load(context) if context.traits.proxied else None
    if full is None:
        return
    queued, waiting = context.settings.coordinator.limits.queued_requests, waiting_requests(context.settings, full.at_once)
    longest = math.ceil(max(demand_of(context.settings).users, full.requests_s * WAIT_S))
    most = max(1, longest - (waiting - queued))
    if queued > most:
        yield Finding(
            code="PROXY-002",
            outcome="adjusted",
            path=("coordinator", "limits", "queuedRequests"),
            value=most,
            because=f"the pipelines answer an estimated {full.requests_s:.3g} requests/s, so the last of {waiting:,} (this number, and as "
            f"many as the pipelines run at once) would wait {waiting / full.requests_s:.0f} s, and most clients give up after {CLIENT_S} "
            "s. Further requests are refused at once, with the advice to try again later",
            source=_SOURCE,
        )


@RULES.rule
def crowd(context: RuleContext) -> Iterator[Finding]:
    """Says when some of the load test's users would give up before they are answered."""
    full = full_load(context)
    if full is None:
        return
    users, pipelines = demand_of(context.settings).users, context.settings.sharding.pipelines
    request = full.pipeline.at(users / pipelines).request
    if request.high <= CLIENT_S:
        return
    enough = (number for number in range(pipelines + 1, users + 1) if full.pipeline.at(users / number).request.high <= CLIENT_S)
    ways = [f"sharding.pipelines: {number}" for number in islice(enough, 1)]
    ways += ["a faster layout (python -m planner recommend)", "a lower loadTest.concurrentUsers or loadTest.maxTokens"]
    yield Finding(
        code="NET-002",
        outcome="noted",
        path=("loadTest", "concurrentUsers"),
        because=f"with {users:,} requests in flight and {full.at_once} at once in a pipeline, a request takes an estimated "
        f"{figure(request.value)} s ({figure(request.low)} to {figure(request.high)}); the load test's client gives up after {CLIENT_S} s, "
        f"as most clients do. To answer all in time: {', or '.join(ways)}",
        source=_SOURCE,
    )


@RULES.rule
def answers_outlast_the_grace(context: RuleContext) -> Iterator[Finding]:
    """Says when a rolling update would cut answers that are not finished when a pod's time is up."""
    grace, full = context.settings.rollout.termination_grace, full_load(context) if context.traits.proxied else None
    # The last request may reach a pod until every coordinator knows that it is ending.
    if full and DNS_SECONDS <= grace.seconds < full.longest_s + DNS_SECONDS + SHUTDOWN_SECONDS:
        yield Finding(
            code="ROLL-001",
            outcome="noted",
            path=("rollout", "terminationGrace"),
            because=f"a pipeline that is being replaced still gets requests for up to {DNS_SECONDS} s, and what it has not answered "
            f"{grace.seconds - SHUTDOWN_SECONDS:.0f} s after it was asked to stop is cut off: the load test's answers take up to "
            f"{full.request_s:.0f} s, and an answer of the {full.longest_tokens:,} tokens that a request may have takes "
            f"{full.longest_s:.0f} s (by the slow end of the estimate)",
            source=_SOURCE,
            severity="info" if full.request_s + DNS_SECONDS + SHUTDOWN_SECONDS <= grace.seconds else "warning",
        )
