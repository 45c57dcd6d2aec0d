"""The time of one step of vLLM: the sum of the operations that it runs on a GPU, beside what the host does meanwhile."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cache

from planner.catalogue import hardware
from planner.performance import gpu_cards
from planner.performance.operations.table import LAUNCH_US, Curve, Operations, between
from planner.performance.questions import Architecture, GpuFigures, Question, precision_class

MEASURED_ON = "H200-141GB-SXM"
GRAPH_TOKENS = 512
"""The most tokens of a step whose kernels vLLM replays from CUDA graphs: the default of `cudagraph_capture_sizes`."""
_PRODUCTS = {"16": "bf16", "fp8": "fp8", "q8": "int8", "q4": "int4"}
_GRID = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 129, 192, 256, 257, 384, 385, 512, 513, 640, 641, 768, 1024, 2048, 4096, 8192)
"""Tokens for which a layer is computed; between them it is interpolated. Each multiple of a tile that matters has its two sides."""


@dataclass(frozen=True, kw_only=True)
class Host:
    """What no sum of operations has, in microseconds: the work of one thread of vLLM's engine in a step, and of the server before it.

    A step in which only tokens are generated is one CUDA graph. In a step that reads a prompt, the attention of each layer is started by
    itself, and beyond `GRAPH_TOKENS` every kernel is. `bench/operations_accuracy.py` finds the numbers: the same ones for all models, GPUs
    and loads.
    """

    sequence: float
    """For each sequence that gets a token: scheduling, sampling, output."""
    prompt: float
    """For each prompt that begins."""
    rank: float
    """For each of several GPUs that share the layers: every step is sent to a process of its own."""
    graph_layer_16: float
    """For each layer of a step with a prompt whose other kernels are in graphs, with products in 16 bits."""
    graph_layer_int: float
    """The same with products in INT8 or weights in INT4."""
    graph_layer_fp8: float
    layer: float
    """For each layer of a step without graphs."""
    layer_8: float
    """The same with products in 8 bits, whose inputs are quantised first."""
    layer_experts: float
    front_end: float
    """What the HTTP server, the tokenizer and the client add to a first token."""
    front_end_busy: float
    """How much more that is for each request a second."""
    steps_waited: float
    """Steps, not microseconds, between a request's arrival and its own: what is left of the one that runs, and one that is scheduled
    already."""
    together: float
    """Prompts of others in the step of one's own, over their mean in a step: while a long step runs, several arrive."""

    def layer_us(self, tokens: float, weights: str, experts: bool) -> float:
        """Returns the microseconds in which the host starts a layer of a step with a prompt."""
        if tokens <= GRAPH_TOKENS:
            return {"bf16": self.graph_layer_16, "fp8": self.graph_layer_fp8}.get(weights, self.graph_layer_int)
        return self.layer_experts if experts else self.layer_8 if weights in ("fp8", "int8") else self.layer


class Steps:
    """The steps of one model on its GPUs; all times are seconds."""

    def __init__(self, question: Question, host: Host) -> None:
        self._layers, self._host = layers(question), host
        self._overlaps = host_overlaps(question.era)

    def decode_s(self, sequences: float, context: float) -> float:
        """Returns the seconds of a step in which each of `sequences` sequences with so much context gets a token."""
        each = self._layers
        busy = each.count * (each.layer_us(sequences) + each.attention_us(sequences, context)) + each.head_us(sequences)
        host = self._sequences_us(sequences)
        return 1e-6 * (max(busy, host) if self._overlaps else busy + host)

    def mixed_s(self, sequences: float, context: float, prompts: float, length: float, most_tokens: float) -> tuple[float, float]:
        """Returns the seconds in which `prompts` prompts of `length` tokens are read beside the answers of `sequences` sequences, and the
        steps that it takes, as no step has more than `most_tokens` tokens."""
        each = self._layers
        room = max(most_tokens - sequences, 1.0)
        steps = max(prompts * length / room, 1.0)
        tokens = sequences + prompts * length / steps
        layer_us = each.layer_us(tokens) + (each.attention_us(sequences, context) if sequences >= 1 else 0.0)
        busy = each.count * (steps * layer_us + prompts * each.prompt_attention_us(length)) + each.head_us(sequences + prompts)
        starts = each.count * steps * self._host.layer_us(tokens, each.weights, each.experts)
        host = steps * self._sequences_us(sequences) + self._host.prompt * prompts
        return 1e-6 * (max(busy, starts + host) if self._overlaps else max(busy, starts) + host), steps

    def _sequences_us(self, sequences: float) -> float:
        gpus = self._layers.gpus
        return self._host.sequence * sequences + (self._host.rank * gpus if gpus > 1 else 0.0)


class Layers:
    """What a GPU does in one layer of a model, and after the last one, in microseconds."""

    def __init__(self, architecture: Architecture, operations: Operations, gpus: int, weights: str, cache: str) -> None:
        self._architecture, self._operations, self.gpus, self.weights, self._cache = architecture, operations, gpus, weights, cache
        self.count, self.experts = architecture.layers, architecture.experts > 1
        self._heads, self._kv_heads = (max(heads / gpus, 1.0) for heads in (architecture.heads, architecture.kv_heads))
        self._head_share = architecture.head_dim / 128
        self._known: dict[float, float] = {}
        self._attentions: dict[float, Curve] = {}

    def layer_us(self, tokens: float) -> float:
        """Returns the microseconds of everything in a layer but the attention."""
        above = next((i for i, size in enumerate(_GRID) if size >= tokens), None)
        if above is None:
            return self._at(_GRID[-1]) * tokens / _GRID[-1]
        low, high = _GRID[max(above - 1, 0)], _GRID[above]
        if high in (low, tokens):
            return self._at(high)
        return between([(math.log(size), math.log(self._at(size))) for size in (low, high)], tokens)

    def head_us(self, sequences: float) -> float:
        """Returns the microseconds of the logits of the sequences and of the choice among them."""
        a = self._architecture
        logits = self._operations.product_us("bf16", a.hidden, a.vocab / self.gpus, sequences)
        return logits + self._operations.small_us("argmax", "fp32", a.vocab, sequences)

    def attention_us(self, sequences: float, context: float) -> float:
        """Returns the microseconds in which each sequence looks at its context."""
        curve = self._attentions.get(context)
        if curve is None:
            times = ((n, self._operations.decode_attention_us(self._cache, self._heads, self._kv_heads, n, context)) for n in _SEQUENCES)
            curve = self._attentions[context] = [(math.log(count), math.log(us * self._head_share)) for count, us in times]
        return between(curve, sequences)

    def prompt_attention_us(self, length: float) -> float:
        """Returns the microseconds in which a prompt looks at itself."""
        return self._operations.prompt_attention_us(self._cache, self._heads, length) * self._head_share

    def _at(self, tokens: float) -> float:
        known = self._known.get(tokens)
        if known is None:
            known = self._known[tokens] = self._summed_us(tokens)
        return known

    def _summed_us(self, tokens: float) -> float:
        a, ops, weights = self._architecture, self._operations, self.weights
        queries, keys = a.heads * a.head_dim / self.gpus, 2 * self._kv_heads * a.head_dim
        us = ops.product_us(weights, a.hidden, queries + keys, tokens) + ops.product_us(weights, queries, a.hidden, tokens)
        inner = a.intermediate / self.gpus
        if self.experts:
            us += ops.experts_us(weights, (a.experts, a.experts_per_token, a.hidden, inner), tokens)
            # The router's product, its choice, and the normalisation of queries and keys.
            us += ops.product_us("bf16", a.hidden, a.experts, tokens) + 2 * LAUNCH_US
        else:
            us += ops.product_us(weights, a.hidden, 2 * inner, tokens) + ops.product_us(weights, inner, a.hidden, tokens)
            us += ops.small_us("silu_and_mul", "bf16", inner, tokens)
        return us + 2 * ops.small_us("rms_norm", "bf16", a.hidden, tokens) + 2 * ops.all_reduce_us(self.gpus, tokens * a.hidden * 2)


_SEQUENCES = (1, 4, 16, 32, 64, 128, 256)
_LAYERS: dict[tuple, Layers] = {}


def layers(question: Question) -> Layers:
    """Returns the layers of a question, which all those about the same model on such GPUs share."""
    gpu, weights = question.gpu, _PRODUCTS[precision_class(question.weight_precision)]
    cache = "fp8" if question.kv_precision == "fp8" else "bf16"
    key = (question.architecture, gpu.family, gpu.bandwidth, gpu.link, *gpu.peaks.items(), question.tensor_parallel, weights, cache)
    if key not in _LAYERS:
        operations = Operations(gpu=gpu, measured=_measured())
        _LAYERS[key] = Layers(question.architecture, operations, question.tensor_parallel, weights, cache)
    return _LAYERS[key]


@cache
def _measured() -> GpuFigures:
    card = hardware.gpu(MEASURED_ON)
    assert card, f"{MEASURED_ON} is in the catalogue"
    return gpu_cards.gpu_of(card)


@cache
def host_overlaps(era: str) -> bool:
    """Whether the engine prepares a step while the GPU computes the one before: vLLM schedules asynchronously by default since 0.14."""
    version = re.search(r"-(\d+)\.(\d+)$", era)
    return bool(version) and (int(version[1]), int(version[2])) >= (0, 14)
