"""A question in the planner's own names: a model and a GPU of the catalogue, a layout, a load."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from planner.catalogue import hardware, model_names, model_shapes
from planner.fit import memory_model
from planner.performance import batch, published_rows
from planner.performance.constants import Shifts
from planner.performance.estimate import Range, estimate
from planner.performance.published_rows import Impossible
from planner.performance.questions import Architecture, Gpu, Question, precision_named

_GIB = 2**30
ENGINES = {
    "vllm": ("vLLM", "0.20.2"),
    "tensorrt-llm": ("TensorRT-LLM", "1.2"),
    "sglang": ("SGLang", "0.5.9"),
    "llama.cpp": ("llama.cpp", ""),
}
"""Engines that `estimate` knows, with the version it assumes: the newest of which measurements were fitted."""


@dataclass(frozen=True, kw_only=True)
class Ask:
    """What the command line says."""

    model: str
    gpu: str
    gpus: int
    tp: int
    pp: int
    precision: str
    isl: int
    osl: int
    concurrency: int
    engine: str
    engine_version: str | None = None
    kv_precision: str | None = None


def _unknown(name: str, what: str, names: tuple[str, ...]) -> str:
    if what == "model":
        return f"unknown model {name!r}; {model_names.suggestion(name, names)}"
    near = _near(name, names) if name else []
    return f"unknown {what} {name!r}; " + (f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names)}")


def _near(name: str, names: tuple[str, ...]) -> list[str]:
    """The three nearest of the same GPU family, or of all that are spelt much alike."""
    family = published_rows.family_of(name)
    kin = [one for one in names if family and published_rows.family_of(one) == family]
    spelt = {re.sub(r"[^a-z0-9]", "", one.lower()): one for one in kin or names}
    asked = re.sub(r"[^a-z0-9]", "", name.lower())
    return [spelt[one] for one in difflib.get_close_matches(asked, spelt, n=3, cutoff=0.0 if kin else 0.7)]


@cache
def architecture(shape: model_shapes.ModelShape) -> Architecture:
    """The catalogue's shape as the model of performance sees it."""
    return Architecture(
        params=shape.params_b * 1e9,
        active_params=shape.active_params_b * 1e9,
        layers=shape.layers,
        hidden=shape.hidden,
        heads=shape.heads,
        kv_heads=1 if shape.kv == "mla" else shape.kv_heads,
        head_dim=shape.head_dim,
        intermediate=shape.expert_intermediate if shape.experts else shape.intermediate,
        vocab=shape.vocab,
        experts=max(shape.experts, 1),
        experts_per_token=max(shape.experts_per_token, 1),
        latent=shape.kv_lora_rank + shape.qk_rope_head_dim if shape.kv == "mla" else 0,
    )


def question(ask: Ask) -> Question:
    """Raises Impossible with a line for each thing that is unknown, or else with what cannot run and what could."""
    wrong = [
        _unknown(name, what, names)
        for name, what, names in (
            (ask.engine, "engine", tuple(ENGINES)), (ask.model, "model", tuple(model_shapes.models())), 
            (ask.gpu, "GPU", hardware.gpu_names()),
        )
        if name not in names
    ]  # fmt: skip
    for name, value, most in (
        ("--gpus", ask.gpus, 1024), ("--tp", ask.tp, 1024), ("--pp", ask.pp, 1024), ("--isl", ask.isl, published_rows.MOST_TOKENS),
        ("--osl", ask.osl, published_rows.MOST_TOKENS), ("--concurrency", ask.concurrency, published_rows.MOST_CONCURRENCY),
    ):  # fmt: skip
        if not 1 <= value <= most:
            wrong.append(f"{name} {value}: between 1 and {most}")
    if wrong:
        raise Impossible("\n".join(wrong))
    shape = model_shapes.models()[ask.model]
    precision = precision_named(ask.precision)
    if ask.tp * ask.pp > ask.gpus or ask.gpus % (ask.tp * ask.pp):
        raise Impossible(f"--gpus {ask.gpus} is no multiple of --tp {ask.tp} x --pp {ask.pp}: each replica takes {ask.tp * ask.pp} GPUs")
    if ask.pp > shape.layers:
        raise Impossible(f"--pp {ask.pp}: {ask.model} has {shape.layers} layers")
    if ask.isl + ask.osl > shape.context:
        raise Impossible(f"--isl {ask.isl} + --osl {ask.osl} exceed the {shape.context} tokens of context of {ask.model}")
    version = ENGINES[ask.engine][1] if ask.engine_version is None else ask.engine_version
    replicas = ask.gpus // (ask.tp * ask.pp)
    return served(
        shape, published_rows.gpu_of(hardware.gpu(ask.gpu)), engine=ask.engine, version=version,
        tensor_parallel=ask.tp, pipeline_parallel=ask.pp,
        weight_precision=precision,
        kv_precision=ask.kv_precision or ("fp8" if ask.engine == "tensorrt-llm" and precision == "fp8" else "fp16"),
        input_tokens=ask.isl, output_tokens=ask.osl, concurrency=max(ask.concurrency / replicas, 1.0),
    )  # fmt: skip


def served(shape: model_shapes.ModelShape, card: Gpu, *, engine: str, version: str, input_tokens: int, **layout: Any) -> Question:
    """What one replica does that an engine of `ENGINES` serves, with so many requests always in flight.

    `layout` has the rest of a `Question`: parallelism, precisions, output tokens, concurrency. Raises Impossible.
    """
    key, generation, era = _engine_keys(engine, version)
    made = Question(
        architecture=architecture(shape), gpu=card, input_tokens=input_tokens, kind="concurrency",
        engine=key, generation=generation, era=era, **layout,
    )  # fmt: skip
    published_rows.check(made)
    return made


@cache
def _engine_keys(engine: str, version: str) -> tuple[str, str, str]:
    return published_rows.engine_keys({"engine": ENGINES[engine][0], "engine_version": version, "isl": "known"}, "concurrency")


def memory_gib(ask: Ask, q: Question) -> Range:
    """GiB in use on the fullest GPU: weights, libraries, and the cache of the requests in flight.

    Low: when they have been read in; value: half-way through the answers; high: at their end. Servers such as vLLM take the rest of
    their share for the cache beforehand.
    """
    shape = model_shapes.models()[ask.model]
    layers = -(-shape.layers // ask.pp)
    weights = memory_model.weights_gib(shape, 0, layers - 1, q.weight_precision) / ask.tp
    copies = 1.0 if shape.kv == "mla" else 1.0 / min(ask.tp, shape.kv_heads)
    token = memory_model.kv_bytes_per_token(shape, layers, "fp8" if q.kv_precision == "fp8" else "fp16") * copies / _GIB
    rest = weights + memory_model.runtime_overhead_gib(ask.tp)
    limit = q.gpu.memory_bytes / _GIB
    low, value, high = (min(rest + q.concurrency * t * token, limit) for t in (ask.isl, ask.isl + ask.osl / 2, ask.isl + ask.osl))
    return Range(value=value, low=low, high=high)


def answer(ask: Ask, shifts: Shifts) -> dict[str, object]:
    """What `estimate --json` prints; raises Impossible. Throughput is that of one replica for each one's share of the requests."""
    made = question(ask)
    found = estimate(made, shifts)
    all_over_one = ask.concurrency / made.concurrency
    return {
        "ttft_ms": batch.scaled(found.ttft_s, 1e3),
        "tpot_ms": batch.scaled(found.tpot_s, 1e3),
        "throughput_tok_s": batch.scaled(found.output_tok_s, all_over_one),
        "requests_s": batch.scaled(found.output_tok_s, all_over_one / ask.osl),
        "memory_gib": batch.scaled(memory_gib(ask, made), 1.0),
        "floor_tpot_ms": float(f"{found.floor_tpot_s * 1e3:.4g}"),
        "extrapolated": found.extrapolated,
    }
