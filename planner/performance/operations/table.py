"""The measured times of an engine's operations on one GPU, and what they are between the measured shapes and on a GPU of the same make.

`data/operations_nvidia_h200_vllm.csv` and `data/all_reduce_nvidia_h200_vllm.csv` are what `bench/gpu/operations.py` wrote on an H200 with
vLLM 0.20.2 (the JSON files beside them say when and with which libraries). All times are microseconds of one operation on one GPU.
"""

from __future__ import annotations

import csv
import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from planner.performance.questions import GpuFigures

_DATA = Path(__file__).parents[1] / "data"
_KERNEL_US = 2.4
"""What the smallest kernel takes, whose time neither bandwidth nor arithmetic shortens: the table's smallest normalisation."""
_BITS = {"bf16": 16, "fp8": 8, "int8": 8, "int4": 4}
_TILE = 128
"""Rows of a tile of the 8-bit and 4-bit products above 128 tokens, which take as long for a part of a tile: in the table, 192 and 256
tokens take the same time, and so do 384 and 512 in 4 bits."""

Curve = list[tuple[float, float]]
"""Points (logarithm of the size, logarithm of the microseconds), by size."""


def between(curve: Curve, size: float) -> float:
    """Returns the microseconds at a size, along straight lines between the logarithms; beyond the last point, in proportion to the size."""
    x = math.log(size)
    if x <= curve[0][0]:
        return math.exp(curve[0][1])
    if x >= curve[-1][0]:
        return math.exp(curve[-1][1] + x - curve[-1][0])
    i = bisect_right(curve, (x, math.inf))
    (x0, y0), (x1, y1) = curve[i - 1], curve[i]
    return math.exp(y0 + (y1 - y0) * (x - x0) / (x1 - x0))


def _rows(name: str) -> list[dict[str, str]]:
    with (_DATA / name).open(newline="") as file:
        return list(csv.DictReader(file))


@cache
def _grouped() -> dict[tuple, dict]:
    """The measured microseconds by operation and shape, and in it by size."""
    found: dict[tuple, dict] = defaultdict(dict)
    for row in _rows("operations_nvidia_h200_vllm.csv"):
        operation, precision, us = row["operation"], row["precision"], float(row["us"])
        if operation == "product":
            found[operation, precision][int(row["rows"]), int(row["columns"]), int(row["tokens"])] = us
        elif operation == "experts":
            shape = tuple(int(row[name]) for name in ("experts", "chosen", "rows", "columns"))
            found[operation, precision][*shape, int(row["tokens"])] = us
        elif operation.endswith("attention"):
            key = tuple(int(row[name]) for name in ("heads", "kv_heads", "sequences", "context_tokens"))
            found[operation, precision][key] = us
        else:
            found[operation, precision][int(row["columns"]), int(row["tokens"])] = us
    for row in _rows("all_reduce_nvidia_h200_vllm.csv"):
        found["all_reduce", "bf16"][int(row["gpus"]), int(row["bytes"])] = float(row["us"])
    return found


@cache
def curves(operation: str, precision: str) -> dict[tuple[int, ...], Curve]:
    """Returns the curve over the last column of the key (tokens, context, bytes) for each other shape of an operation.

    The first product of a shape was measured on a GPU that had just been idle, so one token takes no longer than two.
    """
    found: dict[tuple[int, ...], dict[int, float]] = defaultdict(dict)
    for (*shape, size), us in _grouped()[operation, precision].items():
        found[tuple(shape)][size] = us
    for by_size in found.values():
        if operation == "product" and by_size[1] > by_size[2]:
            by_size[1] = by_size[2]
    return {shape: [(math.log(size), math.log(us)) for size, us in sorted(by_size.items())] for shape, by_size in found.items()}


@dataclass(frozen=True, kw_only=True)
class Operations:
    """The operations on one GPU: those of the H200, scaled where another GPU's data sheet differs."""

    gpu: GpuFigures
    measured: GpuFigures
    """The GPU of the table."""

    def _scaled(self, us: float, read: float, flops: float, precision: str) -> float:
        """The microseconds on this GPU of what took `us` on the measured one: all but the launch in proportion to the roofline."""
        peak = "fp8" if precision in ("fp8", "int8") else "fp16"

        def roof(gpu: GpuFigures) -> float:
            peak_flops = gpu.peaks.get(peak) or gpu.peaks["fp16"]
            return ((read / gpu.bandwidth) ** 4 + (flops / peak_flops) ** 4) ** 0.25

        if self.gpu.bandwidth == self.measured.bandwidth and self.gpu.peaks == self.measured.peaks:
            return us
        floor = min(us, _KERNEL_US)
        return floor + (us - floor) * roof(self.gpu) / roof(self.measured)

    def product_us(self, precision: str, rows: float, columns: float, tokens: float) -> float:
        """Returns the microseconds of the product of `tokens` activations with a matrix."""
        tiled = tokens if precision == "bf16" or tokens <= _TILE else _TILE * math.ceil(tokens / _TILE)
        us = _like(curves("product", precision), (rows, columns), tiled, rows * columns)
        work = rows * columns
        return self._scaled(us, work * _BITS[precision] / 8 + 2 * tokens * (rows + columns), 2 * work * tokens, precision)

    def experts_us(self, precision: str, shape: tuple[float, float, float, float], tokens: float) -> float:
        """Returns the microseconds of the experts of a layer: `shape` is experts, experts per token, hidden and inner size."""
        count, chosen, hidden, inner = shape
        us = _experts_like(curves("experts", precision), shape, tokens)
        touched = count * (1 - (1 - chosen / count) ** tokens)
        work = 3 * hidden * inner
        return self._scaled(us, touched * work * _BITS[precision] / 8, 2 * tokens * chosen * work, precision)

    def decode_attention_us(self, cache: str, heads: float, kv_heads: float, sequences: float, context: float) -> float:
        """Returns the microseconds in which each of `sequences` sequences looks at its context with one token."""
        us = _attention_like(cache, heads, kv_heads, sequences, context)
        read = 2 * sequences * context * kv_heads * 128 * (1 if cache == "fp8" else 2)
        return self._scaled(us, read, 0.0, cache)

    def prompt_attention_us(self, cache: str, heads: float, tokens: float, context: float) -> float:
        """Returns the microseconds in which the last `tokens` tokens of a context look at it."""
        known = {shape[0]: curve for shape, curve in _prompts(cache).items()}
        near = min(known, key=lambda count: abs(math.log(count / heads)))
        us = between(known[near], context)
        if near != heads:
            us = max(us * heads / near, 2.4)
        if tokens < context:
            us *= tokens * (2 * context - tokens) / context**2
        return self._scaled(us, 0.0, 4 * heads * 128 * tokens * context / 2, "bf16")

    def small_us(self, operation: str, precision: str, columns: float, tokens: float) -> float:
        """Returns the microseconds of a kernel between the products, for `tokens` rows of `columns` values."""
        us = _like(curves(operation, precision), (columns,), tokens, columns)
        return self._scaled(us, tokens * columns, 0.0, precision)

    def all_reduce_us(self, gpus: int, message_bytes: float) -> float:
        """Returns the microseconds of an all-reduce over `gpus` GPUs that share a switch; 0 for one.

        Two GPUs were measured. More take one more hop of latency with each doubling, and 2 (GPUs - 1) / GPUs of the message crosses a link
        (NVIDIA NCCL tests doc/PERFORMANCE.md), where with two it is all of it.
        """
        if gpus <= 1:
            return 0.0
        two = between(curves("all_reduce", "bf16")[2,], message_bytes)
        latency = math.exp(curves("all_reduce", "bf16")[2,][0][1])
        share = 2 * (gpus - 1) / gpus
        us = latency * (1 + 0.15 * (math.log2(gpus) - 1)) + max(two - latency, 0.0) * share
        return us * max(self.measured.link / self.gpu.link, 1.0) if self.gpu.link < self.measured.link else us


def _like(known: dict[tuple[int, ...], Curve], shape: tuple[float, ...], size: float, work: float) -> float:
    """The microseconds of a shape at a size: its own curve, or those of the three nearest shapes in proportion to the work, beyond a
    launch."""
    own = known.get(shape)  # type: ignore[arg-type]
    if own:
        return between(own, size)
    apart = sorted((math.dist([math.log(a) for a in other], [math.log(a) for a in shape]), other) for other in known)[:3]
    total, weights = 0.0, 0.0
    for distance, other in apart:
        us = between(known[other], size)
        floor = min(us, _KERNEL_US)
        weight = 1 / (distance + 0.05) ** 2
        total += weight * math.log(floor + (us - floor) * work / math.prod(other))
        weights += weight
    return math.exp(total / weights)


def _experts_like(known: dict[tuple[int, ...], Curve], shape: tuple[float, float, float, float], tokens: float) -> float:
    own = known.get(shape)  # type: ignore[arg-type]
    if own:
        return between(own, tokens)
    count, chosen, hidden, inner = shape

    def work(of: tuple[float, ...], at: float) -> float:
        e, k, h, i = of
        return e * (1 - (1 - k / e) ** at) * 3 * h * i

    def apart(other: tuple[int, ...]) -> float:
        return abs(math.log(other[0] / count)) + 0.5 * abs(math.log(other[3] * other[2] / (inner * hidden)))

    nearest = min(known, key=apart)
    # As many tokens for each expert as were measured: beyond that, an expert's time is its own.
    each = tokens * chosen / count
    at = max(each * nearest[0] / nearest[1], 1.0)
    us = between(known[nearest], at)
    floor = min(us, 10.0)
    return floor + (us - floor) * work(shape, tokens) / work(tuple(map(float, nearest)), at)


@cache
def _prompts(precision: str) -> dict[tuple[int, ...], Curve]:
    return {(heads, kv): curve for (heads, kv, _), curve in _by_heads("prompt_attention", precision).items()}


@cache
def _by_heads(operation: str, precision: str) -> dict[tuple[int, ...], Curve]:
    if operation == "decode_attention":
        return curves(operation, precision)
    merged: dict[tuple[int, ...], Curve] = defaultdict(list)
    for (heads, kv, _sequences), curve in curves(operation, precision).items():
        merged[heads, kv, 1].extend(curve)
    return {shape: sorted(curve) for shape, curve in merged.items()}


def _attention_like(cache: str, heads: float, kv_heads: float, sequences: float, context: float) -> float:
    """Decode attention between the measured heads, sequences and contexts. The cache read decides, so KV heads beyond the measured ones
    count as more sequences."""
    known = _by_heads("decode_attention", cache)
    shapes = {(shape[0], shape[1]) for shape in known}
    near = min(shapes, key=lambda shape: (abs(math.log(shape[1] / kv_heads)), abs(math.log(shape[0] / heads))))
    sequences *= kv_heads / near[1]
    points = [(math.log(s), math.log(between(curve, context))) for (h, k, s), curve in known.items() if (h, k) == near]
    return between(sorted(points), max(sequences, 1.0))


