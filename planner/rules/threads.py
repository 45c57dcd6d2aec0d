"""Threads, heaps and caches inside a shard, against the CPUs and the memory that its pod has."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import TypeAdapter, ValidationError

from planner.fit import memory_model, placement, stack_memory
from planner.rules.node import pins
from planner.rules.rule import Advice, Situation
from settings import StackSettings
from settings.quantities import ByteSize


def cpus_of(settings: StackSettings) -> int | None:
    """Whole CPUs that one shard may use; None when nothing bounds it."""
    resources = settings.shard.resources
    bound = resources.limits.cpu or resources.requests.cpu
    return max(1, int(bound.cores)) if bound else None


def server_threads(at: Situation) -> Iterator[Advice]:
    cpus, config = cpus_of(at.settings), at.settings.shard.config
    if cpus is None:
        return
    # Pinned workers own their CPUs, so the threads that wait for the network need some of the pod's for themselves.
    for_io = min(config.io_threads, max(1, cpus // 4)) if pins(at.settings) else min(config.io_threads, cpus)
    for_work = min(config.worker_threads, max(1, cpus - for_io)) if pins(at.settings) else min(config.worker_threads, cpus)
    for key, asked, given in (("workerThreads", config.worker_threads, for_work), ("ioThreads", config.io_threads, for_io)):
        if given != asked:
            yield Advice(
                code="THREAD-001",
                outcome="adjusted",
                path=("shard", "config", key),
                value=given,
                because=_oversubscribed(at, asked, cpus),
                source="shard.resources of the same stack",
            )


def _oversubscribed(at: Situation, threads: int, cpus: int) -> str:
    per_node = max(1, placement.pods_per_node(placement.shard_pod(at.settings, 0), placement.node_room(at.settings, at.size))[0])
    return (
        f"a shard has {cpus} CPUs; {per_node} on a {at.size.name} would run {per_node * threads} such threads on its {at.size.vcpus} CPUs"
    )


def library_threads(at: Situation) -> Iterator[Advice]:
    cpus = cpus_of(at.settings)
    if cpus is None:
        return
    for variable in at.settings.shard.env:
        workers = variable.name.endswith("_NUM_THREADS")
        most = min(cpus, at.settings.shard.config.worker_threads) if workers else cpus
        if (workers or variable.name == "GC_THREADS") and (variable.value or "").isdecimal() and int(variable.value or 0) > most:
            yield Advice(
                code="THREAD-002",
                outcome="adjusted",
                path=("shard", "env", variable.name),
                value=str(most),
                because=_oversubscribed(at, int(variable.value or 0), cpus),
                source="OpenBLAS and oneMKL user guides: more threads than CPUs slow a library down",
            )


def scheduler(at: Situation) -> Iterator[Advice]:
    asked = at.settings.shard.config.thread_scheduler
    if asked != "other":
        yield Advice(
            code="THREAD-003",
            outcome="not supported",
            path=("shard", "config", "threadScheduler"),
            value="other",
            because=f"the kernel gives SCHED_{asked.upper()} to a process with CAP_SYS_NICE, and the namespace's restricted Pod Security "
            "level takes all capabilities away; "
            + ("pinned threads have their CPUs to themselves all the same" if pins(at.settings) else "pinning gives a thread its own CPU"),
            source="man 7 sched; kubernetes.io/docs/concepts/security/pod-security-standards",
        )


def heaps(at: Situation) -> Iterator[Advice]:
    limit = at.settings.shard.resources.limits.memory
    if limit is None:
        return
    for variable in at.settings.shard.env:
        size = _size(variable.value) if variable.name.endswith("_HEAP_SIZE") else None
        if size is not None and size.bytes >= limit.bytes:
            yield Advice(
                code="THREAD-004",
                outcome="adjusted",
                path=("shard", "env", variable.name),
                value=f"{limit.bytes * 3 // 4 // 2**20}Mi",
                because=f"a shard may use {limit} in all: with a heap of that size the kernel would kill it before the heap is full; three "
                "quarters leave room for what is not in the heap",
                source="shard.resources.limits.memory of the same stack",
            )


def host_cache(at: Situation) -> Iterator[Advice]:
    cache, limit = at.settings.caching.l1_cache, at.settings.shard.resources.limits.memory
    if not at.traits.keeps_prompts_on_host or not cache.enabled or limit is None:
        return
    pods = at.settings.sharding.shards_count
    if cache.size.bytes > pods * limit.bytes / 2:
        yield Advice(
            code="ENGINE-007",
            outcome="adjusted",
            path=("caching", "l1Cache", "size"),
            value=f"{int(pods * limit.bytes / 2) // 2**20}Mi",
            because=f"it is taken of the shards' memory at start, of which a pipeline has {pods * limit.gib:g} GiB; half of that leaves "
            "room for the weights on their way to the GPUs",
            source="shard.resources.limits.memory of the same stack",
        )


def host_cache_is_read(at: Situation) -> Iterator[Advice]:
    """Every block is copied to the host when it is computed, so the host's cache adds only what it has room for beyond the GPUs'."""
    cache = at.settings.caching.l1_cache
    if not at.traits.keeps_prompts_on_host or not cache.enabled or not at.settings.model.kv_cache.enabled:
        return
    on_gpus = stack_memory.tightest(at.settings, at.gpu, at.shape).tokens
    each = memory_model.kv_bytes_per_token(at.shape, at.shape.layers, stack_memory.precisions(at.settings)[1])
    on_host = int(cache.size.bytes / each)
    if on_host <= on_gpus:
        yield Advice(
            code="ENGINE-010",
            outcome="noted",
            path=("caching", "l1Cache", "size"),
            because=f"it holds {on_host:,} tokens of prompts and the GPUs of a pipeline hold {on_gpus:,}: both drop the least recently "
            "used, so what the GPUs have dropped the host has dropped before, and nothing is read back (measured with 8 GiB beside 16: "
            "of 11 prompts that came again no token was found; beside 4 GiB, all of them). More than "
            f"{on_gpus * each / 2**30:.1f} GiB would be read; or caching: {{l1Cache: {{enabled: false}}}}",
            source="bench/results/starts_nvidia_h200_vllm.json",
        )


_BYTE_SIZE = TypeAdapter(ByteSize)


def _size(text: str | None) -> ByteSize | None:
    try:
        return _BYTE_SIZE.validate_python(text)
    except ValidationError:
        return None


RULES = (server_threads, library_threads, scheduler, heaps, host_cache, host_cache_is_read)
