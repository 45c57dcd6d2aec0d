"""vLLM's facts: two sets, as the V100 needs an older release. docs/adr/0007-vllm-by-gpu-generation.md."""

from dataclasses import replace

from planner.engine_facts.traits import EngineTraits, MeasuredBatch, UnderLoad, Without

RELEASE = "0.17.1"
"""For compute capability 7.5 and higher: the last whose image has Ray (requirements/cuda.txt; 0.18.0 has it no more)."""
RELEASE_ON_VOLTA = "0.8.5.post1"
"""The last whose image has PyTorch for CUDA 12.4. From 0.9.0 on it is CUDA 12.8 (docker/Dockerfile), and PyTorch 2.7's wheels for that
have no code for compute capability 7.0 (pytorch/pytorch#147607, vllm-project/vllm#19185)."""

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
"""Where the older release has what the newer one has elsewhere."""


def cited(release: str, path: str) -> str:
    """A source in that release. `path`: in the newer one; after a comma, what of it."""
    file, comma, part = path.partition(",")
    there = _IN_THE_OLDER.get(file, file) if release == RELEASE_ON_VOLTA else file
    return f"vllm-project/vllm v{release} {there}{comma}{part}"


_MORE_AT_ONCE = MeasuredBatch(
    few=UnderLoad(at_once=32, requests_s=57.0, latency_p95_s=1.95),
    many=UnderLoad(at_once=100, requests_s=106.2, latency_p95_s=1.26),
    how="llama-3-8b in int8 with vllm 0.17.1 on one H200, 100 users, answers of 100 tokens, the mean of two servers each",
    source="bench/results/starts_nvidia_h200_vllm.json",
)

_WITHOUT = (
    Without(
        path=("shard", "config", "useHugePages"),
        value=False,
        because="vLLM allocates on the host by PyTorch, which takes no hugetlbfs pages; it has transparent ones by nodeTuning",
        source="vllm/envs.py",
    ),
    Without(
        path=("nodeTuning", "hugePages2Mi"),
        value=0,
        because="nothing takes these pages with this engine, and each node would set them aside all the same",
        source="vllm/envs.py",
    ),
    Without(
        path=("shard", "config", "memoryAllocator"),
        value="glibc",
        because="the image has no other allocator, and weights and cache are not taken from it",
        source="docker/Dockerfile",
    ),
    Without(
        path=("model", "kvCache", "enabled"),
        value=True,
        because="vLLM is built on its paged cache; without one each token would compute the whole text anew",
        source="vllm/config/cache.py, CacheConfig",
    ),
    Without(
        path=("model", "kvCache", "evictionPolicy"),
        value="lru",
        because="blocks that nothing uses are dropped when room is needed, the least recently used first; there is no other order",
        source="vllm/v1/core/block_pool.py",
    ),
    Without(
        path=("model", "kvCache", "preAllocate"),
        value=True,
        because="the whole cache is allocated at start; there is no other way",
        source="vllm/v1/worker/gpu_worker.py",
    ),
    Without(
        path=("model", "attention", "sparseAttention", "enabled"),
        value=False,
        because="a sliding window is the model's own, written in its config.json; to give another model one would change its answers",
        source="vllm/config/model.py, get_sliding_window",
    ),
    Without(
        path=("coordinator", "config", "dynamicBatching", "priorityBatching"),
        value=False,
        because="vLLM orders by a number that each request may carry, so any client could put itself before all others and interrupt "
        "their answers; requests are taken in their order, and no such number is honoured",
        source="vllm/v1/core/sched/scheduler.py",
    ),
    Without(
        path=("model", "compilation", "tensorrt", "enabled"),
        value=False,
        because="vLLM runs its own kernels, compiled by torch.compile; no compiled engine of TensorRT",
        source="docker/Dockerfile",
    ),
    Without(
        path=("model", "compilation", "onnxRuntime", "enabled"),
        value=False,
        because="vLLM runs its own kernels, with CUDA graphs by default; no ONNX Runtime",
        source="docker/Dockerfile",
    ),
    Without(
        path=("caching", "l3Cache", "enabled"),
        value=False,
        because="vLLM keeps no cache in Redis by itself; LMCache, which does, is not in the image (INSTALL_KV_CONNECTORS), and the "
        "stack's Redis takes Entra tokens only",
        source="docker/Dockerfile",
    ),
    Without(
        path=("profiling", "enabled"),
        value=False,
        because="vLLM reads no profiling file; its /metrics has histograms of each phase of a request",
        source="docs/usage/metrics.md",
    ),
)
"""What both releases are without; `source` is a path in the newer one."""

_ON_VOLTA_WITHOUT = (
    Without(
        path=("shard", "config", "memoryMapping"),
        value=True,
        because="this release maps safetensors files always",
        source=f"vllm-project/vllm v{RELEASE_ON_VOLTA} vllm/model_executor/model_loader/weight_utils.py",
    ),
    Without(
        path=("caching", "l1Cache", "enabled"),
        value=False,
        because="on a V100 vLLM cannot reuse the cache of prompts that begin alike: its Triton kernel for that crashes there",
        source="vllm-project/vllm#13738, vllm-project/vllm#8024",
    ),
)


_OWN_CODE = "its checkpoint brings its configuration and its tokenizer as code of its own, which vLLM runs with --trust-remote-code only"


def _traits(
    release: str,
    *more: Without,
    splits_prompts: bool,
    keeps_prompts_on_host: bool,
    latent_cache_precisions: frozenset[str],
    grouped_precisions: frozenset[str],
    expert_precisions: frozenset[str] | None = None,
    stages_divide_cache: bool = False,
) -> EngineTraits:
    return EngineTraits(
        whole_pipeline_in_a_pod=False,
        proxied=True,
        tensor_parallel=True,
        splits_prompts=splits_prompts,
        # vllm/v1/core/sched/scheduler.py, _preempt_request; vllm/core/scheduler.py of the older release.
        beyond_the_cache="more wait, and one that outgrows the cache is put back and computed anew later",
        keeps_prompts_on_host=keeps_prompts_on_host,
        release=release,
        flash_attention_2=True,
        int8_needs_tensor_cores=True,
        # docs/getting_started/installation/gpu.rocm.inc.md.
        rocm_image=f"docker.io/vllm/vllm-openai-rocm:v{RELEASE}",
        weights_file=None,
        own_weight_cache=False,
        weight_precisions=frozenset({"fp16", "bf16", "fp8", "int8", "int4"}),
        latent_cache_precisions=latent_cache_precisions,
        grouped_precisions=grouped_precisions,
        expert_precisions=expert_precisions,
        # The default of both on CUDA.
        block_tokens=16,
        stages_divide_cache=stages_divide_cache,
        not_served=(("kimi-k2", _OWN_CODE),),
        compressed_cache_needs_flash_attention=False,
        timeout_covers_answers=True,
        most_sequences=None,
        more_at_once=_MORE_AT_ONCE,
        performs_like="vllm",
        busy_measured=release == RELEASE,
        without=(*(replace(one, source=cited(release, one.source)) for one in _WITHOUT), *more),
    )


TRAITS = _traits(
    RELEASE,
    splits_prompts=True,
    keeps_prompts_on_host=True,
    # Its class for the layer that such models begin each attention with is not one that llm-compressor's "Linear" names: vllm#36247,
    # which is in later releases. FP8 is the format that these models are published in.
    latent_cache_precisions=frozenset({"fp16", "bf16", "fp8"}),
    grouped_precisions=frozenset({"int4"}),
)
ON_VOLTA = _traits(
    RELEASE_ON_VOLTA,
    *_ON_VOLTA_WITHOUT,
    splits_prompts=False,
    keeps_prompts_on_host=False,
    # It has kernels for them from compute capability 8.0 on only: vllm/platforms/cuda.py, get_attn_backend_cls.
    latent_cache_precisions=frozenset(),
    grouped_precisions=frozenset({"int8", "int4"}),
    # Its GPTQ has no kernels for experts: vllm/model_executor/layers/quantization/gptq.py, get_quant_method.
    expert_precisions=frozenset({"fp16"}),
    # raise_if_cache_size_invalid of vllm/worker/worker.py.
    stages_divide_cache=True,
)
