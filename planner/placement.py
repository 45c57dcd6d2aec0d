"""How many shard pods a node takes, and how many nodes that makes."""

from __future__ import annotations

import math

from planner.plan import GpuSize, ShardPodPlan
from planner.reservations import Allocatable, allocatable
from settings.quantities import ByteSize, Cpu
from settings.shard import ResourceList, Shard

INSTANCE_TYPE = "node.kubernetes.io/instance-type"


def shard_pod(shard: Shard, size: GpuSize, huge_pages_mib: int) -> ShardPodPlan:
    """The guide's resources as written, plus the pod's share of huge pages (requests must equal limits for those)."""

    def as_kubernetes(side: ResourceList) -> dict[str, str]:
        quantities = {name: str(value) for name, value in side.model_dump(by_alias=True, exclude_none=True).items()}
        return quantities | ({"hugepages-2Mi": f"{huge_pages_mib}Mi"} if huge_pages_mib else {})

    instance_type = {INSTANCE_TYPE: size.name} if INSTANCE_TYPE in shard.node_selector else {}
    return ShardPodPlan(
        gpus=shard.resources.limits.nvidia_gpu or shard.resources.requests.nvidia_gpu or 0,
        requests=as_kubernetes(shard.resources.requests),
        limits=as_kubernetes(shard.resources.limits),
        huge_pages_mib=huge_pages_mib,
        node_selector=shard.node_selector | instance_type,
    )


def node_room(size: GpuSize, huge_pages_mib: int) -> Allocatable:
    return allocatable(vcpus=size.vcpus, ram_gib=size.ram_gib, gpus=size.gpus, huge_pages_mib=huge_pages_mib)


def pods_per_node(pod: ShardPodPlan, room: Allocatable) -> tuple[int, str]:
    """How many such pods fit a node, and the resource that stops the next one.

    The node agents' own small requests are not counted.
    """
    asked = {
        "nvidia.com/gpu": (pod.gpus, room.gpus),
        "cpu": (round(Cpu(pod.requests.get("cpu", "0")).cores * 1000), room.cpu_millicores),
        "memory": (ByteSize(pod.requests.get("memory", "0")).bytes // 2**20, room.memory_mib),
        "hugepages-2Mi": (pod.huge_pages_mib, room.huge_pages_mib),
    }
    fits = {name: there // wanted for name, (wanted, there) in asked.items() if wanted}
    if not fits:
        return 1, "nothing asked"
    tightest = min(fits, key=lambda name: fits[name])
    return fits[tightest], tightest


def nodes_for(pods: int, per_node: int) -> int:
    return math.ceil(pods / per_node)
