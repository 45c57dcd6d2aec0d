"""Places the stack's pods on nodes: what one shard requests, which node pools there are, and which pod goes where."""

from __future__ import annotations

from dataclasses import dataclass

from planner.catalogue.hardware import GpuSize
from planner.fit import placement
from planner.fit.placement import Spread, shares
from planner.fit.plan import GpuPoolPlan, PlacedPod, ShardPodPlan
from settings import Problem, StackSettings


@dataclass(frozen=True, kw_only=True)
class PodLayout:
    """The stack's pods, the node pools that they need, and where each pod goes."""

    pod: ShardPodPlan
    gpu_pools: tuple[GpuPoolPlan, ...]
    pods: tuple[PlacedPod, ...]
    pipeline_in_one_zone: bool
    most_pipelines: int
    """The most pipelines for which the pools have nodes at their greatest sizes, at most as many as the stack asks for."""
    wanted_nodes: int
    """The nodes that the most pipelines of the stack need."""

    @property
    def nodes(self) -> int:
        """The nodes of all pools together."""
        return sum(pool.nodes for pool in self.gpu_pools)

    @property
    def pending(self) -> tuple[PlacedPod, ...]:
        """The pods for which no node has room."""
        return tuple(pod for pod in self.pods if pod.node is None)


def layout(settings: StackSettings, size: GpuSize) -> PodLayout | list[Problem]:
    """Returns the layout of the stack on nodes of this size, or the problems that prevent one.

    With `sizing.mode: verbatim` a pool may be too small for its pods; the others are placed nowhere.
    """
    pages_mib = 2 * settings.node_tuning.huge_pages_2mi
    per_node, problems = _pods_per_node(settings, size)
    share_mib = pages_mib // per_node // 2 * 2 if settings.shard.config.use_huge_pages else 0
    pod = placement.shard_pod(settings, share_mib)
    pools, pool_problems = _pools(settings, size, per_node)
    if share_mib and any(pool.min_nodes == 0 for pool in pools):
        pool_problems.append(_no_first_node())
    if not problems and not pool_problems:
        pool_problems += _no_room_to_update(settings, pools, per_node)
    if problems or pool_problems:
        return problems + pool_problems
    room = placement.node_room(settings, size)
    return PodLayout(
        pod=pod,
        gpu_pools=pools,
        pods=_placed(settings, pools, per_node, placement.short_of(pod, room)),
        pipeline_in_one_zone=keeps_pipelines_together(settings),
        most_pipelines=next((count for count in range(_wanted(settings), 0, -1) if _fit(count, settings, pools, per_node)), 0),
        wanted_nodes=sum(nodes_of(_wanted(settings), settings, per_node, len(pools))),
    )


def keeps_pipelines_together(settings: StackSettings) -> bool:
    """Whether each pipeline stays in one zone, as its shards hand every token on from one to the next."""
    return settings.sizing.mode != "verbatim" and len(settings.gpu_pool.zones) > 1


def _pods_per_node(settings: StackSettings, size: GpuSize) -> tuple[int, list[Problem]]:
    """Returns how many pods fit a node, at least 1 so that everything else can be checked too, and the problems."""
    room = placement.node_room(settings, size)
    pod = placement.shard_pod(settings, 0)
    problems = []
    if pod.gpus == 0:
        problems.append(
            Problem(
                key="shard.resources.limits.nvidia.com/gpu",
                value="missing",
                consequence="each shard would start without a GPU, on a node that has some",
                fix="nvidia.com/gpu: 1 under requests and limits",
            )
        )
    per_node, tightest = placement.pods_per_node(pod, room)
    if per_node == 0:
        problems.append(
            Problem(
                key=f"shard.resources.requests.{tightest}",
                value=pod.set_aside.get(tightest) or str(pod.gpus),
                consequence=f"no {size.name} can hold one shard: {_offer(room, tightest)} are left of a node after AKS's reservations "
                "and the agents on it",
                fix="ask for less, or choose a larger gpuPool.vmSize",
            )
        )
    return max(per_node, 1), problems


def _offer(room: placement.Allocatable, resource: str) -> str:
    """What a node has of a resource, in words."""
    return {
        "nvidia.com/gpu": f"{room.gpus} GPUs",
        "cpu": f"{room.cpu_millicores / 1000:g} CPUs",
        "memory": f"{room.memory_mib / 1024:.0f} GiB",
        "hugepages-2Mi": f"{room.huge_pages_mib} MiB of huge pages",
    }[resource]


def _pools(settings: StackSettings, size: GpuSize, per_node: int) -> tuple[tuple[GpuPoolPlan, ...], list[Problem]]:
    """Returns one pool, or one for each zone that holds whole pipelines, with the bounds of the settings divided among them."""
    pool, pipelines, stages = settings.gpu_pool, settings.sharding.pipelines, settings.sharding.shards_count
    zones = [(zone,) for zone in sorted(pool.zones)[:pipelines]] if keeps_pipelines_together(settings) else [tuple(pool.zones)]
    needed = nodes_of(pipelines, settings, per_node, len(zones))
    most = nodes_of(_wanted(settings), settings, per_node, len(zones))
    problems = []
    if pool.max_nodes is not None and pool.max_nodes < sum(needed):
        gpus_offered, gpus_needed = pool.max_nodes * size.gpus, pipelines * stages * placement.shard_pod(settings, 0).gpus
        if gpus_offered < gpus_needed or settings.sizing.mode != "verbatim":
            problems.append(_too_few(settings, size, sum(needed), gpus_needed))
        needed = shares(pool.max_nodes, len(zones))
    lowest = needed if pool.min_nodes is None else shares(pool.min_nodes, len(zones))
    # The settings may keep more nodes than the pods need.
    needed = [max(count, low) for count, low in zip(needed, lowest, strict=True)]
    highest = most if pool.max_nodes is None else _spread_out(needed, most, pool.max_nodes)
    highest = [max(count, high) for count, high in zip(needed, highest, strict=True)]
    return (
        tuple(
            GpuPoolPlan(size=size, zones=where, nodes=nodes, min_nodes=low, max_nodes=high)
            for where, nodes, low, high in zip(zones, needed, lowest, highest, strict=True)
        ),
        problems,
    )


def nodes_of(pipelines: int, settings: StackSettings, per_node: int, pools: int) -> list[int]:
    """Returns the nodes of each pool that this many pipelines need. Several pools are one for each zone."""
    stages = settings.sharding.shards_count
    if keeps_pipelines_together(settings):
        return nodes_by_zone(pipelines, stages, per_node, pools)
    return [placement.fewest_nodes(pipelines * stages, settings.gpu_pool.zones, per_node, zone_spread(settings))]


def _wanted(settings: StackSettings) -> int:
    """The greatest number of pipelines, whatever the pools hold."""
    return settings.autoscaling.max_pipelines if settings.autoscaling.enabled else settings.sharding.pipelines


def _fit(pipelines: int, settings: StackSettings, pools: tuple[GpuPoolPlan, ...], per_node: int) -> bool:
    needed = nodes_of(pipelines, settings, per_node, len(pools))
    return all(nodes <= pool.max_nodes for nodes, pool in zip(needed, pools, strict=True))


def nodes_by_zone(pipelines: int, stages: int, per_node: int, zones: int) -> list[int]:
    """Returns the nodes of each zone when pipelines are dealt to the zones and each stays in one."""
    return [placement.nodes_for(count * stages, per_node) for count in shares(pipelines, zones)]


def _spread_out(needed: list[int], most: list[int], total: int) -> list[int]:
    """Returns the pools' greatest sizes: nodes beyond the need go where the most pipelines lack most, and evenly once they lack none."""
    sizes = list(needed)
    for _ in range(total - sum(needed)):
        pool = max(range(len(sizes)), key=lambda index: (max(0, most[index] - sizes[index]), -sizes[index]))
        sizes[pool] += 1
    return sizes


def _too_few(settings: StackSettings, size: GpuSize, nodes: int, gpus: int) -> Problem:
    most = settings.gpu_pool.max_nodes or 0
    pods = settings.sharding.pipelines * settings.sharding.shards_count
    return Problem(
        key="gpuPool.maxNodes",
        value=str(most),
        consequence=f"{pods} shards need {gpus} GPUs on {nodes} nodes of {size.name}, but {most * size.gpus} are allowed; "
        "the others would stay Pending",
        fix=f"at least {nodes}",
    )


def _no_room_to_update(settings: StackSettings, pools: tuple[GpuPoolPlan, ...], per_node: int) -> list[Problem]:
    """Where no pipeline may stop before another is ready, that other one needs nodes (kubernetes-sigs/lws issue 688)."""
    if settings.rollout.max_unavailable_pipelines:
        return []
    pipelines, stages = settings.sharding.pipelines, settings.sharding.shards_count
    if keeps_pipelines_together(settings):
        counts = shares(pipelines, len(pools))
        needed = [placement.nodes_for((count + 1) * stages, per_node) for count in counts]
    else:
        needed = nodes_of(pipelines + 1, settings, per_node, len(pools))
    if any(nodes <= pool.max_nodes for nodes, pool in zip(needed, pools, strict=True)):
        return []
    now, wanted = [pool.nodes for pool in pools], nodes_of(_wanted(settings), settings, per_node, len(pools))
    most = enough = sum(pool.max_nodes for pool in pools)
    while all(there < nodes for there, nodes in zip(_spread_out(now, wanted, enough), needed, strict=True)):
        enough += 1
    return [
        Problem(
            key="rollout.maxUnavailablePipelines",
            value="0",
            consequence=f"no pipeline may stop before another is ready, and the {most} nodes have no room for another: every change of the "
            "shards would wait for a free GPU until `up` gives up",
            fix=f"at least 1, or gpuPool.maxNodes: {enough}, whose further nodes run during an update only",
        )
    ]


def _no_first_node() -> Problem:
    return Problem(
        key="gpuPool.minNodes",
        value="0",
        consequence="the autoscaler does not know the huge pages of a node that does not exist yet, so it would never add the first node "
        "(Azure/AKS issue 3408)",
        fix="at least 1 for each zone that is used, or shard.config.useHugePages: false",
    )


def zone_spread(settings: StackSettings) -> Spread:
    """Returns what the shards' own constraints say about zones, as they are written."""
    hard = [
        constraint.max_skew
        for constraint in settings.shard.topology_spread_constraints
        if constraint.topology_key == placement.ZONE and constraint.when_unsatisfiable == "DoNotSchedule"
    ]
    return Spread(max_skew=min(hard, default=None))


def node_zones(pools: tuple[GpuPoolPlan, ...]) -> list[str]:
    """Returns the zone of each node, numbered through all pools; an empty text where there are no zones."""
    return [zone for pool in pools for zone in placement.deal(pool.nodes, pool.zones)]


def _placed(settings: StackSettings, pools: tuple[GpuPoolPlan, ...], per_node: int, full: tuple[str, ...]) -> tuple[PlacedPod, ...]:
    """Returns where each pod goes. `full` is the reason for pods for which no node has room."""
    stages = settings.sharding.shards_count
    if not keeps_pipelines_together(settings):
        return placement.place(settings.sharding.pipelines, stages, node_zones(pools), per_node, zone_spread(settings), full)
    placed = []
    first_node = 0
    for index, (pool, pipelines) in enumerate(zip(pools, shares(settings.sharding.pipelines, len(pools)), strict=True)):
        for pod in placement.place(pipelines, stages, [pool.zones[0]] * pool.nodes, per_node, Spread(max_skew=None), full):
            # Pipelines are dealt to the zones in turn.
            pipeline = index + pod.pipeline * len(pools)
            node = None if pod.node is None else first_node + pod.node
            placed.append(PlacedPod(pipeline=pipeline, stage=pod.stage, node=node, pending_because=pod.pending_because))
        first_node += pool.nodes
    return tuple(sorted(placed, key=lambda pod: (pod.pipeline, pod.stage)))
