"""Threads, heaps and caches inside a shard, compared with the CPUs and the memory that its pod has."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import TypeAdapter, ValidationError

from planner.fit import memory_model, placement, stack_memory
from planner.fit.plan import Finding
from planner.rules.node import pins
from planner.rules.rule import RuleContext, Rules
from settings import StackSettings
from settings.quantities import ByteSize
from settings.wording import count

RULES = Rules()


def cpus_of(settings: StackSettings) -> int | None:
    """Whole CPUs that one shard may use; None when nothing bounds it."""
    resources = settings.shard.resources
    bound = resources.limits.cpu or resources.requests.cpu
    return max(1, int(bound.cores)) if bound else None


@RULES.rule
def server_threads(context: RuleContext) -> Iterator[Finding]:
    """The server may have no more threads than CPUs; pinned workers leave some of those to I/O."""
    cpus, config = cpus_of(context.settings), context.settings.shard.config
    if cpus is None:
        return
    # Pinned workers own their CPUs, so the threads that wait for the network need some of the pod's for themselves.
    io_threads = min(config.io_threads, max(1, cpus // 4)) if pins(context.settings) else min(config.io_threads, cpus)
    workers = min(config.worker_threads, max(1, cpus - io_threads)) if pins(context.settings) else min(config.worker_threads, cpus)
    for key, asked, fitting in (("workerThreads", config.worker_threads, workers), ("ioThreads", config.io_threads, io_threads)):
        if fitting != asked:
            yield Finding(
                code="THREAD-001",
                outcome="adjusted",
                path=("shard", "config", key),
                value=fitting,
                because=_oversubscribed(context, asked, cpus),
                source="shard.resources of the same stack",
            )


def _oversubscribed(context: RuleContext, threads: int, cpus: int) -> str:
    settings, size = context.settings, context.size
    per_node = max(1, placement.pods_per_node(placement.shard_pod(settings, 0), placement.node_room(settings, size))[0])
    on_node = f"{count(per_node, 'shard')} on a {size.name} would run {per_node * threads} such threads on its {size.vcpus} CPUs"
    return f"a shard has {count(cpus, 'CPU')}; {on_node}"


@RULES.rule
def library_threads(context: RuleContext) -> Iterator[Finding]:
    """A library's thread pool may have no more threads than the shard has CPUs."""
    cpus = cpus_of(context.settings)
    if cpus is None:
        return
    for variable in context.settings.shard.env:
        workers = variable.name.endswith("_NUM_THREADS")
        most = min(cpus, context.settings.shard.config.worker_threads) if workers else cpus
        if (workers or variable.name == "GC_THREADS") and (variable.value or "").isdecimal() and int(variable.value or 0) > most:
            yield Finding(
                code="THREAD-002",
                outcome="adjusted",
                path=("shard", "env", variable.name),
                value=str(most),
                because=_oversubscribed(context, int(variable.value or 0), cpus),
                source="OpenBLAS and oneMKL user guides: more threads than CPUs slow a library down",
            )


@RULES.rule
def scheduler(context: RuleContext) -> Iterator[Finding]:
    """A real-time scheduling policy needs a capability that restricted pods do not have."""
    asked = context.settings.shard.config.thread_scheduler
    instead = "pinned threads have their CPUs to themselves anyway" if pins(context.settings) else "pinning gives a thread its own CPU"
    if asked != "other":
        yield Finding(
            code="THREAD-003",
            outcome="not supported",
            path=("shard", "config", "threadScheduler"),
            value="other",
            because=f"the kernel grants SCHED_{asked.upper()} only to a process with CAP_SYS_NICE, and the namespace's restricted Pod "
            f"Security level drops all capabilities; {instead}",
            source="man 7 sched; kubernetes.io/docs/concepts/security/pod-security-standards",
        )


@RULES.rule
def heaps(context: RuleContext) -> Iterator[Finding]:
    """A heap must be smaller than the shard's memory."""
    limit = context.settings.shard.resources.limits.memory
    if limit is None:
        return
    for variable in context.settings.shard.env:
        size = _size(variable.value) if variable.name.endswith("_HEAP_SIZE") else None
        if size is not None and size.bytes >= limit.bytes:
            yield Finding(
                code="THREAD-004",
                outcome="adjusted",
                path=("shard", "env", variable.name),
                value=f"{limit.bytes * 3 // 4 // 2**20}Mi",
                because=f"a shard may use {limit} in all, so the kernel would kill it before a heap of that size is full; three quarters "
                "leave room for what is not in the heap",
                source="shard.resources.limits.memory of the same stack",
            )


@RULES.rule
def host_cache(context: RuleContext) -> Iterator[Finding]:
    """The cache on the host may take no more than half of the shards' memory."""
    cache, limit = context.settings.caching.l1_cache, context.settings.shard.resources.limits.memory
    if not context.traits.keeps_prompts_on_host or not cache.enabled or limit is None:
        return
    pods = context.settings.sharding.shards_count
    if cache.size.bytes > pods * limit.bytes / 2:
        yield Finding(
            code="ENGINE-007",
            outcome="adjusted",
            path=("caching", "l1Cache", "size"),
            value=f"{int(pods * limit.bytes / 2) // 2**20}Mi",
            because=f"the cache is allocated at start from the shards' memory, of which a pipeline has {pods * limit.gib:g} GiB; half of "
            "that leaves room for the weights on their way to the GPUs",
            source="shard.resources.limits.memory of the same stack",
        )


@RULES.rule
def host_cache_is_read(context: RuleContext) -> Iterator[Finding]:
    """Every block is copied to the host when it is computed, so the cache on the host helps only where it is larger than the GPUs'."""
    cache = context.settings.caching.l1_cache
    if not context.traits.keeps_prompts_on_host or not cache.enabled or not stack_memory.has_cache(context.settings, context.gpu):
        return
    on_gpus = stack_memory.tightest(context.settings, context.gpu, context.shape).tokens
    token_bytes = memory_model.kv_bytes_per_token(context.shape, context.shape.layers, stack_memory.precisions(context.settings)[1])
    on_host = int(cache.size.bytes / token_bytes)
    if on_host <= on_gpus:
        yield Finding(
            code="ENGINE-010",
            outcome="noted",
            path=("caching", "l1Cache", "size"),
            because=f"this cache holds {on_host:,} tokens of prompts and the GPUs of a pipeline hold {on_gpus:,}: both drop the least "
            "recently used, so the host has already dropped what the GPUs drop, and nothing is read back (measured with 8 GiB beside 16 on "
            "the GPU: no token of 11 repeated prompts was found; beside 4 GiB, all were). A cache of more than "
            f"{on_gpus * token_bytes / 2**30:.1f} GiB would be read; or set caching: {{l1Cache: {{enabled: false}}}}",
            source="bench/results/starts_nvidia_h200_vllm.json",
        )


_BYTE_SIZE = TypeAdapter(ByteSize)


def _size(text: str | None) -> ByteSize | None:
    try:
        return _BYTE_SIZE.validate_python(text)
    except ValidationError:
        return None
