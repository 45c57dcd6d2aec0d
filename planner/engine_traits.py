"""What the planner must know of an engine, as data by the name that the stack file's `engine` uses.

vLLM has two sets of facts, as the V100 needs an older release: docs/adr/0007-vllm-by-gpu-generation.md.
Not here: how an engine is told (`engines/`). llama.cpp's facts are of the version that engines/llama_cpp.py names.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from planner.catalogue import Gpu
from settings.explaining import Path

_LLAMA_CPP = "ggml-org/llama.cpp b11434"

VLLM = "0.17.1"
"""Release for compute capability 7.5 and higher: the last whose image has Ray (requirements/cuda.txt; 0.18.0 has it no more)."""
VLLM_ON_VOLTA = "0.8.5.post1"
"""The last whose image has PyTorch for CUDA 12.4. From 0.9.0 on it is CUDA 12.8 (docker/Dockerfile), and PyTorch 2.7's wheels for that
have no code for compute capability 7.0 (pytorch/pytorch#147607, vllm-project/vllm#19185)."""


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
    tensor_parallel: bool = False
    """The GPUs of a pod share each layer by its attention heads, so their number must divide those."""
    splits_prompts: bool = True
    """A prompt longer than a batch of tokens is read in several; without it a batch holds the longest prompt there may be."""
    keeps_prompts_on_host: bool = False
    """`caching.l1Cache.size` is of the host's memory, for what a pipeline's pods have computed of prompts."""
    release: str = ""
    """Of the engine, whose facts these are; empty where there is one for all GPUs."""
    flash_attention_2: bool
    """Flash attention is the FlashAttention-2 library, which needs compute capability 8.0."""
    int8_needs_tensor_cores: bool
    """Without INT8 tensor cores, INT8 weights are multiplied in FP16."""
    weights_file: str | None
    """Name of the one file that the weights are, in their folder; None when the engine reads the folder as it was published."""
    own_weight_cache: bool
    """It keeps its own copy of the weights on the disk of `caching.l2Cache`; without one, a node's copy is that level."""
    weight_precisions: frozenset[str]
    """Of `model.quantization.precision`."""
    compressed_cache_needs_flash_attention: bool
    timeout_covers_answers: bool
    """`shard.config.networkTimeout` is how long a pipeline may be silent, and so ends an answer that is not streamed."""
    most_sequences: int | None
    """That run at once in one pipeline; None where the engine has no bound of its own."""
    performs_like: str
    """Whose measurements stand for it: an engine of `planner.performance.asking.ENGINES`."""
    measured: bool = True
    """Whether those are of the engine itself."""
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


def _vllm_is_without(release: str, *more: Without) -> tuple[Without, ...]:
    """What both of vLLM's releases are without, with sources in that release."""

    def at(path: str, *before_v1: str) -> str:
        return f"vllm-project/vllm v{release} {before_v1[0] if before_v1 and release == VLLM_ON_VOLTA else path}"

    dockerfile, variables = at("docker/Dockerfile"), at("vllm/envs.py")
    return (
        Without(
            path=("shard", "config", "useHugePages"),
            value=False,
            because="vLLM allocates on the host by PyTorch, which takes no hugetlbfs pages; it has transparent ones by nodeTuning",
            source=variables,
        ),
        Without(
            path=("nodeTuning", "hugePages2Mi"),
            value=0,
            because="nothing takes these pages with this engine, and each node would set them aside all the same",
            source=variables,
        ),
        Without(
            path=("shard", "config", "memoryAllocator"),
            value="glibc",
            because="the image has no other allocator, and weights and cache are not taken from it",
            source=dockerfile,
        ),
        Without(
            path=("model", "kvCache", "enabled"),
            value=True,
            because="vLLM is built on its paged cache; without one each token would compute the whole text anew",
            source=at("vllm/config/cache.py", "vllm/config.py, CacheConfig"),
        ),
        Without(
            path=("model", "kvCache", "evictionPolicy"),
            value="lru",
            because="blocks that nothing uses are dropped when room is needed, the least recently used first; there is no other order",
            source=at("vllm/v1/core/block_pool.py", "vllm/core/evictor.py"),
        ),
        Without(
            path=("model", "kvCache", "preAllocate"),
            value=True,
            because="the whole cache is allocated at start; there is no other way",
            source=at("vllm/v1/worker/gpu_worker.py", "vllm/worker/cache_engine.py"),
        ),
        Without(
            path=("model", "attention", "sparseAttention", "enabled"),
            value=False,
            because="a sliding window is the model's own, written in its config.json; to give another model one would change its answers",
            source=at("vllm/config/model.py, get_sliding_window", "vllm/config.py, get_sliding_window"),
        ),
        Without(
            path=("model", "compilation", "tensorrt", "enabled"),
            value=False,
            because="vLLM runs its own kernels, compiled by torch.compile; no compiled engine of TensorRT",
            source=dockerfile,
        ),
        Without(
            path=("model", "compilation", "onnxRuntime", "enabled"),
            value=False,
            because="vLLM runs its own kernels, with CUDA graphs by default; no ONNX Runtime",
            source=dockerfile,
        ),
        Without(
            path=("caching", "l3Cache", "enabled"),
            value=False,
            because="vLLM keeps no cache in Redis by itself; LMCache, which does, is not in the image (INSTALL_KV_CONNECTORS), and the "
            "stack's Redis takes Entra tokens only",
            source=dockerfile,
        ),
        Without(
            path=("profiling", "enabled"),
            value=False,
            because="vLLM reads no profiling file; its /metrics has histograms of each phase of a request",
            source=at("docs/usage/metrics.md", "docs/source/serving/metrics.md"),
        ),
        *more,
    )


_VLLM_ON_VOLTA_IS_WITHOUT = (
    Without(
        path=("shard", "config", "memoryMapping"),
        value=True,
        because="this release maps safetensors files always",
        source=f"vllm-project/vllm v{VLLM_ON_VOLTA} vllm/model_executor/model_loader/weight_utils.py",
    ),
    Without(
        path=("caching", "l1Cache", "enabled"),
        value=False,
        because="on a V100 vLLM cannot reuse the cache of prompts that begin alike: its Triton kernel for that crashes there",
        source="vllm-project/vllm#13738, vllm-project/vllm#8024",
    ),
)


def _vllm(release: str, *more: Without, splits_prompts: bool) -> EngineTraits:
    return EngineTraits(
        whole_pipeline_in_a_pod=False,
        proxied=True,
        tensor_parallel=True,
        splits_prompts=splits_prompts,
        keeps_prompts_on_host=release == VLLM,
        release=release,
        flash_attention_2=True,
        int8_needs_tensor_cores=True,
        weights_file=None,
        own_weight_cache=False,
        weight_precisions=frozenset({"fp16", "bf16", "fp8", "int8", "int4"}),
        compressed_cache_needs_flash_attention=False,
        timeout_covers_answers=True,
        most_sequences=None,
        performs_like="vllm",
        without=_vllm_is_without(release, *more),
    )


TRAITS: dict[str, EngineTraits] = {
    "zig_ai": EngineTraits(
        proxied=False,
        whole_pipeline_in_a_pod=False,
        flash_attention_2=True,
        int8_needs_tensor_cores=True,
        weights_file=None,
        own_weight_cache=True,
        weight_precisions=frozenset({"fp16", "bf16", "fp8", "int8", "int4"}),
        compressed_cache_needs_flash_attention=False,
        timeout_covers_answers=False,
        most_sequences=None,
        # Nobody has published a measurement of it; vLLM's are the most there are of a server with paged KV cache and tensor parallelism.
        performs_like="vllm",
        measured=False,
    ),
    "llama_cpp": EngineTraits(
        proxied=True,
        whole_pipeline_in_a_pod=True,
        # Kernels of its own, with variants for Volta and Turing: ggml/src/ggml-cuda/fattn.cu.
        flash_attention_2=False,
        # Eight-bit dot products (dp4a) from compute capability 6.1 on: ggml/src/ggml-cuda/mmq.cu, common.cuh.
        int8_needs_tensor_cores=False,
        weights_file="model.gguf",
        own_weight_cache=False,
        # ggml/include/ggml.h has no 8-bit float for weights.
        weight_precisions=frozenset({"fp16", "bf16", "int8", "int4"}),
        # src/llama-context.cpp: a quantized V cache requires Flash Attention.
        compressed_cache_needs_flash_attention=True,
        timeout_covers_answers=True,
        # src/llama-cparams.h, LLAMA_MAX_SEQ.
        most_sequences=256,
        performs_like="llama.cpp",
        without=_LLAMA_CPP_IS_WITHOUT,
    ),
    "vllm": _vllm(VLLM, splits_prompts=True),
}
_BEFORE_TURING: dict[str, EngineTraits] = {"vllm": _vllm(VLLM_ON_VOLTA, *_VLLM_ON_VOLTA_IS_WITHOUT, splits_prompts=False)}


def traits(engine: str, gpu: Gpu) -> EngineTraits:
    """An engine's on one kind of GPU."""
    old = gpu.compute_capability is not None and float(gpu.compute_capability) < 7.5
    return _BEFORE_TURING.get(engine, TRAITS[engine]) if old else TRAITS[engine]


def differing(traits: EngineTraits, document: dict[str, Any]) -> Iterator[Without]:
    """What a stack asks of its engine that it is without; `document` as `settings.leaves.document` makes it."""
    for one in traits.without:
        value: Any = document
        for part in one.path:
            value = value[part]
        if value != one.value:
            yield one
