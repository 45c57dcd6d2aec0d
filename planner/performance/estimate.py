"""Answers a question: time to first token, time per output token and output tokens a second, each with its range."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

from planner.performance import constants, equations, model
from planner.performance.model_inputs import ModelInputs, model_inputs, with_concurrency
from planner.performance.nearness import beyond_all, nearness, range_of
from planner.performance.operations import served
from planner.performance.questions import Question

_FITTED = Path(__file__).parent / "data" / "fitted.json"

_ROUNDS = 12
_MOST_IN_FLIGHT = 500.0
"""The most requests in flight of an open loop. If it asks for more than the GPUs can do, its queue grows as long as it runs; the sources
send 500 requests."""

TARGETS = {
    "static_tpot": model.log_static_tpot,
    "served_tpot": model.log_served_tpot,
    "single_ttft": model.log_single_ttft,
    "served_ttft": model.log_served_ttft,
    "static_rate": model.log_static_throughput,
    "saturated_rate": model.log_saturated_throughput,
    "served_rate": model.log_served_throughput,
}
"""The function for the logarithm of the seconds or of the output tokens a second, by target: a quantity of one kind of measurement."""


@dataclass(frozen=True, kw_only=True)
class Range:
    """An estimate, and the bounds between which 80 % of the measurements lay whose sources, engines and GPUs the fit had not seen."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The estimates for one question. A quantity that its kind leaves open is None."""

    ttft_s: Range | None
    """Time to first token."""
    tpot_s: Range | None
    """Time per output token after the first."""
    output_tok_s: Range | None
    """Output tokens a second of all requests together."""
    floor_tpot_s: float
    """The least seconds per token: weights and cache at the data sheet's full bandwidth, or the products at its full FLOP/s."""
    extrapolated: bool
    """Whether the fit has not seen this GPU or this shape under this engine, or never such a load."""


@cache
def _fitted() -> dict:
    return json.loads(_FITTED.read_text())


def target(question: Question, quantity: str) -> str | None:
    """Returns the target that answers a quantity (ttft, tpot, rate) of a question; None where its kind leaves the quantity open."""
    static, saturated = question.kind in ("batch", "single"), question.kind == "saturated"
    open_loop = question.load_unknown and not saturated
    if quantity == "rate":
        return (
            None
            if open_loop or not question.answer_known
            else "static_rate"
            if static
            else "saturated_rate"
            if saturated
            else "served_rate"
        )
    if open_loop:
        return None
    if quantity == "tpot":
        return None if (saturated and question.load_unknown) or not question.answer_known else "static_tpot" if static else "served_tpot"
    if saturated or not question.lengths_known:
        return None
    return "single_ttft" if static or question.concurrency == 1 else "served_ttft"


def floor_tpot_s(inputs: ModelInputs, running: float) -> float:
    """Returns the seconds below which no token can go: the data sheet's bandwidth and FLOP/s, one token's experts, every cached token read
    once."""
    sequences = equations.microbatch(running, inputs.pp)
    weights = (inputs.dense_bytes + inputs.expert_bytes * inputs.chosen / inputs.experts) / (inputs.tp * inputs.bandwidth)
    kv = sequences * model.context(inputs, inputs.isl) * inputs.kv_bytes * inputs.kv_copies / inputs.bandwidth
    flops = (inputs.dense_flops + inputs.expert_flops) * sequences / (inputs.tp * inputs.peak)
    return max(weights + kv, flops)


def ceiling_tok_s(inputs: ModelInputs, running: float, floor_s: float) -> float:
    """Returns the output tokens a second that nothing exceeds.

    They are every running request at the floor, or all GPUs at the data sheet's FLOP/s on the answers and their prompts.
    """
    flops = (inputs.dense_flops + inputs.expert_flops) * (inputs.isl + inputs.osl) / inputs.osl + inputs.head_flops
    return inputs.replicas * min(running / floor_s, inputs.tp * inputs.pp * inputs.peak / flops)


def prepared(question: Question) -> tuple[Question, ModelInputs, SimpleNamespace]:
    """Returns the question, with an open loop turned into a closed one, its numbers and its constants."""
    if question.load_unknown and question.arrivals_per_s:
        question = _closed(question, question.arrivals_per_s)
    inputs = model_inputs(question)
    return question, inputs, _constants(tuple(inputs.keys.items()))


def estimate(question: Question, shifts: constants.Shifts | None = None) -> Answer:
    """Answers a question that `published_rows.check` accepts. `shifts` come from a user's measured points (`calibrate.py`)."""
    question, inputs, values = prepared(question)
    moved = {quantity: constants.shifted(values, shift) for quantity, shift in (shifts or {}).items()}
    running = inputs.concurrency if question.kind == "saturated" else model.running(inputs, values, inputs.concurrency)
    floor = floor_tpot_s(inputs, running)
    summed = summed_times(question, inputs, values)
    tpot = _range(question, "tpot", inputs, values, moved, summed)
    if tpot is not None:
        tpot = _at_least(tpot, floor)
    first = _range(question, "ttft", inputs, values, moved, summed)
    if first is not None and tpot is not None and rate_follows(question):
        rate = _by_littles_law(question, first, tpot)
    else:
        rate = _range(question, "rate", inputs, values, moved, summed)
    if rate is not None and question.kind == "concurrency":
        most = ceiling_tok_s(inputs, running, floor)
        rate = Range(value=min(rate.value, most), low=min(rate.low, most), high=min(rate.high, most))
    return Answer(
        ttft_s=first,
        tpot_s=tpot,
        output_tok_s=rate,
        floor_tpot_s=floor,
        extrapolated=extrapolates(question, inputs),
    )


def rate_follows(question: Question) -> bool:
    """Whether the rate follows from the two times. For closed loops with stated lengths only LMDeploy published a rate of its own."""
    if question.engine == "lmdeploy" or question.kind != "concurrency" or question.arrivals_per_s is not None:
        return False
    return target(question, "ttft") is not None and target(question, "tpot") is not None


def _by_littles_law(question: Question, first: Range, further: Range) -> Range:
    """Output tokens a second of a closed loop: the requests in flight over the time that one takes."""

    def rate(bound: str) -> float:
        seconds = getattr(first, bound) + (question.output_tokens - 1) * getattr(further, bound)
        return question.replicas * question.concurrency * question.output_tokens / seconds

    return Range(value=rate("value"), low=rate("high"), high=rate("low"))


def _closed(question: Question, arrivals_per_s: float) -> Question:
    """Returns an open loop as the closed one with as many requests in flight: arrivals a second x seconds per request, by Little's law."""
    concurrency = 1.0
    for _ in range(_ROUNDS):
        question = replace(question, concurrency=concurrency, load_unknown=False)
        inputs = model_inputs(question)
        values = _constants(tuple(inputs.keys.items()))
        first_s, per_token_s = (math.exp(log(inputs, values, math.log)) for log in (model.log_served_ttft, model.log_served_tpot))
        request_s = first_s + question.output_tokens * per_token_s
        concurrency = math.sqrt(concurrency * min(max(arrivals_per_s * request_s, 1.0), _MOST_IN_FLIGHT))
    return question


def summed_times(question: Question, inputs: ModelInputs, values: SimpleNamespace) -> served.Times | None:
    """Returns the times by the table of operations; None for a question that it does not cover. Of the fit they take only how many requests
    the cache holds."""
    if not served.applies(question):
        return None
    return served.Served(question).at(inputs.concurrency, model.running(inputs, values, inputs.concurrency))


def logarithm(name: str, inputs: model.Inputs, values: SimpleNamespace, moved: SimpleNamespace, summed: served.Times | None) -> float:
    """Returns the logarithm of a target's seconds or tokens a second: by the table of operations where it says them, otherwise by the fit.

    A user's own points move the constants from `values` to `moved`, and what that changes in the fit's estimate changes either.
    """
    seconds = summed.of(name) if summed else None
    if seconds is None:
        return TARGETS[name](inputs, moved, math.log)
    if moved is values:
        return math.log(seconds)
    return math.log(seconds) + TARGETS[name](inputs, moved, math.log) - TARGETS[name](inputs, values, math.log)


def _range(
    question: Question,
    quantity: str,
    inputs: ModelInputs,
    values: SimpleNamespace,
    moved: dict[str, SimpleNamespace],
    summed: served.Times | None,
) -> Range | None:
    name = target(question, quantity)
    return None if name is None else _ranged(name, inputs, values, moved.get(quantity, values), summed)


def _ranged(name: str, inputs: ModelInputs, values: SimpleNamespace, moved: SimpleNamespace, summed: served.Times | None) -> Range:
    value = math.exp(logarithm(name, inputs, values, moved, summed))
    if summed and summed.of(name) is not None:
        low, high = summed.range_of(name)
    else:
        low, high = _factors(name, nearness(name, inputs, _fitted()["seen"]), inputs.keys["engine"], inputs.keys["family"])
    return Range(value=value, low=value * low, high=value * high)


def _at_least(estimated: Range, floor: float) -> Range:
    if estimated.low >= floor:
        return estimated
    return Range(value=max(estimated.value, floor), low=floor, high=max(estimated.high, floor))


def extrapolates(question: Question, inputs: ModelInputs) -> bool:
    """Whether a GPU or a shape is new to this engine, the engine's generation is new, or a length or the load is outside all rows."""
    return beyond_all(inputs.keys, question.input_tokens, question.output_tokens, question.concurrency, _fitted()["seen"])


class TokenTimes(NamedTuple):
    """The times of one request in seconds."""

    first_token: Range
    per_token: Range
    floor_per_token: float


class ClosedLoop:
    """One question with any number of requests in flight. What does not depend on that number is computed once, as searches ask
    hundreds."""

    def __init__(self, question: Question) -> None:
        self.question, self._inputs = question, model_inputs(question)
        self._constants = _constants(tuple(self._inputs.keys.items()))
        # The targets for the first token and for each further one. Of the load, `target` only looks at whether a request is alone.
        self._alone, self._several = (_targets(replace(question, concurrency=load)) for load in (1.0, 2.0))
        self._summed = served.Served(question) if served.applies(question) else None

    def at(self, concurrency: float) -> TokenTimes:
        """Returns the same times as `estimate`."""
        inputs, values = with_concurrency(self._inputs, concurrency), self._constants
        running = model.running(inputs, values, inputs.concurrency)
        summed = self._summed.at(inputs.concurrency, running) if self._summed else None
        names = self._alone if concurrency == 1 else self._several
        first, further = (_ranged(name, inputs, values, values, summed) for name in names)
        floor = floor_tpot_s(inputs, running)
        return TokenTimes(first, _at_least(further, floor), floor)

    @property
    def extrapolated(self) -> bool:
        """`Answer.extrapolated` under a small load."""
        return extrapolates(replace(self.question, concurrency=2.0), self._inputs)

    def busy(self, concurrency: float) -> Range:
        """Returns the share of the time in which a GPU that has work runs some kernel. It is not fitted; docs/adr/0010 compares it with
        counters."""
        inputs, values = self._inputs, self._constants
        value, low, high = model.busy_shares(inputs, values, model.running(inputs, values, concurrency), inputs.isl + inputs.osl / 2)
        return Range(value=value, low=low, high=high)


def _targets(question: Question) -> list[str]:
    return [name for quantity in ("ttft", "tpot") if (name := target(question, quantity))]


@cache
def _constants(keys: tuple[tuple[str, str], ...]) -> SimpleNamespace:
    return constants.resolve(dict(keys), _fitted()["constants"])


@cache
def _factors(name: str, near: str, engine: str, family: str) -> list[float]:
    return range_of(_fitted()["ranges"], name, near, engine, family)
