"""What the planner must know about vLLM: two sets, as the V100 needs an older release (docs/adr/0007-vllm-by-gpu-generation.md)."""

from dataclasses import replace

from planner.engine_facts.traits import EngineTraits, FixedSetting, MeasuredBatch, UnderLoad

RELEASE = "0.17.1"
"""The release for compute capability 7.5 and higher: the last whose image has Ray (requirements/cuda.txt; 0.18.0 no longer has it)."""
RELEASE_ON_VOLTA = "0.8.5.post1"
"""The last release whose image has PyTorch for CUDA 12.4. From 0.9.0 on it has CUDA 12.8 (docker/Dockerfile), for which PyTorch 2.7's
wheels have no code for compute capability 7.0 (pytorch/pytorch#147607, vllm-project/vllm#19185)."""

_IN_THE_OLDER = {
    "docs/configuration/optimization.md": "docs/source/performance/optimization.md",
    "docs/features/quantization": "docs/source/features/quantization",
    "docs/usage/metrics.md": "docs/source/serving/metrics.md",
    "vllm/config/cache.py": "vllm/config.py",
    "vllm/config/model.py": "vllm/config.py",
    "vllm/v1/core/block_pool.py": "vllm/core/evictor.py",
    "vllm/v1/core/sched/scheduler.py": "vllm/core/scheduler.py",
    "vllm/v1/executor/multiproc_executor.py": "vllm/executor/multiproc_worker_utils.py",
    "vllm/v1/worker/gpu_worker.py": "vllm/worker/cache_engine.py",
}
"""Paths of the newer release, with the older release's path for the same subject."""


def cited(release: str, path: str) -> str:
    """Returns a source in a release. `path` is its path in the newer one, and may name what to look for after a comma."""
    file, comma, part = path.partition(",")
    path_in_release = _IN_THE_OLDER.get(file, file) if release == RELEASE_ON_VOLTA else file
    return f"vllm-project/vllm v{release} {path_in_release}{comma}{part}"


_MORE_AT_ONCE = MeasuredBatch(
    few=UnderLoad(at_once=32, requests_s=57.0, latency_p95_s=1.95),
    many=UnderLoad(at_once=100, requests_s=106.2, latency_p95_s=1.26),
    how="llama-3-8b in int8 with vllm 0.17.1 on one H200, 100 users, answers of 100 tokens, the mean of two servers each",
    source="bench/results/starts_nvidia_h200_vllm.json",
)

_FIXED_SETTINGS = (
    FixedSetting(
        path=("shard", "config", "useHugePages"),
        value=False,
        because="vLLM allocates memory on the host with PyTorch, which does not use hugetlbfs pages; it gets transparent huge pages from "
        "nodeTuning",
        source="vllm/envs.py",
    ),
    FixedSetting(
        path=("nodeTuning", "hugePages2Mi"),
        value=0,
        because="nothing uses these pages with this engine, and each node would still set them aside",
        source="vllm/envs.py",
    ),
    FixedSetting(
        path=("shard", "config", "memoryAllocator"),
        value="glibc",
        because="the image has no other allocator, and weights and cache do not come from it",
        source="docker/Dockerfile",
    ),
    FixedSetting(
        path=("model", "kvCache", "enabled"),
        value=True,
        because="vLLM is built on its paged cache; without one it would compute the whole text again for each token",
        source="vllm/config/cache.py, CacheConfig",
    ),
    FixedSetting(
        path=("model", "kvCache", "evictionPolicy"),
        value="lru",
        because="unused blocks are dropped when room is needed, the least recently used first; no other order can be chosen",
        source="vllm/v1/core/block_pool.py",
    ),
    FixedSetting(
        path=("model", "kvCache", "preAllocate"),
        value=True,
        because="the whole cache is always allocated at start",
        source="vllm/v1/worker/gpu_worker.py",
    ),
    FixedSetting(
        path=("model", "attention", "sparseAttention", "enabled"),
        value=False,
        because="a sliding window belongs to the model and is written in its config.json; in another model it would change the answers",
        source="vllm/config/model.py, get_sliding_window",
    ),
    FixedSetting(
        path=("coordinator", "config", "dynamicBatching", "priorityBatching"),
        value=False,
        because="vLLM orders requests by a number that each of them may carry, so any client could put itself before all others and "
        "interrupt their answers; requests are served in the order of arrival, and that number is ignored",
        source="vllm/v1/core/sched/scheduler.py",
    ),
    FixedSetting(
        path=("model", "compilation", "tensorrt", "enabled"),
        value=False,
        because="vLLM runs its own kernels, compiled by torch.compile, and no engine compiled by TensorRT",
        source="docker/Dockerfile",
    ),
    FixedSetting(
        path=("model", "compilation", "onnxRuntime", "enabled"),
        value=False,
        because="vLLM runs its own kernels, with CUDA graphs by default, and no ONNX Runtime",
        source="docker/Dockerfile",
    ),
    FixedSetting(
        path=("caching", "l3Cache", "enabled"),
        value=False,
        because="vLLM itself keeps no cache in Redis; LMCache, which does, is not in the image (INSTALL_KV_CONNECTORS), and the stack's "
        "Redis accepts only Entra tokens. Except on a V100, caching.l1Cache keeps more prompts in the node's memory",
        source="docker/Dockerfile",
    ),
    FixedSetting(
        path=("profiling", "enabled"),
        value=False,
        because="vLLM reads no profiling file; its /metrics reports histograms of each phase of a request",
        source="docs/usage/metrics.md",
    ),
)
"""Settings that neither release can follow. Each `source` is a path in the newer one."""

_FIXED_ON_VOLTA = (
    FixedSetting(
        path=("shard", "config", "memoryMapping"),
        value=True,
        because="this release always maps safetensors files into memory",
        source=f"vllm-project/vllm v{RELEASE_ON_VOLTA} vllm/model_executor/model_loader/weight_utils.py",
    ),
    FixedSetting(
        path=("caching", "l1Cache", "enabled"),
        value=False,
        because="on a V100 vLLM cannot reuse the cache of prompts that begin in the same way: its Triton kernel for that crashes there",
        source="vllm-project/vllm#13738, vllm-project/vllm#8024",
    ),
)


_OWN_CODE = "its checkpoint brings its configuration and its tokenizer as code of its own, which vLLM runs only with --trust-remote-code"
_BRING_CODE = ("kimi-k2", "kimi-k2.5", "minimax-m2.5", "minimax-m2.7", "nemotron-3-nano-30b-a3b")
"""Models whose config.json or tokenizer has an auto_map."""


def _traits(
    release: str,
    *more: FixedSetting,
    splits_prompts: bool,
    keeps_prompts_on_host: bool,
    windows_save_cache: bool,
    four_bit_floats: frozenset[str],
    methods: tuple[tuple[str, float], ...],
    unknown: str,
    not_known: str,
    latent_cache_precisions: frozenset[str],
    grouped_precisions: frozenset[str],
    expert_precisions: frozenset[str] | None = None,
    stages_divide_cache: bool = False,
    before_turing: EngineTraits | None = None,
) -> EngineTraits:
    return EngineTraits(
        whole_pipeline_in_a_pod=False,
        proxied=True,
        tensor_parallel=True,
        splits_prompts=splits_prompts,
        # vllm/v1/core/sched/scheduler.py, _preempt_request; vllm/core/scheduler.py of the older release.
        beyond_the_cache="further ones wait, and a request that outgrows the cache goes back to the queue and is computed again later",
        keeps_prompts_on_host=keeps_prompts_on_host,
        # vllm/v1/core/kv_cache_utils.py, get_kv_cache_groups.
        windows_save_cache=windows_save_cache,
        release=release,
        before_turing=before_turing,
        flash_attention_2=True,
        int8_needs_tensor_cores=True,
        # docs/getting_started/installation/gpu.rocm.inc.md.
        rocm_image=f"docker.io/vllm/vllm-openai-rocm:v{RELEASE}",
        weights_file=None,
        own_weight_cache=False,
        weight_precisions=frozenset({"fp16", "bf16", "fp8", "int8", "int4"}) | four_bit_floats,
        methods=methods,
        latent_cache_precisions=latent_cache_precisions,
        grouped_precisions=grouped_precisions,
        expert_precisions=expert_precisions,
        # The default of both on CUDA.
        block_tokens=16,
        stages_divide_cache=stages_divide_cache,
        not_served=(*((name, _OWN_CODE) for name in _BRING_CODE), *((name, unknown) for name in not_known.split())),
        compressed_cache_needs_flash_attention=False,
        timeout_covers_answers=True,
        most_sequences=None,
        more_at_once=_MORE_AT_ONCE,
        performs_like="vllm",
        busy_measured=release == RELEASE,
        fixed_settings=(*(replace(setting, source=cited(release, setting.source)) for setting in _FIXED_SETTINGS), *more),
    )


_ON_VOLTA = _traits(
    RELEASE_ON_VOLTA,
    *_FIXED_ON_VOLTA,
    splits_prompts=False,
    keeps_prompts_on_host=False,
    windows_save_cache=False,
    four_bit_floats=frozenset(),
    unknown="the release of May 2025 is older than its architecture (vllm/model_executor/models/registry.py)",
    not_known="""
    deepseek-v3.2 devstral-small-2-24b gemma-4-26b-a4b glm-4.5-air glm-5 glm-5.1 gpt-oss-20b gpt-oss-120b
    qwen3.5-9b qwen3.5-27b qwen3.5-35b-a3b qwen3.5-122b-a10b qwen3.5-397b-a17b
    """,
    # docs/source/features/quantization/supported_hardware.md: the only one for Volta.
    methods=(("gptq", 6.0),),
    # It has kernels for them only from compute capability 8.0 on: vllm/platforms/cuda.py, get_attn_backend_cls.
    latent_cache_precisions=frozenset(),
    grouped_precisions=frozenset({"int8", "int4"}),
    # Its GPTQ has no kernels for experts: vllm/model_executor/layers/quantization/gptq.py, get_quant_method.
    expert_precisions=frozenset({"fp16"}),
    # raise_if_cache_size_invalid of vllm/worker/worker.py.
    stages_divide_cache=True,
)
TRAITS = _traits(
    RELEASE,
    before_turing=_ON_VOLTA,
    splits_prompts=True,
    keeps_prompts_on_host=True,
    windows_save_cache=True,
    # Marlin's kernels read both where the GPU has none of its own: vllm/model_executor/layers/quantization/mxfp4.py, modelopt.py.
    four_bit_floats=frozenset({"mxfp4", "nvfp4"}),
    unknown="Transformers 4.57, which is in its image, does not know the architecture of its config.json",
    not_known="devstral-small-2-24b gemma-4-26b-a4b glm-5 glm-5.1",
    # get_min_capability of each in vllm/model_executor/layers/quantization; AWQ and GPTQ with Marlin's kernels.
    methods=(
        ("compressed-tensors", 7.0),
        ("fp8", 7.5),
        ("awq", 7.5),
        ("gptq", 7.5),
        ("modelopt_fp4", 7.5),
        ("mxfp4", 8.0),
        ("modelopt", 8.9),
    ),
    # llm-compressor quantizes layers of the class "Linear", and this release has another class for the first layer of such models'
    # attention: vllm#36247, which later releases have. FP8 is the format in which these models are published.
    latent_cache_precisions=frozenset({"fp16", "bf16", "fp8"}),
    grouped_precisions=frozenset({"int4"}),
)
