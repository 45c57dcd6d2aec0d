"""How long a request may wait, and how long it may be silent: both follow from what the pipelines do, by the plan."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

from planner.fit.concurrency import concurrency, waiting_requests
from planner.fit.demand import load_of
from planner.fit.serving import Pipeline, pipeline
from planner.performance.published_rows import Impossible
from planner.rules.front_door import DNS_SECONDS
from planner.rules.rule import Advice, Situation
from settings.wording import figure

CLIENT_S = 60
"""After which most clients leave: k6's `timeout`, which the load test has, and nginx's `proxy_read_timeout` unless someone changes them
(grafana.com/docs/k6, javascript-api/k6-http/params; nginx.org, ngx_http_proxy_module)."""
WAIT_S = CLIENT_S / 4
"""That the last request in line waits. The rest is for the answer, and for pipelines that are half as quick as predicted: a line that is as
long as patience is the worst of all, as whoever comes to its end leaves (`python -m bench.overload`: 5 % of the answers with half of the
clients' patience in line and a machine that had slowed down by half)."""
SHUTDOWN_SECONDS = 5
"""Of `rollout.terminationGrace`, that the process itself has to end in when its requests had the rest."""
_LONGEST_S = 3600
"""The most that `shard.config.networkTimeout` may be."""
_SOURCE = "planner/performance"


@dataclass(frozen=True, kw_only=True)
class Full:
    """The pipelines with as many requests as they run at once."""

    request_s: float
    """Of a request of the load test, at the slow end of the estimate."""
    longest_s: float
    """Of the longest answer that there may be, at the slow end."""
    longest_tokens: int
    requests_s: float
    """Of all pipelines together."""
    at_once: int
    """Of one pipeline."""
    one: Pipeline
    """One of them, under the load test's load."""


def full(at: Situation) -> Full | None:
    """None where nothing can be predicted."""
    load = load_of(at.settings)
    runs = concurrency(at.settings, at.gpu, at.shape, load.request_tokens)
    longest = replace(load, input_tokens=1, output_tokens=max(2, runs.request_tokens - 1))
    try:
        one, long = (pipeline(at.settings, at.size, at.gpu, at.shape, each, most=runs.requests) for each in (load, longest))
    except Impossible:
        return None
    request = one.at(runs.requests).request
    return Full(
        request_s=request.high,
        longest_s=long.at(runs.requests).request.high,
        longest_tokens=runs.request_tokens,
        requests_s=at.settings.sharding.pipelines * runs.requests / request.value,
        at_once=runs.requests,
        one=one,
    )


def silence(at: Situation) -> Iterator[Advice]:
    """A request that is silent may wait its turn, read its prompt, or write an answer that is not streamed: to give it up is to lose it."""
    known = full(at) if at.traits.timeout_covers_answers else None
    if known is None:
        return
    timeout, replicas = at.settings.shard.config.network_timeout, at.settings.coordinator.replicas
    # Each coordinator lets a pipeline have as many requests as it runs: with several of them, further ones wait there.
    turns_s = (replicas - 1) * known.request_s
    needed_s = min(_LONGEST_S, turns_s + known.longest_s)
    if timeout.seconds < needed_s:
        yield Advice(
            code="NET-001",
            outcome="adjusted",
            path=("shard", "config", "networkTimeout"),
            value=f"{math.ceil(needed_s / 60)}m",
            because=f"with {known.at_once} requests in a pipeline, an answer that is not streamed is silent for {known.request_s:.0f} s "
            f"with the load test's tokens and {known.longest_s:.0f} s with the {known.longest_tokens:,} that a request may have, "
            "predicted at the slow end. A request that is given up sooner is lost, and a dead pipeline is found without it",
            source=_SOURCE,
        )


def line(at: Situation) -> Iterator[Advice]:
    """A line that is answered in time: who waits longer has left, and the pipeline answers somebody who is not there any more."""
    known = full(at) if at.traits.proxied else None
    if known is None:
        return
    queued, waiting = at.settings.coordinator.limits.queued_requests, waiting_requests(at.settings, known.at_once)
    longest = math.ceil(max(load_of(at.settings).users, known.requests_s * WAIT_S))
    most = max(1, longest - (waiting - queued))
    if queued > most:
        yield Advice(
            code="PROXY-002",
            outcome="adjusted",
            path=("coordinator", "limits", "queuedRequests"),
            value=most,
            because=f"the pipelines answer {known.requests_s:.3g} requests/s, predicted: the last of {waiting:,} (these, and as many "
            f"as the pipelines run at once) would wait {waiting / known.requests_s:.0f} s, and most clients leave after {CLIENT_S}. "
            "Further ones are refused at once and told to come back",
            source=_SOURCE,
        )


def crowd(at: Situation) -> Iterator[Advice]:
    """The load test's users, each with a request in flight: all are answered, but some of them may have left."""
    known = full(at)
    if known is None:
        return
    users, pipelines = load_of(at.settings).users, at.settings.sharding.pipelines
    request = known.one.at(users / pipelines).request
    if request.high <= CLIENT_S:
        return
    enough = (count for count in range(pipelines + 1, users + 1) if known.one.at(users / count).request.high <= CLIENT_S)
    ways = [f"sharding.pipelines: {count}" for count in islice(enough, 1)]
    ways += ["a quicker layout (python -m planner recommend)", "fewer loadTest.concurrentUsers or loadTest.maxTokens"]
    yield Advice(
        code="NET-002",
        outcome="noted",
        path=("loadTest", "concurrentUsers"),
        because=f"with {users:,} requests in flight and {known.at_once} at once in a pipeline, one takes {figure(request.value)} s "
        f"({figure(request.low)} to {figure(request.high)}), predicted; the load test's client gives up after {CLIENT_S} s, as most do. "
        f"To answer them in time: {', or '.join(ways)}",
        source=_SOURCE,
    )


def answers_outlast_the_grace(at: Situation) -> Iterator[Advice]:
    """A rolling change cuts what is not finished when a pod's time is up."""
    grace, known = at.settings.rollout.termination_grace, full(at) if at.traits.proxied else None
    # The last request may reach a pod as late as its end is known everywhere.
    if known and DNS_SECONDS <= grace.seconds < known.longest_s + DNS_SECONDS + SHUTDOWN_SECONDS:
        yield Advice(
            code="ROLL-001",
            outcome="noted",
            path=("rollout", "terminationGrace"),
            because=f"a pipeline that is replaced gets requests for up to {DNS_SECONDS} s more, and what it has not answered "
            f"{grace.seconds - SHUTDOWN_SECONDS:.0f} s after it was told to end is cut: the load test's answers take up to "
            f"{known.request_s:.0f} s, one of the {known.longest_tokens:,} tokens that a request may have {known.longest_s:.0f} s "
            "(predicted at the slow end)",
            source=_SOURCE,
            severity="info" if known.request_s + DNS_SECONDS + SHUTDOWN_SECONDS <= grace.seconds else "warning",
        )


RULES = (silence, line, crowd, answers_outlast_the_grace)
