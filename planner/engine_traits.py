"""What the planner must know of an engine, as data by the name that the stack file's `engine` uses.

Not here: how an engine is told (`engines/`). llama.cpp's facts are of the version that engines/llama_cpp.py names.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from settings.explaining import Path

_LLAMA_CPP = "ggml-org/llama.cpp b11434"


@dataclass(frozen=True, kw_only=True)
class Without:
    """A setting that an engine cannot follow, and the one value of it that says what the engine does."""

    path: Path
    value: Any
    because: str
    """Why, and what to use instead; a clause without a capital or a full stop."""
    source: str


@dataclass(frozen=True, kw_only=True)
class EngineTraits:
    proxied: bool
    """It has no coordinator of its own: a proxy is one, which keeps no answers, speaks TLS and asks for API keys."""
    whole_pipeline_in_a_pod: bool
    """One process holds all layers, split over the GPUs of its pod; there are no stages in other pods."""
    flash_attention_2: bool
    """Flash attention is the FlashAttention-2 library, which needs compute capability 8.0."""
    int8_needs_tensor_cores: bool
    """Without INT8 tensor cores, INT8 weights are multiplied in FP16."""
    weight_precisions: frozenset[str]
    """Of `model.quantization.precision`."""
    compressed_cache_needs_flash_attention: bool
    timeout_covers_answers: bool
    """`shard.config.networkTimeout` is how long a pipeline may be silent, and so ends an answer that is not streamed."""
    most_sequences: int | None
    """That run at once in one pipeline; None where the engine has no bound of its own."""
    without: tuple[Without, ...] = ()


_LLAMA_CPP_IS_WITHOUT = (
    Without(
        path=("shard", "config", "useHugePages"),
        value=False,
        because="llama-server takes no hugetlbfs pages; what it allocates on the host has transparent ones by nodeTuning",
        source=f"{_LLAMA_CPP} src/llama-mmap.cpp",
    ),
    Without(
        path=("nodeTuning", "hugePages2Mi"),
        value=0,
        because="nothing takes these pages with this engine, and each node would set them aside all the same",
        source=f"{_LLAMA_CPP} src/llama-mmap.cpp",
    ),
    Without(
        path=("shard", "config", "memoryAllocator"),
        value="glibc",
        because="the image has no other allocator, and weights and cache are not taken from it",
        source=f"{_LLAMA_CPP} .devops/cuda.Dockerfile",
    ),
    Without(
        path=("model", "kvCache", "enabled"),
        value=True,
        because="llama-server always has a cache; without one each token would compute the whole text anew",
        source=f"{_LLAMA_CPP} src/llama-context.cpp",
    ),
    Without(
        path=("model", "kvCache", "evictionPolicy"),
        value="lru",
        because="a request takes the free slot whose text begins alike, else the one used least recently; there is no other order",
        source=f"{_LLAMA_CPP} tools/server/server-context.cpp, get_available_slot",
    ),
    Without(
        path=("model", "kvCache", "preAllocate"),
        value=True,
        because="the whole cache is allocated at start; there is no other way",
        source=f"{_LLAMA_CPP} src/llama-context.cpp",
    ),
    Without(
        path=("model", "attention", "sparseAttention", "enabled"),
        value=False,
        because="a sliding window is the model's own, written in its GGUF file; to give another model one would change its answers",
        source=f"{_LLAMA_CPP} src/llama-hparams.h, n_swa",
    ),
    Without(
        path=("model", "compilation", "tensorrt", "enabled"),
        value=False,
        because="llama.cpp runs its own CUDA kernels; no compiled engine of TensorRT",
        source=f"{_LLAMA_CPP} ggml/src/ggml-cuda",
    ),
    Without(
        path=("model", "compilation", "onnxRuntime", "enabled"),
        value=False,
        because="llama.cpp runs its own CUDA kernels, with CUDA graphs by default; no ONNX Runtime",
        source=f"{_LLAMA_CPP} ggml/src/ggml-cuda",
    ),
    Without(
        path=("caching", "l1Cache", "enabled"),
        value=False,
        because="the proxy in front of llama-server keeps no answers; prompts that begin alike reuse the KV cache of their slot",
        source="docs/adr/0006-envoy-is-the-coordinator.md",
    ),
    Without(
        path=("caching", "l2Cache", "enabled"),
        value=False,
        because="llama-server reads its one file from the weight storage; there is no second copy for a disk to hold",
        source=f"{_LLAMA_CPP} tools/server/README.md",
    ),
    Without(
        path=("caching", "l3Cache", "enabled"),
        value=False,
        because="neither the proxy nor llama-server speaks to Redis, which would be paid for and idle",
        source="docs/adr/0006-envoy-is-the-coordinator.md",
    ),
    Without(
        path=("profiling", "enabled"),
        value=False,
        because="llama-server reads no profiling file; its /metrics has tokens and seconds of prompts and answers",
        source=f"{_LLAMA_CPP} tools/server/server-task.cpp",
    ),
)

TRAITS: dict[str, EngineTraits] = {
    "zig_ai": EngineTraits(
        proxied=False,
        whole_pipeline_in_a_pod=False,
        flash_attention_2=True,
        int8_needs_tensor_cores=True,
        weight_precisions=frozenset({"fp16", "bf16", "fp8", "int8", "int4"}),
        compressed_cache_needs_flash_attention=False,
        timeout_covers_answers=False,
        most_sequences=None,
    ),
    "llama_cpp": EngineTraits(
        proxied=True,
        whole_pipeline_in_a_pod=True,
        # Kernels of its own, with variants for Volta and Turing: ggml/src/ggml-cuda/fattn.cu.
        flash_attention_2=False,
        # Eight-bit dot products (dp4a) from compute capability 6.1 on: ggml/src/ggml-cuda/mmq.cu, common.cuh.
        int8_needs_tensor_cores=False,
        # ggml/include/ggml.h has no 8-bit float for weights.
        weight_precisions=frozenset({"fp16", "bf16", "int8", "int4"}),
        # src/llama-context.cpp: a quantized V cache requires Flash Attention.
        compressed_cache_needs_flash_attention=True,
        timeout_covers_answers=True,
        # src/llama-cparams.h, LLAMA_MAX_SEQ.
        most_sequences=256,
        without=_LLAMA_CPP_IS_WITHOUT,
    ),
}


def differing(traits: EngineTraits, document: dict[str, Any]) -> Iterator[Without]:
    """What a stack asks of its engine that it is without; `document` as `settings.leaves.document` makes it."""
    for one in traits.without:
        value: Any = document
        for part in one.path:
            value = value[part]
        if value != one.value:
            yield one
