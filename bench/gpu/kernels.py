"""The kernels that vLLM calls in a model's step, as functions of random inputs on this GPU."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

PAGE_TOKENS = 16
ROTATED_BYTES = 256 << 20
"""Weights of one graph, several times the 50 to 60 MB second-level cache of an H100 or H200."""
MOST_COPIES = 24
CACHE_BYTES_AT_MOST = 24 << 30

EIGHT_BITS = {"fp8": torch.float8_e4m3fn, "int8": torch.int8}
KERNELS_CHOSEN: set[str] = set()

Operation = Callable[[], object]
Layer = Callable[..., torch.Tensor]


def product(precision: str, rows: int, columns: int) -> Callable[[int], list[Operation]]:
    """Returns a function from tokens to the products of their activations with copies of one matrix, as vLLM computes them."""
    bits = {"bf16": 16, "fp8": 8, "int8": 8, "int4": 4}[precision]
    layer = {"bf16": layer_16_bit, "fp8": layer_8_bit, "int8": layer_8_bit, "int4": layer_4_bit}[precision]
    layers = [layer(precision, rows, columns) for _ in range(copies(rows * columns * bits // 8))]

    def of_tokens(tokens: int) -> list[Operation]:
        x = activations(tokens, rows)
        if precision in EIGHT_BITS:
            scales = torch.full((tokens, 1), 0.01, dtype=torch.float32, device="cuda")
            return [partial(multiply, x.to(EIGHT_BITS[precision]), scales) for multiply in layers]
        return [partial(multiply, x) for multiply in layers]

    return of_tokens


def layer_16_bit(_precision: str, rows: int, columns: int) -> Layer:
    weight = torch.randn(columns, rows, dtype=torch.bfloat16, device="cuda")
    return lambda x: torch.nn.functional.linear(x, weight)


def layer_8_bit(precision: str, rows: int, columns: int) -> Layer:
    """Returns the product with a matrix in 8 bits, a scale for each channel and token; quantising the activations is a row of its own."""
    from vllm import _custom_ops as ops

    weight = torch.randn(columns, rows, device="cuda").mul(8).to(EIGHT_BITS[precision]).t()
    scales = torch.full((columns, 1), 0.01, dtype=torch.float32, device="cuda")
    return lambda x, x_scales: ops.cutlass_scaled_mm(x, weight, x_scales, scales, torch.bfloat16)


def layer_4_bit(_precision: str, rows: int, columns: int) -> Layer:
    """Returns the product with a matrix in 4 bits, groups of 128, by the kernel that vLLM chooses for this GPU."""
    from vllm.model_executor.layers.quantization.compressed_tensors.schemes.compressed_tensors_wNa16 import CompressedTensorsWNA16

    scheme = CompressedTensorsWNA16(strategy="group", num_bits=4, group_size=128, symmetric=True)
    layer = torch.nn.Module()
    with torch.device("cuda"):
        scheme.create_weights(
            layer,
            output_size=columns,
            input_size=rows,
            output_partition_sizes=[columns],
            input_size_per_partition=rows,
            params_dtype=torch.bfloat16,
            weight_loader=lambda *_: None,
        )
        layer.weight_packed.data.random_(-(2**31), 2**31 - 1)
        layer.weight_scale.data.fill_(0.01)
        scheme.process_weights_after_loading(layer)
    KERNELS_CHOSEN.add(type(scheme.kernel).__name__)
    return lambda x: scheme.apply_weights(layer, x, None)


def activations(tokens: int, size: int) -> torch.Tensor:
    return torch.randn(tokens, size, dtype=torch.bfloat16, device="cuda")


def copies(bytes_each: int) -> int:
    """Returns how many copies of a weight exceed the second-level cache; at least two, and 24 at most."""
    return max(2, min(MOST_COPIES, -(-ROTATED_BYTES // bytes_each)))


def attention(query_tokens: int, sequences: int, context: int, heads: tuple[int, int, int], cache: str) -> list[Operation] | None:
    """Returns FlashAttention 3 over copies of a paged cache: each sequence asks with `query_tokens` tokens, the last of its context.

    None if two copies of the cache would not fit.
    """
    from vllm.vllm_flash_attn import flash_attn_interface as flash

    query_heads, kv_heads, size = heads
    kind = torch.float8_e4m3fn if cache == "fp8" else torch.bfloat16
    pages_each = -(-context // PAGE_TOKENS)
    bytes_each = 2 * sequences * pages_each * PAGE_TOKENS * kv_heads * size * kind.itemsize
    count = copies(bytes_each)
    if bytes_each * count > CACHE_BYTES_AT_MOST:
        return None
    device, splits = torch.device("cuda"), 32 if query_tokens == 1 else 0
    pages = torch.randperm(sequences * pages_each, device=device, dtype=torch.int32).view(sequences, pages_each)
    starts = torch.arange(0, (sequences + 1) * query_tokens, query_tokens, device=device, dtype=torch.int32)
    used = torch.full((sequences,), context, device=device, dtype=torch.int32)
    query = torch.randn(sequences * query_tokens, query_heads, size, dtype=torch.bfloat16, device=device).to(kind)
    output = torch.empty(sequences * query_tokens, query_heads, size, dtype=torch.bfloat16, device=device)
    ones = torch.ones(sequences, kv_heads, dtype=torch.float32, device=device) if cache == "fp8" else None
    shape = (sequences * pages_each, PAGE_TOKENS, kv_heads, size)
    metadata = flash.get_scheduler_metadata(
        batch_size=sequences,
        max_seqlen_q=query_tokens,
        max_seqlen_k=context,
        num_heads_q=query_heads,
        num_heads_kv=kv_heads,
        headdim=size,
        cache_seqlens=used,
        qkv_dtype=kind,
        cu_seqlens_q=starts,
        page_size=PAGE_TOKENS,
        causal=True,
        num_splits=splits,
    )

    def one(keys: torch.Tensor, values: torch.Tensor) -> object:
        return flash.flash_attn_varlen_func(
            q=query,
            k=keys,
            v=values,
            out=output,
            cu_seqlens_q=starts,
            max_seqlen_q=query_tokens,
            seqused_k=used,
            max_seqlen_k=context,
            softmax_scale=size**-0.5,
            causal=True,
            block_table=pages,
            scheduler_metadata=metadata,
            fa_version=3,
            q_descale=ones,
            k_descale=ones,
            v_descale=ones,
            num_splits=splits,
        )

    return [partial(one, _random(shape, kind), _random(shape, kind)) for _ in range(count)]


def _random(shape: tuple[int, ...], kind: torch.dtype) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.bfloat16, device="cuda").to(kind)


def experts_of_layer(count: int, hidden: int, inner: int, precision: str) -> Callable[..., torch.Tensor]:
    """Returns vLLM's kernel over one layer's experts of random weights, as a function of activations, weights of the choice, and choice."""
    from vllm.model_executor.layers.fused_moe import config, fused_moe

    device = torch.device("cuda")
    kind = torch.bfloat16 if precision == "bf16" else torch.float8_e4m3fn
    up, down = _random((count, 2 * inner, hidden), kind), _random((count, hidden, inner), kind)
    quantised = None
    if precision == "fp8":
        quantised = config.fp8_w8a8_moe_quant_config(
            w1_scale=torch.full((count, 2 * inner, 1), 0.01, dtype=torch.float32, device=device),
            w2_scale=torch.full((count, hidden, 1), 0.01, dtype=torch.float32, device=device),
            per_act_token_quant=True,
            per_out_ch_quant=True,
        )
    return lambda x, weights, ids: fused_moe.fused_experts(x, up, down, weights, ids, quant_config=quantised)


def quantised(x: torch.Tensor, precision: str) -> object:
    from vllm import _custom_ops as ops

    if precision == "fp8":
        return ops.scaled_fp8_quant(x, None, use_per_token_if_dynamic=True)
    return ops.scaled_int8_quant(x, None, None, symmetric=True)


def join_group(rank: int, world: int, address: str) -> None:
    """Makes this process one of `world` of an engine, which vLLM's layers ask for even where it is the only one."""
    from vllm.config import VllmConfig, set_current_vllm_config
    from vllm.distributed import parallel_state

    torch.cuda.set_device(rank)
    with set_current_vllm_config(VllmConfig()):
        parallel_state.init_distributed_environment(world, rank, address, rank, "nccl")
        parallel_state.initialize_model_parallel(world)
