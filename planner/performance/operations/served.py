"""A closed loop of requests under vLLM: what a token and a first token take, from the times of single steps."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from planner.performance.operations.steps import Host, Steps
from planner.performance.questions import Architecture, Question, precision_class

_FITTED = Path(__file__).parents[1] / "data" / "operations.json"
MOST_TOKENS = 8192
"""The most tokens of a step: vLLM's default of `max-num-batched-tokens` for a server on such a GPU."""
_FAMILIES = ("H100", "H200")
_GRADES = {"dense": ("16", "fp8", "q8", "q4"), "experts": ("16", "fp8")}


@cache
def known() -> dict[str, Any]:
    """Returns what `bench/operations_accuracy.py` wrote: the constants of the host, and the ranges by quantity."""
    return json.loads(_FITTED.read_text())


@cache
def host() -> Host:
    """Returns the constants of the host."""
    return Host(**known()["host"])


def kind_of(question: Question) -> str:
    """Returns dense or experts."""
    return "experts" if question.architecture.experts > 1 else "dense"


def applies(question: Question) -> bool:
    """Whether the table of operations says what this question's steps take."""
    architecture, gpu = question.architecture, question.gpu
    return (
        question.engine == "vllm"
        and question.kind == "concurrency"
        and question.generation.startswith("vllm-1")
        and question.lengths_known
        and question.answer_known
        and not question.load_unknown
        and question.arrivals_per_s is None
        and gpu.family in _FAMILIES
        and question.pipeline_parallel == question.attention_replicas == 1
        and question.expert_parallel <= 1
        and architecture.latent == 0
        and architecture.full_attention == 1
        and _is_plain(architecture)
        and precision_class(question.weight_precision) in _GRADES[kind_of(question)]
    )


_ALIKE = 1.15


def _is_plain(architecture: Architecture) -> bool:
    """Whether the matrices that the sum counts are all parameters: not with shared experts, dense layers among those with experts, or
    layers that differ."""
    counted = architecture.attention_params + 2.0 * architecture.vocab * architecture.hidden
    counted += 3.0 * architecture.layers * architecture.hidden * architecture.intermediate * architecture.experts
    return 1 / _ALIKE < counted / architecture.params < _ALIKE


@dataclass(frozen=True)
class Times:
    """Seconds of a request's first token and of each further one."""

    first_token_s: float
    per_token_s: float
    kind: str
    """dense or experts, which have ranges of their own."""

    def of(self, target: str) -> float | None:
        """Returns the seconds of a target of `estimate.TARGETS`; None for one that is no time of a request."""
        return {"served_tpot": self.per_token_s, "served_ttft": self.first_token_s, "single_ttft": self.first_token_s}.get(target)

    def range_of(self, target: str) -> list[float]:
        """Returns two factors on the seconds of a target."""
        return known()["ranges"][target]


class Served:
    """One question, asked for any number of requests in flight."""

    def __init__(self, question: Question, constants: Host | None = None) -> None:
        self._question, self._host = question, constants or host()
        self._steps = Steps(question, self._host)

    def at(self, concurrency: float, running: float) -> Times:
        """Returns the times with `concurrency` requests in flight, of which the cache holds `running`."""
        q, constants = self._question, self._host
        length, answer = q.input_tokens, q.output_tokens
        context = length + answer / 2
        # Where all prompts are more than the steps can read, fewer requests are answered at a time.
        answered = min(running, max(MOST_TOKENS / (1 + length / answer), 1.0))
        others = (answered - 1) / answer
        step_s = self._mean_step_s(answered, context, (1 - 0.5 * q.together) * others)
        first_s = self._steps.mixed_s(answered - 1, context, 1 + constants.together * others, length, MOST_TOKENS)[0]
        front_us = constants.front_end
        if concurrency > 1:
            front_us += constants.front_end_busy * running / (answer * step_s)
            first_s += constants.steps_waited * step_s
        if q.together:
            first_s += 0.5 * q.together * self._steps.mixed_s(0.0, context, running - 1, length, MOST_TOKENS)[0]
        # Those that are not answered wait for a place, by Little's law.
        waited_s = (concurrency / answered - 1) * answer * step_s
        return Times(1e-6 * front_us + first_s + waited_s, step_s, kind_of(q))

    def _mean_step_s(self, sequences: float, context: float, prompts: float) -> float:
        """The mean of steps in which other requests' prompts begin at random, `prompts` in each on average."""
        seconds = steps = 0.0
        for count, share in _random_counts(prompts):
            if count:
                taken_s, taken = self._steps.mixed_s(sequences, context, count, self._question.input_tokens, MOST_TOKENS)
            else:
                taken_s, taken = self._steps.decode_s(sequences, context), 1.0
            seconds, steps = seconds + share * taken_s, steps + share * taken
        return seconds / steps


def _random_counts(mean: float) -> list[tuple[float, float]]:
    """Counts of a Poisson distribution and their shares; from a mean of 4 on, three counts that have the same mean and variance."""
    if mean <= 0:
        return [(0.0, 1.0)]
    if mean >= 4:
        apart = math.sqrt(3 * mean)
        return [(mean - apart, 1 / 6), (mean, 2 / 3), (mean + apart, 1 / 6)]
    counts, share = [], math.exp(-mean)
    for count in range(14):
        if share > 1e-3:
            counts.append((float(count), share))
        share *= mean / (count + 1)
    total = sum(share for _, share in counts)
    return [(count, share / total) for count, share in counts]
