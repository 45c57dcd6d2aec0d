"""CPU, memory, huge pages and zones of the nodes: a GPU's share of its node for each shard."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from planner.fit import placement, stack_memory
from planner.fit.layout import keeps_pipelines_together
from planner.fit.placement import ZONE
from planner.rules.rule import Advice, Situation
from settings import StackSettings
from settings.quantities import ByteSize, Cpu

INSTANCE_TYPE = "node.kubernetes.io/instance-type"
_STATIC_POLICY = (
    "kubernetes.io/docs/tasks/administer-cluster/cpu-management-policies: Guaranteed pods with whole CPUs get CPUs of their own"
)
_RESERVED = "MicrosoftDocs/azure-aks-docs articles/aks/node-resource-reservations.md (2026-07-02)"


def instance_type(at: Situation) -> Iterator[Advice]:
    asked = at.settings.shard.node_selector.get(INSTANCE_TYPE, at.size.name)
    if asked != at.size.name:
        yield Advice(
            code="PLACE-001",
            outcome="adjusted",
            path=("shard", "nodeSelector", INSTANCE_TYPE),
            value=at.size.name,
            because=f"the pool's nodes are {at.size.name} (gpuPool.vmSize), so with the size asked for every shard would stay Pending",
            source="Kubernetes well-known labels: node.kubernetes.io/instance-type is the node's VM size",
        )


def cpu_manager(at: Situation) -> Iterator[Advice]:
    if at.settings.shard.config.thread_pinning and at.settings.gpu_pool.cpu_manager_policy == "none":
        yield Advice(
            code="PLACE-007",
            outcome="adjusted",
            path=("gpuPool", "cpuManagerPolicy"),
            value="static",
            because="shard.config.threadPinning asks for CPUs of its own, and without the static policy all pods share all CPUs",
            source=_STATIC_POLICY,
        )


@dataclass(frozen=True, kw_only=True)
class Share:
    """One shard's part of its node when the node's GPUs are all used."""

    pods: int
    """Shards a node."""
    cpu_millicores: int
    memory_mib: int


def pins(settings: StackSettings) -> bool:
    """Whether shards are to have CPUs of their own, which Kubernetes gives to Guaranteed pods with whole CPUs only."""
    return settings.shard.config.thread_pinning and settings.gpu_pool.cpu_manager_policy == "static"


def share(at: Situation) -> Share | None:
    """As many shards a node as it has GPUs for, fewer where one of them would not have room to start; None when no GPU is asked for."""
    settings = at.settings
    gpus = settings.shard.resources.limits.nvidia_gpu or 0
    if not 0 < gpus <= at.size.gpus:
        return None
    room = placement.node_room(settings, at.size)
    least_mib = _least_memory_mib(at)
    for pods in range(at.size.gpus // gpus, 0, -1):
        cpu = room.cpu_millicores // pods
        if pins(settings):
            cpu = cpu // 1000 * 1000
        memory = room.memory_mib // pods // 1024 * 1024
        if cpu >= 1000 and memory >= least_mib:
            return Share(pods=pods, cpu_millicores=cpu, memory_mib=memory)
    return None


def _least_memory_mib(at: Situation) -> int:
    """A shard passes its weights through the host's memory once while it loads, and a gibibyte is for the process."""
    return math.ceil(stack_memory.tightest(at.settings, at.gpu, at.shape).memory.weights_gib * 1024) + 1024


def cpu_and_memory(at: Situation) -> Iterator[Advice]:
    most = share(at)
    if most is None:
        return
    yield from _sides(at, most, "cpu", *_cpu(at.settings, most))
    yield from _sides(at, most, "memory", *_memory(at.settings, most))


def _cpu(settings: StackSettings, most: Share) -> tuple[str | None, str | None]:
    """Request and limit that fit; None where nothing is to be changed."""
    requests, limits = settings.shard.resources.requests.cpu, settings.shard.resources.limits.cpu
    wanted = limits or requests
    if pins(settings):
        whole = str(min(max(1, _millicores(wanted) // 1000), most.cpu_millicores // 1000) if wanted else most.cpu_millicores // 1000)
        return whole, whole
    request = _cpu_text(most.cpu_millicores) if requests and _millicores(requests) > most.cpu_millicores else None
    return request, None


def _millicores(quantity: Cpu) -> int:
    return round(quantity.cores * 1000)


def _cpu_text(millicores: int) -> str:
    return str(millicores // 1000) if millicores % 1000 == 0 else f"{millicores}m"


def _memory(settings: StackSettings, most: Share) -> tuple[str | None, str | None]:
    requests, limits = settings.shard.resources.requests.memory, settings.shard.resources.limits.memory
    wanted = limits or requests
    if wanted is None:
        return (f"{most.memory_mib // 1024}Gi",) * 2 if pins(settings) else (None, None)
    if not pins(settings) and (requests is None or requests.bytes <= most.memory_mib * 2**20):
        return None, None
    given = f"{most.memory_mib // 1024}Gi" if wanted.bytes > most.memory_mib * 2**20 else str(wanted)
    return given, (given if pins(settings) else None)


def _sides(at: Situation, most: Share, resource: str, request: str | None, limit: str | None) -> Iterator[Advice]:
    asked = at.settings.shard.resources
    for side, value in (("requests", request), ("limits", limit)):
        written = getattr(getattr(asked, side), resource)
        if side == "requests" and written is None and limit is not None:
            # Kubernetes takes the limit for a request that is not set.
            continue
        if value is not None and (written is None or written.amount != type(written)(value).amount):
            code, because, source = _why(at, most, side, resource, written, value)
            yield Advice(
                code=code, outcome="adjusted", path=("shard", "resources", side, resource), value=value, because=because, source=source
            )


def _why(at: Situation, most: Share, side: str, resource: str, written: Cpu | ByteSize | None, value: str) -> tuple[str, str, str]:
    size = at.size
    above = written is not None and written.amount > type(written)(value).amount
    if side == "requests" and above:
        return "PLACE-002", _stranded(at, most), _RESERVED
    if resource == "cpu" and above and written is not None and written.amount > size.vcpus:
        return "PLACE-003", f"{size.name} has {size.vcpus} CPUs; a limit above them limits nothing", "planner/catalogue/data/gpu_sizes.csv"
    if resource == "memory" and above and isinstance(written, ByteSize) and most.pods * written.gib > size.ram_gib:
        return (
            "PLACE-004",
            f"{most.pods} shards may use {most.pods * written.gib:g} GiB of a {size.name}'s {size.ram_gib:g}: the kernel would kill one of "
            "them under load",
            "planner/catalogue/data/gpu_sizes.csv",
        )
    lacking = f"without a limit of {resource} it is" if written is None else f"{side} of {written} make it"
    return (
        "PLACE-005",
        f"threads are pinned only in a Guaranteed pod, whose requests equal its limits, with whole CPUs; {lacking} Burstable, and the "
        "static CPU manager does nothing",
        _STATIC_POLICY,
    )


def _stranded(at: Situation, most: Share) -> str:
    """What the asked requests would cost."""
    pods = at.settings.sharding.shards_count * at.settings.sharding.pipelines
    asked = placement.shard_pod(at.settings, 0)
    per_node, tightest = placement.pods_per_node(asked, placement.node_room(at.settings, at.size))
    nodes = placement.nodes_for(pods, most.pods)
    if per_node == 0:
        return f"no {at.size.name} has that much {tightest} left for one shard; a GPU's share of a node is given"
    more = placement.nodes_for(pods, per_node)
    text = (
        f"a {at.size.name} takes {per_node} such shard{'s'[: per_node > 1]} and leaves {at.size.gpus - per_node * asked.gpus} of its "
        f"{at.size.gpus} GPUs idle: {more} nodes for {pods} shards, where {nodes} do with a GPU's share of the node each"
    )
    price = at.size.usd_per_hour
    return text if price is None else f"{text}, which saves {(more - nodes) * price:,.2f} USD an hour"


def zones(at: Situation) -> Iterator[Advice]:
    if not keeps_pipelines_together(at.settings) or at.settings.sharding.shards_count == 1:
        return
    for index, constraint in enumerate(at.settings.shard.topology_spread_constraints):
        if constraint.topology_key == ZONE:
            yield Advice(
                code="PLACE-006",
                outcome="translated",
                severity="info",
                path=("shard", "topologySpreadConstraints", index, "topologyKey"),
                given="pipelines are spread over zones, the shards of one pipeline stay in one",
                because="every token passes through all shards of a pipeline, so shards in different zones would pay the way between "
                f"zones {at.settings.sharding.shards_count - 1} times a token",
                source="learn.microsoft.com/azure/reliability/availability-zones-overview: a round trip between zones takes up to 2 ms",
            )


def huge_pages(at: Situation) -> Iterator[Advice]:
    if at.settings.shard.config.use_huge_pages and at.settings.node_tuning.huge_pages_2mi == 0:
        yield Advice(
            code="NODE-002",
            outcome="not supported",
            path=("shard", "config", "useHugePages"),
            value=False,
            because="nodeTuning.hugePages2Mi sets none aside on the nodes",
            source="nodeTuning.hugePages2Mi of the same stack",
        )


RULES = (instance_type, cpu_manager, huge_pages, cpu_and_memory, zones)
