"""A question in the planner's own names: a model and a GPU of the catalogue, a layout, a load."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from planner import catalogue, memory
from planner.performance import batch, calibrate, reading
from planner.performance.estimate import Range, estimate
from planner.performance.reading import Impossible
from planner.performance.workload import Architecture, Gpu, Question
from settings.explaining import closest

_TERA, _GIGA, _GIB = 1e12, 1e9, 2**30
ENGINES = {
    "vllm": ("vLLM", "0.19.0"),
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


def _gpu_names() -> tuple[str, ...]:
    return tuple(name for name in sorted({row["gpu"] for row in reading.rows(reading.DATA.parent / "gpus.csv")}))


def _known(name: str, what: str, names: tuple[str, ...]) -> None:
    if name not in names:
        raise Impossible(f"unknown {what} {name!r}; {_instead(name, names)}")


def _instead(name: str, names: tuple[str, ...]) -> str:
    near = closest(name, names)
    return f"did you mean {near}?" if near else f"known: {', '.join(names)}"


def architecture(shape: catalogue.ModelShape) -> Architecture:
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


def gpu(own: catalogue.Gpu) -> Gpu:
    """A GPU of the catalogue: its own peaks, and the chip, family and link of its row in `performance/gpus.csv`."""
    peer = reading.gpu(own.name)
    peaks = dict(peer.peaks) | {p: v * _TERA for p, v in own.dense_tflops.items() if p != "bf16"}
    return Gpu(
        family=peer.family,
        chip=peer.chip,
        memory_bytes=own.memory_gib * _GIB,
        bandwidth=own.bandwidth_gb_s * _GIGA,
        peaks=peaks,
        link=peer.link,
        link_kind=peer.link_kind,
    )


def question(ask: Ask) -> Question:
    """Raises Impossible with one sentence: what is unknown, or what cannot run and what could."""
    _known(ask.engine, "engine", tuple(ENGINES))
    _known(ask.model, "model", tuple(catalogue.models()))
    _known(ask.gpu, "GPU", _gpu_names())
    shape = catalogue.models()[ask.model]
    for name, value, most in (
        ("--gpus", ask.gpus, 1024), ("--tp", ask.tp, 1024), ("--pp", ask.pp, 1024), ("--isl", ask.isl, reading.MOST_TOKENS),
        ("--osl", ask.osl, reading.MOST_TOKENS), ("--concurrency", ask.concurrency, reading.MOST_CONCURRENCY),
    ):  # fmt: skip
        if not 1 <= value <= most:
            raise Impossible(f"{name} {value}: between 1 and {most}")
    if ask.tp * ask.pp > ask.gpus or ask.gpus % (ask.tp * ask.pp):
        raise Impossible(f"--gpus {ask.gpus} is no multiple of --tp {ask.tp} x --pp {ask.pp}: each replica takes {ask.tp * ask.pp} GPUs")
    if ask.pp > shape.layers:
        raise Impossible(f"--pp {ask.pp}: {ask.model} has {shape.layers} layers")
    if ask.isl + ask.osl > shape.context:
        raise Impossible(f"--isl {ask.isl} + --osl {ask.osl} exceed the {shape.context} tokens of context of {ask.model}")
    version = ENGINES[ask.engine][1] if ask.engine_version is None else ask.engine_version
    replicas = ask.gpus // (ask.tp * ask.pp)
    return served(
        shape, gpu(catalogue.gpu(ask.gpu)), engine=ask.engine, version=version, tensor_parallel=ask.tp, pipeline_parallel=ask.pp,
        weight_precision=ask.precision,
        kv_precision=ask.kv_precision or ("fp8" if ask.engine == "tensorrt-llm" and ask.precision == "fp8" else "fp16"),
        input_tokens=ask.isl, output_tokens=ask.osl, concurrency=max(ask.concurrency / replicas, 1.0),
    )  # fmt: skip


def served(shape: catalogue.ModelShape, card: Gpu, *, engine: str, version: str, input_tokens: int, **layout: Any) -> Question:
    """What one replica does that an engine of `ENGINES` serves, with so many requests always in flight.

    `layout` has the rest of a `Question`: parallelism, precisions, output tokens, concurrency. Raises Impossible.
    """
    row = {"engine": ENGINES[engine][0], "engine_version": version, "isl": str(input_tokens)}
    key, generation, era = reading.engine_keys(row, "concurrency")
    made = Question(
        architecture=architecture(shape), gpu=card, input_tokens=input_tokens, kind="concurrency",
        engine=key, generation=generation, era=era, **layout,
    )  # fmt: skip
    reading.check(made)
    return made


def memory_gib(ask: Ask, q: Question) -> Range:
    """GiB in use on the fullest GPU: weights, libraries, and the cache of the requests in flight.

    Low: when they have been read in; value: half-way through the answers; high: at their end. Servers such as vLLM take the rest of
    their share for the cache beforehand.
    """
    shape = catalogue.models()[ask.model]
    layers = -(-shape.layers // ask.pp)
    weights = memory.weights_gib(shape, 0, layers - 1, ask.precision) / ask.tp
    copies = 1.0 if shape.kv == "mla" else 1.0 / min(ask.tp, shape.kv_heads)
    token = memory.kv_bytes_per_token(shape, layers, "fp8" if q.kv_precision == "fp8" else "fp16") * copies / _GIB
    rest = weights + memory.runtime_overhead_gib(ask.tp)
    limit = q.gpu.memory_bytes / _GIB
    low, value, high = (min(rest + q.concurrency * t * token, limit) for t in (ask.isl, ask.isl + ask.osl / 2, ask.isl + ask.osl))
    return Range(value=value, low=low, high=high)


def answer(ask: Ask, factors: dict[str, float]) -> dict[str, object]:
    """What `estimate --json` prints; raises Impossible. Throughput and requests follow from the two times, by Little's law."""
    made = question(ask)
    found = calibrate.applied(estimate(made), factors)
    first, each = found.ttft_s, found.tpot_s

    def rate(bound: str) -> float:
        return ask.concurrency / (getattr(first, bound) + (ask.osl - 1) * getattr(each, bound))

    requests = Range(value=rate("value"), low=rate("high"), high=rate("low"))
    return {
        "ttft_ms": batch.scaled(first, 1e3),
        "tpot_ms": batch.scaled(each, 1e3),
        "throughput_tok_s": batch.scaled(requests, ask.osl),
        "requests_s": batch.scaled(requests, 1.0),
        "memory_gib": batch.scaled(memory_gib(ask, made), 1.0),
        "floor_tpot_ms": float(f"{found.floor_tpot_s * 1e3:.4g}"),
        "extrapolated": found.extrapolated,
    }
