"""Asks the performance model in the planner's own names: a model and a GPU of the catalogue, a layout and a load."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from planner.catalogue import hardware, model_names, model_shapes
from planner.fit import memory_model
from planner.performance import batch, gpu_cards, published_rows
from planner.performance.constants import Shifts
from planner.performance.estimate import Range, estimate
from planner.performance.published_rows import Impossible
from planner.performance.questions import Architecture, GpuFigures, Question, precision_named

_GIB = 2**30
ENGINES = {
    "vllm": ("vLLM", "0.20.2"),
    "tensorrt-llm": ("TensorRT-LLM", "1.2"),
    "sglang": ("SGLang", "0.5.9"),
    "llama.cpp": ("llama.cpp", ""),
}
"""The engines that `estimate` knows: the name in the measurements, and the version it assumes, the newest with fitted measurements."""


@dataclass(frozen=True, kw_only=True)
class EstimateOptions:
    """The options of `estimate` on the command line."""

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
    """The three closest names of the same GPU family, or of all names with a similar spelling."""
    family = gpu_cards.family_of(name)
    same_family = [known for known in names if family and gpu_cards.family_of(known) == family]
    plain = {re.sub(r"[^a-z0-9]", "", known.lower()): known for known in same_family or names}
    asked = re.sub(r"[^a-z0-9]", "", name.lower())
    return [plain[close] for close in difflib.get_close_matches(asked, plain, n=3, cutoff=0.0 if same_family else 0.7)]


@cache
def architecture(shape: model_shapes.ModelShape) -> Architecture:
    """Returns the catalogue's model as the performance model sees it."""
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


def question(options: EstimateOptions) -> Question:
    """Returns the question of a command line.

    Raises Impossible with a line for each unknown name or wrong number, or with the reason why it cannot run.
    """
    problems = [
        _unknown(name, what, names)
        for name, what, names in (
            (options.engine, "engine", tuple(ENGINES)), (options.model, "model", tuple(model_shapes.models())),
            (options.gpu, "GPU", hardware.gpu_names()),
        )
        if name not in names
    ]  # fmt: skip
    for name, value, most in (
        ("--gpus", options.gpus, 1024), ("--tp", options.tp, 1024), ("--pp", options.pp, 1024),
        ("--isl", options.isl, published_rows.MOST_TOKENS), ("--osl", options.osl, published_rows.MOST_TOKENS),
        ("--concurrency", options.concurrency, published_rows.MOST_CONCURRENCY),
    ):  # fmt: skip
        if not 1 <= value <= most:
            problems.append(f"{name} {value}: between 1 and {most}")
    if problems:
        raise Impossible("\n".join(problems))
    shape = model_shapes.models()[options.model]
    precision = precision_named(options.precision)
    replica_gpus = options.tp * options.pp
    if replica_gpus > options.gpus or options.gpus % replica_gpus:
        multiple = f"no multiple of --tp {options.tp} x --pp {options.pp}"
        raise Impossible(f"--gpus {options.gpus} is {multiple}: each replica takes {replica_gpus} GPUs")
    if options.pp > shape.layers:
        raise Impossible(f"--pp {options.pp}: {options.model} has {shape.layers} layers")
    if options.isl + options.osl > shape.context:
        raise Impossible(f"--isl {options.isl} + --osl {options.osl} exceed the {shape.context} tokens of context of {options.model}")
    version = ENGINES[options.engine][1] if options.engine_version is None else options.engine_version
    replicas = options.gpus // replica_gpus
    return served(
        shape, gpu_cards.gpu_of(hardware.gpu(options.gpu)), engine=options.engine, version=version,
        tensor_parallel=options.tp, pipeline_parallel=options.pp,
        weight_precision=precision,
        kv_precision=options.kv_precision or ("fp8" if options.engine == "tensorrt-llm" and precision == "fp8" else "fp16"),
        input_tokens=options.isl, output_tokens=options.osl, concurrency=max(options.concurrency / replicas, 1.0),
    )  # fmt: skip


def served(shape: model_shapes.ModelShape, card: GpuFigures, *, engine: str, version: str, input_tokens: int, **layout: Any) -> Question:
    """Returns the question about one replica that an engine of `ENGINES` serves, with a number of requests always in flight.

    `layout` has the other fields of a `Question`: parallelism, precisions, output tokens, concurrency. Raises Impossible where no machine
    could run it.
    """
    key, generation, era = _engine_keys(engine, version)
    asked = Question(
        architecture=architecture(shape), gpu=card, input_tokens=input_tokens, kind="concurrency",
        engine=key, generation=generation, era=era, **layout,
    )  # fmt: skip
    published_rows.check(asked)
    return asked


@cache
def _engine_keys(engine: str, version: str) -> tuple[str, str, str]:
    return published_rows.engine_keys({"engine": ENGINES[engine][0], "engine_version": version, "isl": "known"}, "concurrency")


def memory_gib(options: EstimateOptions, question: Question) -> Range:
    """Returns the GiB in use on the fullest GPU: weights, libraries, and the cache of the requests in flight.

    `low` is when the prompts have been read, `value` half-way through the answers, `high` at their end. Servers such as vLLM allocate the
    rest of their share for the cache in advance.
    """
    shape = model_shapes.models()[options.model]
    layers = -(-shape.layers // options.pp)
    weights = memory_model.weights_gib(shape, 0, layers - 1, question.weight_precision) / options.tp
    copies = 1.0 if shape.kv == "mla" else 1.0 / min(options.tp, shape.kv_heads)
    token = memory_model.kv_bytes_per_token(shape, layers, "fp8" if question.kv_precision == "fp8" else "fp16") * copies / _GIB
    rest = weights + memory_model.runtime_overhead_gib(options.tp)
    limit = question.gpu.memory_bytes / _GIB
    low, value, high = (
        min(rest + question.concurrency * tokens * token, limit)
        for tokens in (options.isl, options.isl + options.osl / 2, options.isl + options.osl)
    )
    return Range(value=value, low=low, high=high)


def answer(options: EstimateOptions, shifts: Shifts) -> dict[str, object]:
    """Returns what `estimate --json` prints, with the throughput of all replicas together. Raises Impossible."""
    asked = question(options)
    estimated = estimate(asked, shifts)
    all_over_one = options.concurrency / asked.concurrency
    return {
        "ttft_ms": batch.scaled(estimated.ttft_s, 1e3),
        "tpot_ms": batch.scaled(estimated.tpot_s, 1e3),
        "throughput_tok_s": batch.scaled(estimated.output_tok_s, all_over_one),
        "requests_s": batch.scaled(estimated.output_tok_s, all_over_one / options.osl),
        "memory_gib": batch.scaled(memory_gib(options, asked), 1.0),
        "floor_tpot_ms": float(f"{estimated.floor_tpot_s * 1e3:.4g}"),
        "extrapolated": estimated.extrapolated,
    }
