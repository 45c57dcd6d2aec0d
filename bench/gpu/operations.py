"""Measures how long the operations of a model's step take on this GPU, with the kernels that vLLM itself calls.

    python3 bench/gpu/operations.py --out operations.csv [--quick]
    torchrun --nproc-per-node 2 bench/gpu/operations.py --out all_reduce.csv --all-reduce

Each row is one operation with its shape and its microseconds: products of a layer's matrices in 16, 8 and 4 bits over 1 to 8,192 tokens,
attention over a paged cache, experts, all-reduces, and the small kernels between them. An operation is recorded in a CUDA graph, as
engines run it, over copies of its weights that together exceed the GPU's second-level cache, and the median of the replays is kept.
A JSON file beside the rows says on what they were measured.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import sys
import time
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import torch

# In place of this script's own folder, whose vllm.py would hide the engine.
sys.path[0] = str(Path(__file__).parents[2])
from bench.gpu import kernels  # noqa: E402
from bench.gpu.kernels import Operation, activations  # noqa: E402

TOKENS = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096, 8192)
QUICK_TOKENS = (1, 32, 1024)

# Rows and columns of each matrix of a layer, and of the vocabulary, on one GPU: llama-3-8b, llama-3-70b over 1, 2, 4 and 8 GPUs, and
# qwen3-30b-a3b's attention (config.json of each model: hidden size, heads, feed-forward size, vocabulary).
PRODUCTS = (
    *((4096, 6144), (4096, 4096), (4096, 28672), (14336, 4096), (4096, 128256)),
    *((8192, 10240), (8192, 8192), (8192, 57344), (28672, 8192)),
    *((8192, 5120), (4096, 8192), (8192, 28672), (14336, 8192)),
    *((8192, 2560), (2048, 8192), (8192, 14336), (7168, 8192)),
    *((8192, 1280), (1024, 8192), (8192, 7168), (3584, 8192)),
    *((2048, 5120), (4096, 2048)),
)
# Experts of a layer, experts of a token, hidden size, feed-forward size of an expert: qwen3-30b-a3b over 1 and 2 GPUs, mixtral-8x7b.
EXPERTS = ((128, 8, 2048, 768), (128, 8, 2048, 384), (8, 2, 4096, 14336))
# Query heads, KV heads, head size on one GPU: llama-3-8b; llama-3-70b over 1, 2 (and qwen3-30b-a3b), 4 and 8 GPUs.
HEADS = ((32, 8, 128), (64, 8, 128), (32, 4, 128), (16, 2, 128), (8, 1, 128))
SEQUENCES = (1, 4, 16, 32, 64, 128, 256)
CONTEXTS = (128, 512, 1024, 4096, 16384, 32768)
PROMPTS = (32, 128, 512, 1024, 2048, 4096, 8192, 16384)
MESSAGES_KIB = (8, 16, 64, 256, 512, 1024, 2048, 4096, 8192, 16384, 65536, 131072)

REPLAYS = 15


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measured operation. Columns that an operation does not have are empty."""

    operation: str
    precision: str = ""
    tokens: int | None = None
    rows: int | None = None
    columns: int | None = None
    experts: int | None = None
    chosen: int | None = None
    heads: int | None = None
    kv_heads: int | None = None
    head_size: int | None = None
    sequences: int | None = None
    context_tokens: int | None = None
    bytes: int | None = None
    gpus: int = 1
    us: float = 0.0
    """Median microseconds of one operation."""
    spread: float = 0.0
    """Largest replay divided by the smallest."""


def timed_us(operations: list[Operation]) -> tuple[float, float]:
    """Returns the median microseconds of one operation and the spread of the replays of a CUDA graph of all of them."""
    torch.cuda.synchronize()  # the inputs are made on another stream
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for operation in operations[:2]:  # lazily compiled kernels and workspaces come before the recording
            operation()
            operation()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for operation in operations:
            operation()
    return replayed_us(graph, len(operations))


def replayed_us(graph: torch.cuda.CUDAGraph, operations: int) -> tuple[float, float]:
    for _ in range(2):
        graph.replay()
    times = []
    for _ in range(REPLAYS):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) * 1000 / operations)
    return statistics.median(times), max(times) / min(times)


def products(tokens_list: Iterable[int], precisions: Iterable[str]) -> Iterator[Row]:
    for rows, columns in PRODUCTS:
        for precision in precisions:
            if columns == 128256 and precision != "bf16":  # the vocabulary stays in 16 bits
                continue
            make = kernels.product(precision, rows, columns)
            for tokens in tokens_list:
                us, spread = timed_us(make(tokens))
                yield Row(operation="product", precision=precision, tokens=tokens, rows=rows, columns=columns, us=us, spread=spread)
            del make
            torch.cuda.empty_cache()


def attentions(quick: bool) -> Iterator[Row]:
    decode = [(1, sequences, context) for sequences in SEQUENCES for context in CONTEXTS]
    cases = decode + [(tokens, 1, tokens) for tokens in PROMPTS]
    for heads in HEADS[: 1 if quick else None]:
        for cache in ("bf16", "fp8"):
            for query_tokens, sequences, context in cases[:: 9 if quick else 1]:
                asked = kernels.attention(query_tokens, sequences, context, heads, cache)
                measured = timed_us(asked) if asked else None
                del asked
                torch.cuda.empty_cache()
                if measured:
                    us, spread = measured
                    names = dict(zip(("heads", "kv_heads", "head_size"), heads, strict=True))
                    yield Row(
                        operation="decode_attention" if query_tokens == 1 else "prompt_attention",
                        precision=cache,
                        tokens=query_tokens * sequences,
                        sequences=sequences,
                        context_tokens=context,
                        us=us,
                        spread=spread,
                        **names,
                    )


def experts(tokens_list: Iterable[int], quick: bool) -> Iterator[Row]:
    for count, chosen, hidden, inner in EXPERTS[: 1 if quick else None]:
        for precision in ("bf16", "fp8"):
            layers = [kernels.experts_of_layer(count, hidden, inner, precision) for _ in range(2)]
            for tokens in tokens_list:
                x = activations(tokens, hidden)
                weights, ids = torch.topk(torch.rand(tokens, count, device="cuda"), chosen, dim=-1)
                us, spread = timed_us([partial(layer, x, weights.contiguous(), ids.to(torch.int32)) for layer in layers])
                shape = {"tokens": tokens, "rows": hidden, "columns": inner, "experts": count, "chosen": chosen}
                yield Row(operation="experts", precision=precision, us=us, spread=spread, **shape)
            del layers
            torch.cuda.empty_cache()


def small_kernels(tokens_list: Iterable[int]) -> Iterator[Row]:
    """Yields the kernels between the products: the normalisation with its residual, alone and with quantising, the gate, quantising
    alone (one scale a token), and the choice of the likeliest word."""
    from vllm import _custom_ops as ops

    for size in (2048, 4096, 8192):
        scale = torch.ones(size, dtype=torch.bfloat16, device="cuda")
        for tokens in tokens_list:
            norm = partial(ops.fused_add_rms_norm, activations(tokens, size), activations(tokens, size), scale, 1e-5)
            us, spread = timed_us([norm] * 16)
            yield Row(operation="rms_norm", precision="bf16", tokens=tokens, columns=size, us=us, spread=spread)
            fused = partial(ops.rms_norm_dynamic_per_token_quant, activations(tokens, size), scale, 1e-5, torch.float8_e4m3fn)
            us, spread = timed_us([partial(fused, residual=activations(tokens, size))] * 16)
            yield Row(operation="rms_norm_quantise", precision="fp8", tokens=tokens, columns=size, us=us, spread=spread)
    for size in (7168, 14336, 28672):
        for tokens in tokens_list:
            gate = partial(torch.ops._C.silu_and_mul, activations(tokens, size), activations(tokens, 2 * size))
            us, spread = timed_us([gate] * 16)
            yield Row(operation="silu_and_mul", precision="bf16", tokens=tokens, columns=size, us=us, spread=spread)
    for size in (1024, 2048, 3584, 4096, 7168, 8192, 14336, 28672):
        for precision in kernels.EIGHT_BITS:
            for tokens in tokens_list:
                us, spread = timed_us([partial(kernels.quantised, activations(tokens, size), precision)] * 16)
                yield Row(operation="quantise", precision=precision, tokens=tokens, columns=size, us=us, spread=spread)
    for words in (32000, 128256, 151936):
        for sequences in SEQUENCES:
            likeliest = partial(torch.argmax, torch.randn(sequences, words, dtype=torch.float32, device="cuda"), dim=-1)
            us, spread = timed_us([likeliest] * 8)
            yield Row(operation="argmax", precision="fp32", tokens=sequences, columns=words, us=us, spread=spread)


def all_reduces() -> Iterator[Row]:
    """Yields all-reduces as vLLM does them: its own kernel for small messages, NCCL for large ones. Every rank yields the same shapes."""
    from vllm.distributed import parallel_state

    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    kernels.join_group(rank, world, "env://")
    group = parallel_state.get_tp_group()
    for kib in MESSAGES_KIB:
        message = torch.randn(kib << 9, dtype=torch.bfloat16, device="cuda").view(-1, 4096)
        group.all_reduce(message.clone())
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with parallel_state.graph_capture(device=torch.device("cuda", rank)) as context, torch.cuda.graph(graph, stream=context.stream):
            for _ in range(16):
                group.all_reduce(message)
        torch.cuda.synchronize()
        us, spread = replayed_us(graph, 16)
        yield Row(operation="all_reduce", precision="bf16", bytes=kib << 10, gpus=world, us=us, spread=spread)


def parts(options: argparse.Namespace) -> list[Iterator[Row]]:
    tokens = QUICK_TOKENS if options.quick else TOKENS
    if options.all_reduce:
        return [all_reduces()]
    kernels.join_group(0, 1, "tcp://127.0.0.1:29511")
    return [
        *(products(tokens, (precision,)) for precision in ("bf16", "fp8", "int8", "int4")),
        experts(tokens, options.quick),
        small_kernels(tokens),
        attentions(options.quick),
    ]


def described(seconds: float) -> dict[str, Any]:
    """Returns what the rows depend on: the GPU, the versions of the libraries, and the kernels that vLLM chose for 4 bits."""
    import vllm

    return {
        "day": time.strftime("%Y-%m-%d", time.gmtime()),
        "seconds": round(seconds),
        "gpu": torch.cuda.get_device_name(),
        "multiprocessors": torch.cuda.get_device_properties(0).multi_processor_count,
        "vllm": vllm.__version__,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "kernels_4_bits": sorted(kernels.KERNELS_CHOSEN),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path, help="the CSV file to write")
    parser.add_argument("--quick", action="store_true", help="few shapes, to see whether everything runs")
    parser.add_argument("--all-reduce", action="store_true", help="all-reduces only; started by torchrun, one process a GPU")
    options = parser.parse_args()
    started = time.monotonic()
    first = os.environ.get("RANK", "0") == "0"
    failed = 0
    with open(options.out if first else os.devnull, "w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)], lineterminator="\n")
        writer.writeheader()
        for part in parts(options):
            try:
                for row in part:
                    writer.writerow(asdict(row) | {"us": f"{row.us:.2f}", "spread": f"{row.spread:.3f}"})
                    file.flush()
            except Exception:  # the other operations are measured all the same
                failed += 1
                traceback.print_exc()
    if first:
        options.out.with_suffix(".json").write_text(json.dumps(described(time.monotonic() - started), indent=2) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
