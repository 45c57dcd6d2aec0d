"""What a question is answered: time to first token, time per output token, output tokens a second, each with its range."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

from planner.performance import constants, model
from planner.performance import equations as t
from planner.performance.nearness import beyond_all, nearness, range_of
from planner.performance.questions import Question, Work, under, work

_FITTED = Path(__file__).parent / "data" / "fitted.json"

_ROUNDS = 12
_MOST_IN_FLIGHT = 500.0
"""Of an open loop that asks for more than the GPUs give: its queue grows as long as it runs; the sources send 500 requests."""

TARGETS = {
    "static_tpot": model.log_static_tpot,
    "served_tpot": model.log_served_tpot,
    "single_ttft": model.log_single_ttft,
    "served_ttft": model.log_served_ttft,
    "static_rate": model.log_static_throughput,
    "saturated_rate": model.log_saturated_throughput,
    "served_rate": model.log_served_throughput,
}
"""Logarithm of seconds or of output tokens a second, by what is asked: a quantity of one kind of measurement."""


@dataclass(frozen=True, kw_only=True)
class Range:
    """An estimate, and the bounds between which 80 % of measurements lay of sources, engines and GPUs that the fit had not seen."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Answer:
    ttft_s: Range | None
    """Time to first token."""
    tpot_s: Range | None
    """Time per output token after the first."""
    output_tok_s: Range | None
    floor_tpot_s: float
    """What weights and cache take at the data sheet's full bandwidth, or the products at its full FLOP/s."""
    extrapolated: bool
    """Whether the fit has not seen this GPU or this shape under this engine, or never such a load."""


@cache
def _fitted() -> dict:
    return json.loads(_FITTED.read_text())


def target(q: Question, quantity: str) -> str | None:
    """Which target answers a quantity (ttft, tpot, rate) of a question; None where its kind leaves it open."""
    static, saturated = q.kind in ("batch", "single"), q.kind == "saturated"
    open_loop = q.load_unknown and not saturated
    if quantity == "rate":
        return None if open_loop or not q.answer_known else "static_rate" if static else "saturated_rate" if saturated else "served_rate"
    if open_loop:
        return None
    if quantity == "tpot":
        return None if (saturated and q.load_unknown) or not q.answer_known else "static_tpot" if static else "served_tpot"
    if saturated or not q.lengths_known:
        return None
    return "single_ttft" if static or q.concurrency == 1 else "served_ttft"


def floor_tpot_s(w: Work, running: float) -> float:
    """Seconds a token cannot go below: data sheet's bandwidth and FLOP/s, one token's experts, every cached token read once."""
    sequences = t.microbatch(running, w.pp)
    weights = (w.dense_bytes + w.expert_bytes * w.chosen / w.experts) / (w.tp * w.bandwidth)
    kv = sequences * model.context(w, w.isl) * w.kv_bytes * w.kv_copies / w.bandwidth
    flops = (w.dense_flops + w.expert_flops) * sequences / (w.tp * w.peak)
    return max(weights + kv, flops)


def ceiling_tok_s(w: Work, running: float, floor_s: float) -> float:
    """Output tokens a second that nothing exceeds: every running request at the floor, or all GPUs at the data sheet's FLOP/s on the
    answers and on the inputs that come with them."""
    flops = (w.dense_flops + w.expert_flops) * (w.isl + w.osl) / w.osl + w.head_flops
    return w.replicas * min(running / floor_s, w.tp * w.pp * w.peak / flops)


def prepared(q: Question) -> tuple[Question, Work, SimpleNamespace]:
    """The question, an open loop as a closed one; its numbers; its constants."""
    if q.load_unknown and q.arrivals_per_s:
        q = _closed(q, q.arrivals_per_s)
    w = work(q)
    return q, w, _constants(tuple(w.keys.items()))


def estimate(q: Question, shifts: constants.Shifts | None = None) -> Answer:
    """`shifts` are of measured points (`calibrate.py`). Raises nothing for a question that `reading` has let through."""
    q, w, k = prepared(q)
    moved = {quantity: constants.shifted(k, shift) for quantity, shift in (shifts or {}).items()}
    running = w.concurrency if q.kind == "saturated" else model.running(w, k, w.concurrency)
    floor = floor_tpot_s(w, running)
    tpot = _range(q, "tpot", w, moved.get("tpot", k))
    if tpot is not None:
        tpot = _at_least(tpot, floor)
    first = _range(q, "ttft", w, moved.get("ttft", k))
    if first is not None and tpot is not None and rate_follows(q):
        rate = _by_littles_law(q, first, tpot)
    else:
        rate = _range(q, "rate", w, moved.get("rate", k))
    if rate is not None and q.kind == "concurrency":
        most = ceiling_tok_s(w, running, floor)
        rate = Range(value=min(rate.value, most), low=min(rate.low, most), high=min(rate.high, most))
    return Answer(
        ttft_s=first,
        tpot_s=tpot,
        output_tok_s=rate,
        floor_tpot_s=floor,
        extrapolated=extrapolates(q, w),
    )


def rate_follows(q: Question) -> bool:
    """Whether the two times say the rate too: of closed loops with stated lengths nobody but LMDeploy published one of its own."""
    if q.engine == "lmdeploy" or q.kind != "concurrency" or q.arrivals_per_s is not None:
        return False
    return target(q, "ttft") is not None and target(q, "tpot") is not None


def _by_littles_law(q: Question, first: Range, each: Range) -> Range:
    """Output tokens a second of a closed loop: requests in flight over the time that one takes."""

    def rate(bound: str) -> float:
        seconds = getattr(first, bound) + (q.output_tokens - 1) * getattr(each, bound)
        return q.replicas * q.concurrency * q.output_tokens / seconds

    return Range(value=rate("value"), low=rate("high"), high=rate("low"))


def _closed(q: Question, arrivals_per_s: float) -> Question:
    """An open loop as the closed one with as many requests in flight: arrivals a second x seconds each, by Little's law."""
    concurrency = 1.0
    for _ in range(_ROUNDS):
        q = replace(q, concurrency=concurrency, load_unknown=False)
        w = work(q)
        k = _constants(tuple(w.keys.items()))
        each = math.exp(model.log_served_ttft(w, k, math.log)) + q.output_tokens * math.exp(model.log_served_tpot(w, k, math.log))
        concurrency = math.sqrt(concurrency * min(max(arrivals_per_s * each, 1.0), _MOST_IN_FLIGHT))
    return q


def _range(q: Question, quantity: str, w: Work, k) -> Range | None:
    name = target(q, quantity)
    if name is None:
        return None
    return _ranged(name, w, k)


def _ranged(name: str, w: Work, k) -> Range:
    value = math.exp(TARGETS[name](w, k, math.log))
    low, high = _factors(name, nearness(name, w, _fitted()["seen"]), w.keys["engine"], w.keys["family"])
    return Range(value=value, low=value * low, high=value * high)


def _at_least(found: Range, floor: float) -> Range:
    if found.low >= floor:
        return found
    return Range(value=max(found.value, floor), low=floor, high=max(found.high, floor))


def extrapolates(q: Question, w: Work) -> bool:
    """Whether a GPU or a shape is new to this engine, the engine's generation is new, or a length or load is beyond all rows."""
    return beyond_all(w.keys, q.input_tokens, q.output_tokens, q.concurrency, _fitted()["seen"])


class TokenTimes(NamedTuple):
    """The times of one request in seconds."""

    first_token: Range
    per_token: Range
    floor_per_token: float


class ClosedLoop:
    """One question with any number of requests in flight: what does not depend on that is worked out once, as searches ask for hundreds."""

    def __init__(self, q: Question) -> None:
        self.question, self._work = q, work(q)
        self._constants = _constants(tuple(self._work.keys.items()))
        # What answers for the first token and for each further one. Of the load, `target` looks at no more than whether a request is alone.
        self._alone, self._several = (_targets(replace(q, concurrency=load)) for load in (1.0, 2.0))

    def at(self, concurrency: float) -> TokenTimes:
        """As `estimate` has them."""
        w, k = under(self._work, concurrency), self._constants
        first, each = (_ranged(name, w, k) for name in (self._alone if concurrency == 1 else self._several))
        floor = floor_tpot_s(w, model.running(w, k, w.concurrency))
        return TokenTimes(first, _at_least(each, floor), floor)

    @property
    def extrapolated(self) -> bool:
        """As `estimate` says with little load."""
        return extrapolates(replace(self.question, concurrency=2.0), self._work)

    def busy(self, concurrency: float) -> Range:
        """Share of the time in which a GPU that has work runs some kernel. Not fitted: docs/adr/0010 has what it was held against."""
        w, k = self._work, self._constants
        value, low, high = model.busy_shares(w, k, model.running(w, k, concurrency), w.isl + w.osl / 2)
        return Range(value=value, low=low, high=high)


def _targets(q: Question) -> list[str]:
    return [name for quantity in ("ttft", "tpot") if (name := target(q, quantity))]


@cache
def _constants(keys: tuple[tuple[str, str], ...]) -> SimpleNamespace:
    return constants.resolve(dict(keys), _fitted()["constants"])


@cache
def _factors(name: str, near: str, engine: str, family: str) -> list[float]:
    return range_of(_fitted()["ranges"], name, near, engine, family)
