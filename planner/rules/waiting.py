"""How long a request may wait, and how long it may be silent: both follow from what the pipelines do, by the plan."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from planner.choices.load import load_of
from planner.choices.serving import pipeline
from planner.concurrency import concurrency
from planner.performance.reading import Impossible
from planner.rules.rule import Advice, Situation

WAIT_S = 30
"""That the last request in line waits. Clients leave after a minute, of which half is then for the answer: k6's `timeout` and nginx's
`proxy_read_timeout` are 60 s unless someone changes them (grafana.com/docs/k6, javascript-api/k6-http/params; nginx.org,
ngx_http_proxy_module)."""
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


def full(at: Situation) -> Full | None:
    """None where nothing can be predicted."""
    load = load_of(at.settings)
    one = concurrency(at.settings, at.gpu, at.shape, load.request_tokens)
    longest = replace(load, input_tokens=1, output_tokens=max(2, one.request_tokens - 1))
    try:
        request, whole = (
            pipeline(at.settings, at.size, at.gpu, at.shape, each, most=one.requests).at(one.requests).request for each in (load, longest)
        )
    except Impossible:
        return None
    return Full(
        request_s=request.high,
        longest_s=whole.high,
        longest_tokens=one.request_tokens,
        requests_s=at.settings.sharding.pipelines * one.requests / request.value,
        at_once=one.requests,
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
    queued = at.settings.coordinator.limits.queued_requests
    most = math.ceil(max(load_of(at.settings).users, known.requests_s * WAIT_S))
    if queued > most:
        yield Advice(
            code="PROXY-002",
            outcome="adjusted",
            path=("coordinator", "limits", "queuedRequests"),
            value=most,
            because=f"the pipelines answer {known.requests_s:.3g} requests/s, predicted: the last of {queued:,} would wait "
            f"{queued / known.requests_s:.0f} s, and most clients leave after 60. Further ones are refused at once and told to come back",
            source=_SOURCE,
        )


RULES = (silence, line)
