"""CPU, memory, huge pages and zones of the nodes: each shard gets the part of its node that belongs to its GPUs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from planner.fit import placement, stack_memory
from planner.fit.layout import keeps_pipelines_together
from planner.fit.placement import ZONE
from planner.fit.plan import Finding
from planner.rules.rule import RuleContext, Rules
from settings import StackSettings
from settings.quantities import ByteSize, Cpu
from settings.wording import count

RULES = Rules()

INSTANCE_TYPE = "node.kubernetes.io/instance-type"
_STATIC_POLICY = (
    "kubernetes.io/docs/tasks/administer-cluster/cpu-management-policies: Guaranteed pods with whole CPUs get CPUs of their own"
)
_RESERVED = "MicrosoftDocs/azure-aks-docs articles/aks/node-resource-reservations.md (2026-07-02)"


@RULES.rule
def instance_type(context: RuleContext) -> Iterator[Finding]:
    """The shards' node selector must name the pool's VM size."""
    asked = context.settings.shard.node_selector.get(INSTANCE_TYPE, context.size.name)
    if asked != context.size.name:
        yield Finding(
            code="PLACE-001",
            outcome="adjusted",
            path=("shard", "nodeSelector", INSTANCE_TYPE),
            value=context.size.name,
            because=f"the pool's nodes are {context.size.name} (gpuPool.vmSize), so with another size every shard would stay Pending",
            source="Kubernetes well-known labels: node.kubernetes.io/instance-type is the node's VM size",
        )


@RULES.rule
def cpu_manager(context: RuleContext) -> Iterator[Finding]:
    """Thread pinning needs the kubelet's static CPU policy."""
    if context.settings.shard.config.thread_pinning and context.settings.gpu_pool.cpu_manager_policy == "none":
        yield Finding(
            code="PLACE-007",
            outcome="adjusted",
            path=("gpuPool", "cpuManagerPolicy"),
            value="static",
            because="shard.config.threadPinning needs CPUs that only the shard uses, and without the static policy all pods share all CPUs",
            source=_STATIC_POLICY,
        )


@RULES.rule
def huge_pages(context: RuleContext) -> Iterator[Finding]:
    """A shard can use huge pages only where the nodes set some aside."""
    if context.settings.shard.config.use_huge_pages and context.settings.node_tuning.huge_pages_2mi == 0:
        yield Finding(
            code="NODE-002",
            outcome="not supported",
            path=("shard", "config", "useHugePages"),
            value=False,
            because="nodeTuning.hugePages2Mi sets none aside on the nodes",
            source="nodeTuning.hugePages2Mi of the same stack",
        )


@dataclass(frozen=True, kw_only=True)
class Share:
    """One shard's part of its node when all GPUs of the node are used."""

    pods: int
    """Shards on a node."""
    cpu_millicores: int
    memory_mib: int


def pins(settings: StackSettings) -> bool:
    """Whether shards are to have CPUs of their own, which Kubernetes gives only to Guaranteed pods with whole CPUs."""
    return settings.shard.config.thread_pinning and settings.gpu_pool.cpu_manager_policy == "static"


def share(context: RuleContext) -> Share | None:
    """Returns one shard's part of a node: the node holds as many shards as its GPUs allow, and fewer where a shard would lack room to
    start.

    The result is None when the stack asks for no GPU, or when not even one shard has room.
    """
    settings = context.settings
    gpus = settings.shard.resources.limits.nvidia_gpu or 0
    if not 0 < gpus <= context.size.gpus:
        return None
    room = placement.node_room(settings, context.size)
    least_mib = _least_memory_mib(context)
    for pods in range(context.size.gpus // gpus, 0, -1):
        cpu = room.cpu_millicores // pods
        if pins(settings):
            cpu = cpu // 1000 * 1000
        memory = room.memory_mib // pods // 1024 * 1024
        if cpu >= 1000 and memory >= least_mib:
            return Share(pods=pods, cpu_millicores=cpu, memory_mib=memory)
    return None


def _least_memory_mib(context: RuleContext) -> int:
    """Memory that a shard needs to start: its weights pass through the host's memory once while it loads, and its process takes 1 GiB."""
    return math.ceil(stack_memory.tightest(context.settings, context.gpu, context.shape).memory.weights_gib * 1024) + 1024


@RULES.rule
def cpu_and_memory(context: RuleContext) -> Iterator[Finding]:
    """A shard's requests and limits shrink to its part of the node, and are equal where its threads are pinned."""
    most = share(context)
    if most is None:
        return
    yield from _sides(context, most, "cpu", *_cpu(context.settings, most))
    yield from _sides(context, most, "memory", *_memory(context.settings, most))


def _cpu(settings: StackSettings, most: Share) -> tuple[str | None, str | None]:
    """The CPU request and limit that fit; None where nothing has to change."""
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
    """The memory request and limit that fit; None where nothing has to change."""
    requests, limits = settings.shard.resources.requests.memory, settings.shard.resources.limits.memory
    wanted = limits or requests
    if wanted is None:
        whole = f"{most.memory_mib // 1024}Gi" if pins(settings) else None
        return whole, whole
    if not pins(settings) and (requests is None or requests.bytes <= most.memory_mib * 2**20):
        return None, None
    given = f"{most.memory_mib // 1024}Gi" if wanted.bytes > most.memory_mib * 2**20 else str(wanted)
    return given, (given if pins(settings) else None)


def _sides(context: RuleContext, most: Share, resource: str, request: str | None, limit: str | None) -> Iterator[Finding]:
    """The findings that give a resource this request and this limit, where they differ from what is written."""
    asked = context.settings.shard.resources
    for side, value in (("requests", request), ("limits", limit)):
        written = getattr(getattr(asked, side), resource)
        if side == "requests" and written is None and limit is not None:
            # Kubernetes takes the limit for a request that is not set.
            continue
        if value is not None and (written is None or written.amount != type(written)(value).amount):
            code, because, source = _why(context, most, side, resource, written, value)
            yield Finding(
                code=code, outcome="adjusted", path=("shard", "resources", side, resource), value=value, because=because, source=source
            )


def _why(context: RuleContext, most: Share, side: str, resource: str, written: Cpu | ByteSize | None, value: str) -> tuple[str, str, str]:
    size = context.size
    above = written is not None and written.amount > type(written)(value).amount
    if side == "requests" and above:
        return "PLACE-002", _stranded(context, most), _RESERVED
    if resource == "cpu" and above and written is not None and written.amount > size.vcpus:
        return "PLACE-003", f"{size.name} has {size.vcpus} CPUs; a higher limit has no effect", "planner/catalogue/data/gpu_sizes.csv"
    if resource == "memory" and above and isinstance(written, ByteSize) and most.pods * written.gib > size.ram_gib:
        return (
            "PLACE-004",
            f"{most.pods} shards could together use {most.pods * written.gib:g} GiB of a {size.name}'s {size.ram_gib:g}: under load the "
            "kernel would kill one of them",
            "planner/catalogue/data/gpu_sizes.csv",
        )
    cause = f"without a limit of {resource} it is" if written is None else f"{side} of {written} make it"
    return (
        "PLACE-005",
        f"threads are pinned only in a Guaranteed pod, with whole CPUs and requests equal to its limits; {cause} Burstable, so the static "
        "CPU manager does nothing",
        _STATIC_POLICY,
    )


def _stranded(context: RuleContext, most: Share) -> str:
    """What the requests would cost if they were kept."""
    size = context.size
    pods = context.settings.sharding.shards_count * context.settings.sharding.pipelines
    asked = placement.shard_pod(context.settings, 0)
    per_node, tightest = placement.pods_per_node(asked, placement.node_room(context.settings, context.size))
    nodes = placement.nodes_for(pods, most.pods)
    if per_node == 0:
        return f"no {size.name} has that much {tightest} left for one shard, so it gets a GPU's share of the node"
    more = placement.nodes_for(pods, per_node)
    text = (
        f"a {size.name} takes {count(per_node, 'such shard')} and leaves {size.gpus - per_node * asked.gpus} of its {size.gpus} GPUs idle: "
        f"{more} nodes for {pods} shards, where {nodes} do if each shard gets its GPUs' share of the node"
    )
    price = size.usd_per_hour
    return text if price is None else f"{text}, which saves {(more - nodes) * price:,.2f} USD an hour"


@RULES.rule
def zones(context: RuleContext) -> Iterator[Finding]:
    """Pipelines are spread over zones, and each pipeline stays in one."""
    if not keeps_pipelines_together(context.settings) or context.settings.sharding.shards_count == 1:
        return
    for index, constraint in enumerate(context.settings.shard.topology_spread_constraints):
        if constraint.topology_key == ZONE:
            yield Finding(
                code="PLACE-006",
                outcome="translated",
                severity="info",
                path=("shard", "topologySpreadConstraints", index, "topologyKey"),
                given="pipelines are spread over zones, the shards of one pipeline stay in one",
                because="every token passes through all shards of a pipeline, so shards in different zones would cost each token up to "
                f"{count(context.settings.sharding.shards_count - 1, 'trip')} between zones",
                source="learn.microsoft.com/azure/reliability/availability-zones-overview: a round trip between zones takes up to 2 ms",
            )
