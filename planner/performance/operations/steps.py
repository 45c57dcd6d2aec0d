"""The seconds of one step of vLLM, as the sum of the operations that it runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from planner.catalogue import hardware
from planner.performance import gpu_cards
from planner.performance.operations.table import Operations
from planner.performance.questions import Architecture, Question, precision_class

MEASURED_ON = "H200-141GB-SXM"
GRAPH_TOKENS = 512
"""The most tokens of a step for which vLLM 0.20.2 replays CUDA graphs (its default for `cudagraph_capture_sizes`)."""
_PRODUCTS_OF = {"16": "bf16", "fp8": "fp8", "q8": "int8", "q4": "int4"}
# Two further small kernels in each layer with experts: the router's choice, and the normalisation of queries and keys.
_SMALL_US = 2.4


@dataclass(frozen=True, kw_only=True)
class Host:
    """What the host needs to start the kernels of a step in which a prompt is read; other steps are one CUDA graph."""

    graph_layer_us: float
    """Microseconds a layer where the pieces between the attentions are graphs."""
    layer_us: float
    """Microseconds a layer where every kernel is started on its own."""


@dataclass(frozen=True)
class Steps:
    """The steps of one question's model on its GPUs."""

    architecture: Architecture
    operations: Operations
    tp: int
    weights: str
    """The precision of the products: bf16, fp8, int8 or int4."""
    cache: str
    """The precision of the cache: bf16 or fp8."""
    host: Host

    @cached_property
    def _head(self) -> float:
        return self.architecture.hidden

    def linear_us(self, tokens: float) -> float:
        """Returns the microseconds of everything in a layer but the attention."""
        a, ops, tp = self.architecture, self.operations, self.tp
        queries = a.heads * a.head_dim / tp
        keys = 2 * max(a.kv_heads / tp, 1) * a.head_dim
        attention = "bf16" if a.experts > 1 and self.weights == "int4" else self.weights
        us = ops.product_us(attention, a.hidden, queries + keys, tokens) + ops.product_us(attention, queries, a.hidden, tokens)
        if a.experts > 1:
            us += ops.experts_us("fp8" if self.weights == "fp8" else "bf16", (a.experts, a.experts_per_token, a.hidden, a.intermediate / tp), tokens)
            us += ops.product_us("bf16", a.hidden, a.experts, tokens) + 2 * _SMALL_US
        else:
            inner = a.intermediate / tp
            us += ops.product_us(self.weights, a.hidden, 2 * inner, tokens) + ops.product_us(self.weights, inner, a.hidden, tokens)
            us += ops.small_us("silu_and_mul", "bf16", inner, tokens)
        us += 2 * ops.small_us("rms_norm", "bf16", a.hidden, tokens)
        return us + 2 * ops.all_reduce_us(tp, tokens * a.hidden * 2)

    def head_us(self, sequences: float) -> float:
        """Returns the microseconds of the logits of `sequences` sequences and of the choice among them."""
        a = self.architecture
        return self.operations.product_us("bf16", a.hidden, a.vocab / self.tp, sequences) + self.operations.small_us(
            "argmax", "fp32", a.vocab, sequences
        )

    def decode_us(self, sequences: float, context: float) -> float:
        a = self.architecture
        attention = self._attention(sequences, context)
        return a.layers * (self.linear_us(sequences) + attention) + self.head_us(sequences)

    def _attention(self, sequences: float, context: float) -> float:
        a = self.architecture
        heads, kv = max(a.heads / self.tp, 1), max(a.kv_heads / self.tp, 1)

        def one(position: float) -> float:
            return self.operations.decode_attention_us(self.cache, heads, kv, sequences, max(position, 1.0)) * a.head_dim / 128

        if a.full_attention == 1:
            return one(context)
        return a.full_attention * one(context) + (1 - a.full_attention) * (one(min(context, a.window)) if a.window else 5.0)

    def mixed_us(self, sequences: float, context: float, prompt_tokens: float, length: float) -> float:
        """Returns the microseconds of a step in which `sequences` sequences get a token and `prompt_tokens` tokens of prompts are read."""
        a = self.architecture
        tokens = sequences + prompt_tokens
        linear = self.linear_us(tokens)
        attention = self._attention(sequences, context) if sequences >= 1 else 0.0
        prompts = max(prompt_tokens / length, 1.0)
        attention += prompts * self.operations.prompt_attention_us(self.cache, a.heads / self.tp, min(length, prompt_tokens), length)* a.head_dim / 128
        layer = max(linear + attention, self.host.graph_layer_us if tokens <= GRAPH_TOKENS else self.host.layer_us)
        return a.layers * layer + self.head_us(sequences + prompts)


def steps(question: Question) -> Steps:
    card = hardware.gpu(MEASURED_ON)
    measured = gpu_cards.gpu_of(card)
    precision = _PRODUCTS_OF.get(precision_class(question.weight_precision), "int4")
    host = Host(graph_layer_us=230, layer_us=600)
    return Steps(
        question.architecture,
        Operations(gpu=question.gpu, measured=measured),
        question.tensor_parallel,
        precision,
        "fp8" if question.kv_precision == "fp8" else "bf16",
        host,
    )


def poisson(mean: float) -> list[tuple[int, float]]:
    """Returns (count, probability) of the counts that matter."""
    found, term, k, total = [], math.exp(-mean), 0, 0.0
    while total < 0.999 and k < 200:
        found.append((k, term))
        total += term
        k += 1
        term *= mean / k
    return [(k, p / total) for k, p in found]
