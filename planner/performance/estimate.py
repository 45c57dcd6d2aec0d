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
from planner.performance import terms as t
from planner.performance.workload import Question, Work, under, work

_FITTED = Path(__file__).parent.parent / "data" / "performance" / "fitted.json"

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
    """An estimate, and the bounds between which 80 % of measurements lay that the fit had not seen."""

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
        q = _closed(q)
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
    rate = _by_littles_law(q, first, tpot) if rate_follows(q) else _range(q, "rate", w, moved.get("rate", k))
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


def _closed(q: Question) -> Question:
    """An open loop as the closed one with as many requests in flight: arrivals a second x seconds each, by Little's law."""
    concurrency = 1.0
    for _ in range(_ROUNDS):
        q = replace(q, concurrency=concurrency, load_unknown=False)
        w = work(q)
        k = _constants(tuple(w.keys.items()))
        each = math.exp(model.log_served_ttft(w, k, math.log)) + q.output_tokens * math.exp(model.log_served_tpot(w, k, math.log))
        concurrency = math.sqrt(concurrency * min(max(q.arrivals_per_s * each, 1.0), _MOST_IN_FLIGHT))
    return q


def _range(q: Question, quantity: str, w: Work, k) -> Range | None:
    name = target(q, quantity)
    if name is None:
        return None
    return _ranged(name, w, k)


def _ranged(name: str, w: Work, k) -> Range:
    value = math.exp(TARGETS[name](w, k, math.log))
    low, high = _factors(name, w.keys["engine"], _nearness(name, w))
    return Range(value=value, low=value * low, high=value * high)


def _at_least(found: Range, floor: float) -> Range:
    if found.low >= floor:
        return found
    return Range(value=max(found.value, floor), low=floor, high=max(found.high, floor))


def range_classes(name: str, engine: str, near: str) -> list[str]:
    """Classes of rows whose error is like that of a question so near to what was measured, closest first.

    The time to first token is the engine's scheduler's too, but for a question beyond the rows: that is as if nothing near was measured.
    """
    if near == BEYOND:
        return [f"{name} {NONE}", name]
    by_engine = [f"{name} {engine} {near}", f"{name} {engine}"] if "ttft" in name and near != MEASURED else []
    return [*by_engine, f"{name} {near}", name]


def range_of(known: dict[str, list[float]], name: str, engine: str, near: str) -> list[float]:
    """Two factors on an estimate, of the closest class that has any."""
    return next(known[each] for each in range_classes(name, engine, near) if each in known)


MEASURED, BEYOND, NONE, FEW, SEVERAL = "measured", "beyond", "near none", "near one or two", "near three"
"""How near a question is to what was measured. Its combination (an architecture, a GPU family and an engine) was; or was, but with other
lengths, precisions, generations or less load, or the question is beyond all rows; or so many others with its shape and engine were."""


def neighbours(keys: dict[str, str], combinations: dict[str, dict]) -> str:
    """Of a combination that was not measured."""
    shape, own = keys["shape,engine"], keys["combination"]
    alike = sum(other["shape,engine"] == shape for name, other in combinations.items() if name != own)
    return NONE if alike == 0 else FEW if alike < 3 else SEVERAL


def _nearness(name: str, w: Work) -> str:
    combinations, concurrency = _fitted()["seen"]["combinations"], w.concurrency * w.sharing
    if _beyond_all(w.keys, w.isl, w.osl, concurrency):
        return BEYOND
    own = combinations.get(w.keys["combination"])
    if own is None:
        return _neighbours(w.keys["combination"], w.keys["shape,engine"])
    rows = own["rows"].get(name)
    if rows is None or any(w.keys[level] not in rows[level] for level in ("generation", "precision")):
        return BEYOND
    # Fewer requests than were measured are no stranger: nothing waits.
    inside = _within(rows["input_tokens"], w.isl) and _within(rows["output_tokens"], w.osl) and concurrency <= rows["concurrency"][1]
    return MEASURED if inside else BEYOND


@cache
def _neighbours(combination: str, shape: str) -> str:
    return neighbours({"combination": combination, "shape,engine": shape}, _fitted()["seen"]["combinations"])


def _within(limits: list[float], value: float) -> bool:
    return limits[0] <= value <= limits[1]


def _beyond_all(keys: dict[str, str], input_tokens: float, output_tokens: float, concurrency: float) -> bool:
    seen = _fitted()["seen"]
    if any(keys[level] not in seen[level] for level in ("family,engine", "shape,engine", "generation")):
        return True
    asked = {"input_tokens": input_tokens, "output_tokens": output_tokens, "concurrency": concurrency}
    return any(not _within(limits, asked[name]) for name, limits in seen["limits"].items())


def extrapolates(q: Question, w: Work) -> bool:
    """Whether a GPU or a shape is new to this engine, the engine's generation is new, or a length or load is beyond all rows."""
    return _beyond_all(w.keys, q.input_tokens, q.output_tokens, q.concurrency)


class Times(NamedTuple):
    """Of one request, in seconds."""

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

    def at(self, concurrency: float) -> Times:
        """As `estimate` has them."""
        w, k = under(self._work, concurrency), self._constants
        first, each = (_ranged(name, w, k) for name in (self._alone if concurrency == 1 else self._several))
        floor = floor_tpot_s(w, model.running(w, k, w.concurrency))
        return Times(first, _at_least(each, floor), floor)

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
def _factors(name: str, engine: str, near: str) -> list[float]:
    return range_of(_fitted()["ranges"], name, engine, near)
