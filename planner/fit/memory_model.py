"""How weights, KV cache and the rest share one GPU's memory, and what fits. Pure functions; GiB are 2^30 bytes."""

from __future__ import annotations

from dataclasses import dataclass

from planner.catalogue.hardware import Gpu
from planner.catalogue.model_shapes import ModelShape, Published
from planner.catalogue.weight_bytes import COUNTED_AS, WEIGHT_BYTES

_GIB = 2**30

_RESIDUAL_COPIES = 6
_SAMPLER_BYTES = 16

DEFAULT_BATCH_SEQUENCES = 256
"""Sequences decoded at once unless a stack says otherwise: vLLM's default for `max_num_seqs` on an A100 and on GPUs below 70 GiB.

Source: vllm-project/vllm vllm/engine/arg_utils.py, get_batch_defaults (1024 sequences and 8192 tokens on an H100).
"""

RUNTIME_OVERHEAD_GIB = 0.27
"""Memory of the server's libraries outside PyTorch's, on one GPU: the mean for vLLM 0.19.0 on H100.

Source: llm-d-incubation/llm-d-planner docs/accuracy/vllm-v0.19.0-accuracy-report.md@2d557dca (2026-06-12), non-torch memory.
"""

TENSOR_PARALLEL_OVERHEAD_GIB = 2.10
"""The same on each of several GPUs, whose all-reduce needs buffers: 2.08 GiB for 2 GPUs, 2.17 GiB for 4. Same source."""

CUDA_CONTEXT_GIB = 0.30
"""Memory that an idle GPU loses once a program has opened it: 309 MiB on a V100.

Source: ollama/ollama#16533 (2026-06-05), 32192 of 32501 MiB free.
"""


def _expert_excess(shape: ModelShape) -> int:
    """Parameters by which a layer with experts exceeds a dense one. Each feed-forward has a gate, an up and a down projection."""
    return 3 * shape.hidden * (shape.expert_intermediate * (shape.experts + shape.shared_experts) - shape.intermediate)


def table_params(shape: ModelShape) -> int:
    """Returns the parameters of the token embedding and the output head, which are one table where they are tied."""
    return shape.vocab * shape.hidden * (1 if shape.tied_embeddings else 2)


def _layer_params(shape: ModelShape, first_layer: int, last_layer: int) -> float:
    """Parameters of these layers: the model's total without embedding and head, divided evenly among layers of one kind."""
    tables = table_params(shape)
    layers = last_layer - first_layer + 1
    if not shape.dense_layers:
        return (shape.params_b * 1e9 - tables) * layers / shape.layers
    excess = _expert_excess(shape)
    dense = (shape.params_b * 1e9 - tables - excess * (shape.layers - shape.dense_layers)) / shape.layers
    with_experts = max(0, last_layer + 1 - max(first_layer, shape.dense_layers))
    return dense * layers + excess * with_experts


def _table_params(shape: ModelShape, first_layer: int, last_layer: int) -> int:
    """Parameters of the embedding and the head that a stage with these layers holds."""
    first, last = first_layer == 0, last_layer == shape.layers - 1
    copies = 1 if first and last and shape.tied_embeddings else first + last
    return copies * shape.vocab * shape.hidden


def weights_gib(shape: ModelShape, first_layer: int, last_layer: int, precision: str) -> float:
    """Returns the GiB of one pipeline stage's weights. Layers count from 0, and `last_layer` is included.

    The first stage also holds the token embedding and the last one the output head, both in at least 16 bits, as int8 and fp8
    checkpoints have them (huggingface.co/neuralmagic/starcoder2-7b-quantized.w8a8 recipe.yaml: only linear layers,
    without lm_head). A tied head is a second copy where first and last stage differ. Norms are counted with their layers.
    """
    layers = _layer_params(shape, first_layer, last_layer) * _bytes_per_weight(shape, precision)
    tables = _table_params(shape, first_layer, last_layer) * max(WEIGHT_BYTES[precision].planned, WEIGHT_BYTES["fp16"].planned)
    return (layers + tables) / _GIB


def published_in(shape: ModelShape, precision: str) -> Published | None:
    """Returns how the published checkpoint stores the weights, if that is in this precision; otherwise None."""
    stated = shape.published
    return stated if stated is not None and COUNTED_AS.get(stated.precision, stated.precision) == precision else None


def _bytes_per_weight(shape: ModelShape, precision: str) -> float:
    """The mean over the layers' weights, of which a published checkpoint keeps some in 16 bits."""
    stated = published_in(shape, precision)
    if stated is None:
        return WEIGHT_BYTES[precision].planned
    in_layers = shape.params_b - table_params(shape) / 1e9
    return 2 - (2 - stated.bytes_per_weight) * min(1.0, stated.quantized_b / in_layers)


def weights_read_gb(shape: ModelShape, precision: str) -> float:
    """Returns the weights that one token uses, in GB (10^9 bytes): all of them except the experts that it does not choose."""
    whole = weights_gib(shape, 0, shape.layers - 1, precision) * _GIB / 1e9
    stated = published_in(shape, precision)
    # Where a checkpoint keeps some weights in 16 bits, it quantises the experts first.
    size = stated.bytes_per_weight if stated else WEIGHT_BYTES[precision].planned
    return whole - (shape.params_b - shape.active_params_b) * size


def kv_bytes_per_token(shape: ModelShape, layers: int, kv_precision: str, *, windows: bool = False) -> float:
    """Returns the bytes that one token leaves in the KV cache of this many layers.

    gqa: layers x 2 x kv_heads x head_dim values. mla: layers x (kv_lora_rank + qk_rope_head_dim) values, one latent vector for
    all heads (DeepSeek-V2, arXiv:2405.04434, section 2.1). Layers that keep a state instead leave nothing of a token. With `windows`, nor
    do those that look at a window of the text: `kv_bytes_per_request` has theirs. Without, they hold the whole text too.
    """
    size = WEIGHT_BYTES[kv_precision].planned
    full = shape.layers - shape.windowed_layers - shape.state_layers
    windowed = 0 if windows else shape.windowed_layers * (shape.windowed_values or _token_values(shape))
    return (full * (_token_values(shape) * size + shape.index_bytes) + windowed * size) * layers / shape.layers


def kv_bytes_per_request(shape: ModelShape, layers: int, kv_precision: str, *, windows: bool = False) -> float:
    """Returns the bytes that a request takes at most in this many layers, however long it is: the state of layers that keep one and, with
    `windows`, whole windows."""
    window = shape.windowed_layers * (shape.windowed_values or _token_values(shape)) * shape.window if windows else 0
    return (window * WEIGHT_BYTES[kv_precision].planned + shape.state_bytes) * layers / shape.layers


def _token_values(shape: ModelShape) -> int:
    return shape.kv_lora_rank + shape.qk_rope_head_dim if shape.kv == "mla" else shape.token_values or 2 * shape.kv_heads * shape.head_dim


def _tokens(shape: ModelShape, layers: int, kv_precision: str, kv_bytes: float, *, sequences: int, windows: bool) -> int:
    """The tokens that this much cache holds beside what the requests take that run at once.

    Short requests do not fill their windows, so it is at least what the cache holds if each layer holds the whole text.
    """
    ways = (False, True) if windows and shape.windowed_layers else (False,)
    held = (
        (kv_bytes - sequences * kv_bytes_per_request(shape, layers, kv_precision, windows=way))
        / kv_bytes_per_token(shape, layers, kv_precision, windows=way)
        for way in ways
    )
    return max(0, int(max(held)))


def activations_gib(
    shape: ModelShape, batch_tokens: int, *, batch_sequences: int = DEFAULT_BATCH_SEQUENCES, samples: bool = True, gpus: int = 1
) -> float:
    """Returns the greatest working memory of one forward pass in GiB on each GPU: the larger of its two peaks.

    Layer: 2 bytes x batch_tokens x (6 x hidden + widest). `widest` is the feed-forward's gate, up and their product, or the same
    for each expert that a token uses with its output, or the queries, keys, values and output of attention; tensor parallelism
    divides it. Sampler, only on the last stage (`samples`): 16 bytes x sequences x vocab, four 32-bit copies of the logits.
    The 6 and the 16 are fitted to vLLM 0.19.0 on H100 (8192 tokens, 1024 sequences) and within 20 % of it: Llama-3.1-8B 1.96
    against 1.89 GiB measured, its first of four stages 1.03 against 1.05, Qwen3-8B 2.32 against 2.21, CodeLlama-7B .88 against
    .77, Qwen3-30B-A3B 2.32 against 2.68. Source: as `RUNTIME_OVERHEAD_GIB`.
    """
    dense = 3 * shape.intermediate / gpus
    routed = shape.experts_per_token * (3 * shape.expert_intermediate / gpus + shape.hidden)
    attention = 2 * (shape.heads + shape.kv_heads) * shape.head_dim / gpus
    widest = max(routed, attention, dense if shape.dense_layers or not shape.experts else 0)
    layer = 2 * batch_tokens * (_RESIDUAL_COPIES * shape.hidden + widest)
    sampler = _SAMPLER_BYTES * min(batch_sequences, batch_tokens) * shape.vocab if samples else 0
    return max(layer, sampler) / _GIB


def runtime_overhead_gib(gpus: int) -> float:
    """Returns the GiB of the server's libraries on each GPU of a shard."""
    return RUNTIME_OVERHEAD_GIB if gpus == 1 else TENSOR_PARALLEL_OVERHEAD_GIB


@dataclass(frozen=True, kw_only=True)
class GpuMemory:
    """One GPU's memory: the five parts sum to the total."""

    total_gib: float
    weights_gib: float
    kv_gib: float
    activations_gib: float
    """The activations, with the compiler's workspace."""
    reserve_gib: float
    """The memory outside the share that the server may use, and what its libraries take."""
    free_gib: float
    """The unused memory inside that share; below 0 when weights and activations alone do not fit."""


@dataclass(frozen=True, kw_only=True)
class MemoryFit:
    """How one pipeline stage fills its GPUs. The KV figures are for the whole stage, `memory` and `short_gib` for each GPU."""

    memory: GpuMemory
    kv_room_gib: float
    """The greatest KV cache that fits; below 0 when weights and activations alone do not."""
    short_gib: float
    """The memory that is missing for weights and activations; 0 when they fit."""
    tokens: int
    """The tokens that the granted KV cache holds."""

    def concurrency(self, context: int) -> int:
        """Returns how many sequences of `context` tokens the granted KV cache holds at once."""
        return self.tokens // context


def fit(
    gpu: Gpu,
    shape: ModelShape,
    *,
    first_layer: int,
    last_layer: int,
    weight_precision: str,
    kv_precision: str,
    memory_fraction: float,
    workspace_gib: float,
    batch_tokens: int,
    kv_asked_gib: float,
    gpus: int = 1,
    batch_sequences: int = DEFAULT_BATCH_SEQUENCES,
    windows: bool = False,
) -> MemoryFit:
    """Returns how much of a stage's KV cache fits beside its weights on `gpus` GPUs with tensor parallelism.

    Tensor parallelism divides the weights, and the cache by KV heads: GPUs beyond their number hold copies, as do all GPUs with mla.
    `memory_fraction` is a share of all memory (as vLLM counts it). The CUDA context lies outside it, so at least that much is kept free.
    `windows`: whether layers with a window keep no more of a request than that.
    """
    weights = weights_gib(shape, first_layer, last_layer, weight_precision) / gpus
    samples = last_layer == shape.layers - 1
    work = activations_gib(shape, batch_tokens, batch_sequences=batch_sequences, samples=samples, gpus=gpus) + workspace_gib
    reserve = max((1 - memory_fraction) * gpu.memory_gib, CUDA_CONTEXT_GIB) + runtime_overhead_gib(gpus)
    room = gpu.memory_gib - reserve - weights - work
    parts = 1 if shape.kv == "mla" else min(gpus, shape.kv_heads)
    kv = max(0.0, min(kv_asked_gib / parts, room))
    return MemoryFit(
        memory=GpuMemory(
            total_gib=gpu.memory_gib,
            weights_gib=weights,
            kv_gib=kv,
            activations_gib=work,
            reserve_gib=reserve,
            free_gib=room - kv,
        ),
        kv_room_gib=room * parts,
        short_gib=max(0.0, -room),
        tokens=_tokens(shape, last_layer - first_layer + 1, kv_precision, kv * parts * _GIB, sequences=batch_sequences, windows=windows),
    )
