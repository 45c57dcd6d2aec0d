"""The settings that vLLM has no flag for, with the reason and what to use instead."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from engines.flags import without_flag
from engines.pods import ANY_PIPELINE, switches, thread_pinning
from engines.vllm.command_line import attention_backend, release
from planner.engine_facts import traits
from planner.engine_facts.vllm import RELEASE, RELEASE_ON_VOLTA, cited
from planner.fit.plan import Plan
from settings import StackSettings
from settings.account import Effect

_NCCL = "GPUs send one another tensors by NCCL, as they are in memory: nothing is serialised or compressed"
_NCCL_SOURCE = "vllm/distributed/device_communicators/pynccl.py"
_STAGES_SOURCE = "vllm/distributed/utils.py"

_WITHOUT_FLAG: tuple[tuple[str, str, str], ...] = (
    ("shard.config.serializationFormat", _NCCL, _NCCL_SOURCE),
    ("shard.config.compressionEnabled", _NCCL, _NCCL_SOURCE),
    ("shard.config.compressionAlgorithm", _NCCL, _NCCL_SOURCE),
    (
        "shard.config.ioThreads",
        "one event loop serves HTTP, and processes of their own compute",
        "vllm/entrypoints/openai/api_server.py",
    ),
    (
        "model.quantization.dynamic",
        "whether the scales of activations are chosen at run time is written in the checkpoint, by whoever quantised it",
        "docs/features/quantization",
    ),
    (
        "model.quantization.calibrationDataset",
        "read when the checkpoint is quantised, not when it is served: llm-compressor's oneshot(dataset=...)",
        "docs/features/quantization",
    ),
    ("sharding.overlapLayers", "each layer is in one stage", _STAGES_SOURCE),
    (
        "sharding.loadBalancing",
        "nothing is balanced within a pipeline; between pipelines coordinator.config.loadBalancingStrategy decides",
        _STAGES_SOURCE,
    ),
    (
        "coordinator.config.dynamicBatching.batchTimeout",
        "nothing waits for company: a request joins the batch at its next token",
        "docs/configuration/optimization.md",
    ),
)
"""Settings without a flag: key, why, and the file of vLLM that shows it."""


def effects(settings: StackSettings, plan: Plan, given: Mapping[str, str]) -> Iterator[Effect]:
    """What becomes of the settings that nothing is rendered of; `given` is the stack's settings by their keys.

    Those of which vLLM can follow one value only are in `planner/engine_facts/vllm.py`: the planner sets that value, and here it is in
    force.
    """
    runs = release(plan)
    yield from (without_flag(key, given[key], because, cited(runs, path)) for key, because, path in _WITHOUT_FLAG if key in given)
    for key in given:
        if key.startswith("sharding.affinityRules"):
            yield without_flag(key, given[key], ANY_PIPELINE, cited(runs, _STAGES_SOURCE))
    yield from switches(traits(settings.engine, plan.gpu).fixed_settings, given)
    yield from _threads(settings)
    if runs != RELEASE_ON_VOLTA:
        yield from _attention(settings, plan)
        yield from _l1_cache(settings)


def _threads(settings: StackSettings) -> Iterator[Effect]:
    yield thread_pinning(settings, "vLLM pins no threads on GPU nodes, and which CPUs a pod gets is not known before it runs")
    scheduler = settings.shard.config.thread_scheduler
    yield without_flag("shard.config.threadScheduler", scheduler, "vLLM leaves the scheduler's class as it is", "man 7 sched", "other")


def _attention(settings: StackSettings, plan: Plan) -> Iterator[Effect]:
    """The choice of kernels that is left to vLLM."""
    if attention_backend(settings, plan):
        return
    because = (
        "vLLM takes the best kernels that it has for the GPU, the model and the type of the cache: FlashAttention where it can; for an "
        "8-bit cache before compute capability 9 FlashInfer's, which work by the same method; others for models with latent vectors"
    )
    asked, source = settings.model.attention, cited(RELEASE, "docs/design/attention_backends.md")
    for name, value in (("flashAttention", asked.flash_attention), ("fusedAttention", asked.fused_attention)):
        yield without_flag(f"model.attention.{name}", str(value).lower(), because, source, "true")


def _l1_cache(settings: StackSettings) -> Iterator[Effect]:
    cache = settings.caching.l1_cache
    if cache.enabled:
        age = "nothing is dropped for its age, but when room is needed: the least recently used first"
        yield without_flag("caching.l1Cache.ttl", str(cache.ttl), age, cited(RELEASE, "vllm/v1/kv_offload/lru_manager.py"))
    else:
        yield without_flag("caching.l1Cache.enabled", "false", "nothing is kept on the host", cited(RELEASE, "vllm/config/cache.py"))
