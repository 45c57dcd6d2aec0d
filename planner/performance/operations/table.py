"""The measured times of vLLM's operations on one GPU, and what they are between the measured shapes and on a GPU of the same make.

- `data/operations_nvidia_h200_vllm.csv`: vLLM 0.20.2 on an H200, by `bench/gpu/operations.py`; the JSON file beside it says when and with
  which libraries.
- `data/all_reduce_published.csv`: vLLM's own all-reduce, recorded in a CUDA graph, over 2, 4 and 8 GPUs with NVLink. It is an extract of
  `custom_allreduce_perf.parquet` in NVIDIA's aiconfigurator-core 0.12.0 (PyPI, Apache License 2.0). Our own measurement with two H200
  (`data/all_reduce_nvidia_h200_vllm.csv`) is within a few percent of it below 1 MB.

All times are microseconds of one operation on one GPU.
"""

from __future__ import annotations

import csv
import math
from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from planner.performance.questions import GpuFigures

_DATA = Path(__file__).parents[1] / "data"
LAUNCH_US = 2.4
"""The time of a kernel that has next to nothing to do, which neither bandwidth nor arithmetic shortens: the table's least normalisation."""
_EXPERTS_LAUNCH_US = 10.0
"""The same for the few kernels of a layer's experts."""
_BITS = {"bf16": 16, "fp8": 8, "int8": 8, "int4": 4}
_TILE = 128
"""Rows of a tile of the products in 8 and 4 bits above 128 tokens. A part of a tile takes as long as a whole one: in the table, 192 tokens
take the time of 256."""
_NEAREST = 3
_HEAD = 128
"""Values of a head in the table."""

Curve = list[tuple[float, float]]
"""Points (logarithm of the size, logarithm of the microseconds), by size."""


def between(curve: Curve, size: float, growth: float = 1.0) -> float:
    """Returns the microseconds at a size, along straight lines between the logarithms.

    Below the first point they are those of the first point; beyond the last they grow with the size to the power `growth`.
    """
    x = math.log(size)
    if x <= curve[0][0]:
        return math.exp(curve[0][1])
    if x >= curve[-1][0]:
        return math.exp(curve[-1][1] + growth * (x - curve[-1][0]))
    i = bisect_right(curve, (x, math.inf))
    (x0, y0), (x1, y1) = curve[i - 1], curve[i]
    return math.exp(y0 + (y1 - y0) * (x - x0) / (x1 - x0))


_SHAPES = {
    "product": ("rows", "columns", "tokens"), "experts": ("experts", "chosen", "rows", "columns", "tokens"),
    "decode_attention": ("heads", "kv_heads", "sequences", "context_tokens"), "prompt_attention": ("heads", "kv_heads", "context_tokens"),
}  # fmt: skip


def _read(name: str) -> list[dict[str, str]]:
    with (_DATA / name).open(newline="") as file:
        return list(csv.DictReader(file))


@cache
def _curves() -> dict[tuple[str, str], dict[tuple[int, ...], Curve]]:
    """Returns, for each operation and precision, the curve of each shape over its last column: tokens or context."""
    found: dict[tuple[str, str], dict[tuple[int, ...], dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for row in _read("operations_nvidia_h200_vllm.csv"):
        *shape, size = (int(row[name]) for name in _SHAPES.get(row["operation"], ("columns", "tokens")))
        found[row["operation"], row["precision"]][tuple(shape)][size] = float(row["us"])
    for (operation, _precision), shapes in found.items():
        for by_size in shapes.values():
            if operation == "product":
                # The first product of a matrix was measured on a GPU that had just been idle: one token takes no longer than two.
                by_size[1] = min(by_size[1], by_size[2])
    return {key: {shape: _curve(by_size) for shape, by_size in shapes.items()} for key, shapes in found.items()}


def _curve(by_size: dict[int, float]) -> Curve:
    return [(math.log(size), math.log(us)) for size, us in sorted(by_size.items())]


@cache
def _all_reduces() -> dict[tuple[str, int], Curve]:
    found: dict[tuple[str, int], dict[int, float]] = defaultdict(dict)
    for row in _read("all_reduce_published.csv"):
        found[row["family"], int(row["gpus"])][int(row["bytes"])] = float(row["us"])
    return {key: _curve(by_size) for key, by_size in found.items()}


def _like(operation: str, precision: str, shape: tuple[float, ...], size: float) -> float:
    """The microseconds of a shape at a size: its own curve, or the three nearest ones in proportion to the work beyond a launch."""
    known = _curves()[operation, precision]
    own = known.get(shape)  # type: ignore[arg-type]
    if own:
        return between(own, size)
    logs = [math.log(part) for part in shape]
    near = sorted((math.dist([math.log(part) for part in other], logs), other) for other in known)[:_NEAREST]
    total = weights = 0.0
    for distance, other in near:
        us = between(known[other], size)
        launch = min(us, LAUNCH_US)
        weight = 1 / (distance + 0.05) ** 2
        total += weight * math.log(launch + (us - launch) * math.prod(shape) / math.prod(other))
        weights += weight
    return math.exp(total / weights)


def _touched(experts: float, chosen: float, tokens: float) -> float:
    """The experts of a layer that so many tokens use, if each choice is random."""
    return experts * (1 - (1 - chosen / experts) ** tokens)


@dataclass(frozen=True)
class Operations:
    """The operations on one GPU: those of the H200, scaled where the other GPU's data sheet differs."""

    gpu: GpuFigures
    measured: GpuFigures
    """The GPU of the table."""

    def _scaled(self, us: float, read_bytes: float, flops: float, precision: str = "bf16") -> float:
        """The microseconds on this GPU of what took `us` on the measured one: all but the launch in proportion to the roofline."""
        if self.gpu == self.measured:
            return us
        launch = min(us, LAUNCH_US)
        return launch + (us - launch) * _roof(self.gpu, read_bytes, flops, precision) / _roof(self.measured, read_bytes, flops, precision)

    def product_us(self, precision: str, rows: float, columns: float, tokens: float) -> float:
        """Returns the microseconds of the product of `tokens` activations with a matrix of `rows` inputs and `columns` outputs."""
        tiled = tokens if precision == "bf16" or tokens <= _TILE else _TILE * math.ceil(tokens / _TILE)
        weights = rows * columns
        read = weights * _BITS[precision] / 8 + 2 * tokens * (rows + columns)
        return self._scaled(_like("product", precision, (rows, columns), tiled), read, 2 * weights * tokens, precision)

    def experts_us(self, precision: str, shape: tuple[float, float, float, float], tokens: float) -> float:
        """Returns the microseconds of the experts of a layer: `shape` is experts, experts of a token, hidden and inner size."""
        experts, chosen, hidden, inner = shape
        weights = 3 * hidden * inner
        touched = _touched(experts, chosen, tokens)
        read, flops = touched * weights * _BITS[precision] / 8, 2 * tokens * chosen * weights
        return self._scaled(_experts_like(precision, shape, tokens), read, flops, precision)

    def decode_attention_us(self, cache: str, heads: float, kv_heads: float, sequences: float, context: float) -> float:
        """Returns the microseconds in which each of `sequences` sequences looks at its context with one token.

        Reading the cache decides. KV heads beyond the measured ones therefore count as more sequences.
        """
        known = _curves()["decode_attention", cache]
        near = min({shape[:2] for shape in known}, key=lambda of: (abs(math.log(of[1] / kv_heads)), abs(math.log(of[0] / heads))))
        points = sorted((math.log(of[2]), math.log(between(curve, context))) for of, curve in known.items() if of[:2] == near)
        read = 2 * sequences * context * kv_heads * _HEAD * (1 if cache == "fp8" else 2)
        return self._scaled(between(points, max(sequences * kv_heads / near[1], 1.0)), read, 0.0)

    def prompt_attention_us(self, cache: str, heads: float, context: float) -> float:
        """Returns the microseconds in which a prompt of `context` tokens looks at itself."""
        known = _curves()["prompt_attention", cache]
        near = min(known, key=lambda of: abs(math.log(of[0] / heads)))
        us = between(known[near], context, growth=2.0)
        us = LAUNCH_US + (us - LAUNCH_US) * heads / near[0]
        return self._scaled(us, 0.0, 2 * heads * _HEAD * context**2)

    def small_us(self, operation: str, precision: str, columns: float, tokens: float) -> float:
        """Returns the microseconds of a kernel between the products, for `tokens` rows of `columns` values."""
        return self._scaled(_like(operation, precision, (columns,), tokens), tokens * columns, 0.0)

    def all_reduce_us(self, gpus: int, message_bytes: float) -> float:
        """Returns the microseconds of an all-reduce over `gpus` GPUs; 0 for one. Beyond 8, latency and message grow as from 4 to 8."""
        if gpus <= 1:
            return 0.0
        known = _all_reduces()
        family = self.gpu.family if (self.gpu.family, 2) in known else self.measured.family
        two, four, eight = (between(known[family, count], message_bytes) for count in (2, 4, 8))
        us = {2: two, 4: four, 8: eight}.get(gpus) or eight * (eight / four) ** (math.log2(gpus) - 3)
        nvlink = {"A100": 300e9}.get(family, 450e9)
        launch = between(known[family, 2], 1.0)
        return us if self.gpu.link >= nvlink else us + (us - launch) * (nvlink / self.gpu.link - 1)


def _roof(gpu: GpuFigures, read_bytes: float, flops: float, precision: str) -> float:
    peak = gpu.peaks.get(precision) or gpu.peaks["fp16"]
    return ((read_bytes / gpu.bandwidth) ** 4 + (flops / peak) ** 4) ** 0.25


def _experts_like(precision: str, shape: tuple[float, float, float, float], tokens: float) -> float:
    """The microseconds of a layer's experts: its own curve, or the most similar one at as many tokens for each expert, in proportion to the
    weights of the experts used."""
    known = _curves()["experts", precision]
    own = known.get(shape)  # type: ignore[arg-type]
    if own:
        return between(own, tokens)
    experts, chosen, hidden, inner = shape

    def apart(of: tuple[int, ...]) -> float:
        return abs(math.log(of[0] / experts)) + 0.5 * abs(math.log(of[2] * of[3] / (hidden * inner)))

    near = min(known, key=apart)
    at = max(tokens * (chosen / experts) * near[0] / near[1], 1.0)
    us = between(known[near], at)
    launch = min(us, _EXPERTS_LAUNCH_US)
    work = _touched(experts, chosen, tokens) * hidden * inner
    return launch + (us - launch) * work / (_touched(near[0], near[1], at) * near[2] * near[3])
