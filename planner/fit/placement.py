"""How many shard pods a node takes, how many nodes that makes, and which pod goes where.

All pods of a stack are alike (they are one LeaderWorkerSet's), so the fewest nodes are found by counting; what the count cannot see,
a spread constraint over zones, is tried out pod by pod as the scheduler would.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from planner.catalogue import node_agents
from planner.catalogue.aks_reservations import Allocatable, allocatable
from planner.catalogue.hardware import GpuSize
from planner.fit.plan import PlacedPod, ShardPodPlan
from planner.fit.weights import copied_to_nodes
from settings import StackSettings
from settings.quantities import ByteSize, Cpu
from settings.shard import ResourceList

ZONE = "topology.kubernetes.io/zone"
SPREAD_BROKEN = "node(s) didn't match pod topology spread constraints"

RESOURCES = ("nvidia.com/gpu", "cpu", "memory", "hugepages-2Mi")


def shard_pod(settings: StackSettings, huge_pages_mib: int) -> ShardPodPlan:
    """The stack's resources as written, plus the pod's share of huge pages (requests must equal limits for those)."""

    def as_kubernetes(side: ResourceList) -> dict[str, str]:
        quantities = {name: str(value) for name, value in side.model_dump(by_alias=True, exclude_none=True).items()}
        return quantities | ({"hugepages-2Mi": f"{huge_pages_mib}Mi"} if huge_pages_mib else {})

    resources = settings.shard.resources
    return ShardPodPlan(
        gpus=resources.limits.nvidia_gpu or resources.requests.nvidia_gpu or 0,
        requests=as_kubernetes(resources.requests),
        limits=as_kubernetes(resources.limits),
        huge_pages_mib=huge_pages_mib,
        node_selector=dict(settings.shard.node_selector),
    )


def node_room(settings: StackSettings, size: GpuSize) -> Allocatable:
    """What one GPU node has for shards: after AKS's reservations, the huge pages and the agents that run on every node."""
    huge_pages_mib = 2 * settings.node_tuning.huge_pages_2mi
    whole = allocatable(vcpus=size.vcpus, ram_gib=size.ram_gib, gpus=size.gpus, huge_pages_mib=huge_pages_mib)
    agents = node_agents.requests(monitoring=settings.monitoring.enabled, weights_copy=copied_to_nodes(settings))
    return Allocatable(
        cpu_millicores=whole.cpu_millicores - agents.cpu_millicores,
        memory_mib=whole.memory_mib - agents.memory_mib,
        gpus=whole.gpus,
        huge_pages_mib=huge_pages_mib,
    )


def asked_of(pod: ShardPodPlan) -> dict[str, int]:
    """`set_aside` of a pod in numbers: GPUs, millicores, MiB, MiB."""
    wanted = pod.set_aside
    return {
        "nvidia.com/gpu": pod.gpus,
        "cpu": round(Cpu(wanted.get("cpu", "0")).cores * 1000),
        "memory": math.ceil(ByteSize(wanted.get("memory", "0")).bytes / 2**20),
        "hugepages-2Mi": pod.huge_pages_mib,
    }


def offered_by(room: Allocatable) -> dict[str, int]:
    """What a node has, in the units of `asked_of`."""
    return dict(zip(RESOURCES, (room.gpus, room.cpu_millicores, room.memory_mib, room.huge_pages_mib), strict=True))


def pods_per_node(pod: ShardPodPlan, room: Allocatable) -> tuple[int, str]:
    """How many such pods fit a node, and the resource that stops the next one."""
    offered = offered_by(room)
    fits = {name: offered[name] // asked for name, asked in asked_of(pod).items() if asked}
    if not fits:
        return 1, "nothing asked"
    tightest = min(fits, key=lambda name: fits[name])
    return fits[tightest], tightest


def short_of(pod: ShardPodPlan, room: Allocatable) -> tuple[str, ...]:
    """In the scheduler's words, what a full node lacks for one more pod."""
    per_node, _ = pods_per_node(pod, room)
    offered = offered_by(room)
    return tuple(f"Insufficient {name}" for name, asked in asked_of(pod).items() if asked and offered[name] - per_node * asked < asked)


def nodes_for(pods: int, per_node: int) -> int:
    return math.ceil(pods / per_node)


def shares(total: int, parts: int) -> list[int]:
    """Whole and even: 8 over 3 are 3, 3 and 2."""
    return [total // parts + (index < total % parts) for index in range(parts)]


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A constraint that keeps zones' pod counts within `max_skew`; None when only preferred."""

    max_skew: int | None


def place(pipelines: int, stages: int, zones: Sequence[str], per_node: int, spread: Spread, full: tuple[str, ...]) -> tuple[PlacedPod, ...]:
    """Each pod on the least used node of the least used zone that may take it, in the order in which they are made.

    `zones` has one entry a node: the zone it is in. `full` is said of pods for which no node has room.
    """
    nodes: dict[str, list[int]] = {}
    for node, zone in enumerate(zones):
        nodes.setdefault(zone, []).append(node)
    most = {zone: per_node * len(there) for zone, there in nodes.items()}
    counts = dict.fromkeys(nodes, 0)
    placed = []
    for pipeline, stage in _in_order(pipelines, stages):
        zone, because = _zone(counts, most, spread, full)
        node = None
        if zone is not None:
            node = nodes[zone][counts[zone] % len(nodes[zone])]
            counts[zone] += 1
        placed.append(PlacedPod(pipeline=pipeline, stage=stage, node=node, pending_because=because))
    return tuple(placed)


def _in_order(pipelines: int, stages: int) -> Iterator[tuple[int, int]]:
    for pipeline in range(pipelines):
        for stage in range(stages):
            yield pipeline, stage


def _zone(counts: dict[str, int], most: dict[str, int], spread: Spread, full: tuple[str, ...]) -> tuple[str | None, tuple[str, ...]]:
    """The zone for the next pod, or why there is none."""
    least = min(counts.values(), default=0)
    with_room = [zone for zone in counts if counts[zone] < most[zone]]
    allowed = [zone for zone in with_room if spread.max_skew is None or counts[zone] + 1 - least <= spread.max_skew]
    if allowed:
        return min(allowed, key=lambda zone: counts[zone]), ()
    return None, (*(full if len(with_room) < len(counts) else ()), *((SPREAD_BROKEN,) if with_room else ()))


def fewest_nodes(pods: int, zones: Sequence[str], per_node: int, spread: Spread) -> int:
    """The fewest nodes, dealt to `zones` in turn, on which no pod stays Pending."""
    nodes = nodes_for(pods, per_node)
    while any(pod.node is None for pod in place(1, pods, deal(nodes, zones), per_node, spread, ())):
        nodes += 1
    return nodes


def deal(nodes: int, zones: Sequence[str]) -> list[str]:
    """The zone of each node of a pool: Azure deals a pool's nodes to its zones in turn; without zones they are all in one place."""
    return [zones[index % len(zones)] if zones else "" for index in range(nodes)]
