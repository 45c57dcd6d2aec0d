"""How many shard pods fit a node, how many nodes that takes, and which pod goes where.

All pods of a stack are equal (they belong to one LeaderWorkerSet), so counting finds the fewest nodes. A spread constraint over zones
cannot be counted: it is tried pod by pod, as the scheduler would.
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
    """Returns one shard's resources as written, plus its share of huge pages, whose requests must equal their limits."""

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
    """Returns what one GPU node has for shards, after AKS's reservations, the huge pages and the agents on every node."""
    huge_pages_mib = 2 * settings.node_tuning.huge_pages_2mi
    whole = allocatable(vcpus=size.vcpus, ram_gib=size.ram_gib, gpus=size.gpus, huge_pages_mib=huge_pages_mib)
    agents = node_agents.requests(monitoring=settings.monitoring.enabled, weights_copy=copied_to_nodes(settings))
    return Allocatable(
        cpu_millicores=whole.cpu_millicores - agents.cpu_millicores,
        memory_mib=whole.memory_mib - agents.memory_mib,
        gpus=whole.gpus,
        huge_pages_mib=huge_pages_mib,
    )


def requested_by(pod: ShardPodPlan) -> dict[str, int]:
    """Returns `set_aside` of a pod in numbers: GPUs, millicores, MiB and MiB of huge pages."""
    quantities = pod.set_aside
    return {
        "nvidia.com/gpu": pod.gpus,
        "cpu": round(Cpu(quantities.get("cpu", "0")).cores * 1000),
        "memory": math.ceil(ByteSize(quantities.get("memory", "0")).bytes / 2**20),
        "hugepages-2Mi": pod.huge_pages_mib,
    }


def offered_by(room: Allocatable) -> dict[str, int]:
    """Returns what a node has, in the units of `requested_by`."""
    return dict(zip(RESOURCES, (room.gpus, room.cpu_millicores, room.memory_mib, room.huge_pages_mib), strict=True))


def pods_per_node(pod: ShardPodPlan, room: Allocatable) -> tuple[int, str]:
    """Returns how many such pods fit a node, and the resource that stops the next one."""
    offered = offered_by(room)
    fits = {name: offered[name] // amount for name, amount in requested_by(pod).items() if amount}
    if not fits:
        return 1, "nothing asked"
    tightest = min(fits, key=lambda name: fits[name])
    return fits[tightest], tightest


def short_of(pod: ShardPodPlan, room: Allocatable) -> tuple[str, ...]:
    """Returns what a full node lacks for one more pod, in the scheduler's words."""
    per_node, _ = pods_per_node(pod, room)
    offered = offered_by(room)
    left = {name: offered[name] - per_node * amount for name, amount in requested_by(pod).items()}
    return tuple(f"Insufficient {name}" for name, amount in requested_by(pod).items() if amount and left[name] < amount)


def nodes_for(pods: int, per_node: int) -> int:
    """Returns the nodes that this many pods need."""
    return math.ceil(pods / per_node)


def shares(total: int, parts: int) -> list[int]:
    """Divides a total into whole and even parts: 8 over 3 are 3, 3 and 2."""
    return [total // parts + (index < total % parts) for index in range(parts)]


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A constraint that keeps the zones' numbers of pods within `max_skew` of each other; None where that is only preferred."""

    max_skew: int | None


def place(pipelines: int, stages: int, zones: Sequence[str], per_node: int, spread: Spread, full: tuple[str, ...]) -> tuple[PlacedPod, ...]:
    """Places each pod on the least used node of the least used zone that may take it, in the order in which pods are created.

    `zones` has one entry for each node: the zone it is in. `full` is the reason for pods for which no node has room.
    """
    nodes: dict[str, list[int]] = {}
    for node, zone in enumerate(zones):
        nodes.setdefault(zone, []).append(node)
    most = {zone: per_node * len(zone_nodes) for zone, zone_nodes in nodes.items()}
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
    """Returns the zone for the next pod, or why there is none."""
    least = min(counts.values(), default=0)
    with_room = [zone for zone in counts if counts[zone] < most[zone]]
    allowed = [zone for zone in with_room if spread.max_skew is None or counts[zone] + 1 - least <= spread.max_skew]
    if allowed:
        return min(allowed, key=lambda zone: counts[zone]), ()
    return None, (*(full if len(with_room) < len(counts) else ()), *((SPREAD_BROKEN,) if with_room else ()))


def fewest_nodes(pods: int, zones: Sequence[str], per_node: int, spread: Spread) -> int:
    """Returns the fewest nodes, dealt to `zones` in turn, on which no pod stays Pending."""
    nodes = nodes_for(pods, per_node)
    while any(pod.node is None for pod in place(1, pods, deal(nodes, zones), per_node, spread, ())):
        nodes += 1
    return nodes


def deal(nodes: int, zones: Sequence[str]) -> list[str]:
    """Returns the zone of each node of a pool. Azure deals a pool's nodes to its zones in turn; without zones the text is empty."""
    return [zones[index % len(zones)] if zones else "" for index in range(nodes)]
