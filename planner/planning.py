"""From settings to a plan: layers, pods, nodes, cache tier, and what is to be said about them."""

from __future__ import annotations

from planner import catalogue, placement
from planner.layers import split_layers
from planner.plan import Finding, GpuPoolPlan, GpuSize, Plan, ShardPlan, ShardPodPlan
from planner.redis import smallest_sku
from settings import Problem, SettingsError, StackSettings
from settings.explaining import closest

CURRENT_SIZE = "Standard_NC24ads_A100_v4"
"""The size a retired one is switched to in one line: the smallest data-centre GPU size of the catalogue still sold."""


def plan(settings: StackSettings) -> Plan:
    """The layout these settings ask for.

    Raises SettingsError with every problem found: unknown model or size, layers that do not divide as asked, a shard that
    fits no node, a pool too small for its shards.
    """
    problems: list[Problem] = []
    shards = _shards(settings, problems)
    size = _gpu_size(settings, problems)
    sku = _redis_sku(settings, problems)
    pod_and_pool = _pool(settings, size, problems) if size else None
    if problems or pod_and_pool is None:
        raise SettingsError(problems)
    pod, pool = pod_and_pool
    return Plan(
        shards=shards,
        pipelines=settings.sharding.pipelines,
        pod=pod,
        gpu_pool=pool,
        redis_sku=sku,
        findings=_findings(settings, pool.size),
    )


def _one_of(name: str, known: tuple[str, ...]) -> str:
    near = closest(name, known)
    return f"did you mean {near}?" if near else f"one of {', '.join(known)}"


def _shards(settings: StackSettings, problems: list[Problem]) -> tuple[ShardPlan, ...]:
    shape = catalogue.models().get(settings.model.name)
    sharding = settings.sharding
    if shape is None:
        names = tuple(catalogue.models())
        problems.append(
            Problem(
                key="model.name",
                value=settings.model.name,
                consequence="its layers cannot be split over shards, as its shape is not in the catalogue",
                fix=_one_of(settings.model.name, names),
            )
        )
        return ()
    if sharding.shards_count > shape.layers:
        problems.append(
            Problem(
                key="sharding.shardsCount",
                value=str(sharding.shards_count),
                consequence=f"{shape.name} has {shape.layers} layers, so some shards would hold none",
                fix=f"at most {shape.layers}",
            )
        )
        return ()
    if sharding.layers_per_shard not in (None, shape.layers / sharding.shards_count):
        problems.append(
            Problem(
                key="sharding.layersPerShard",
                value=str(sharding.layers_per_shard),
                consequence=f"{sharding.shards_count} shards would hold {sharding.shards_count * sharding.layers_per_shard} layers "
                f"but {shape.name} has {shape.layers}",
                fix="leave it out to split the layers evenly, or change sharding.shardsCount",
            )
        )
    return split_layers(shape.layers, sharding.shards_count)


def _gpu_size(settings: StackSettings, problems: list[Problem]) -> GpuSize | None:
    name = settings.gpu_pool.vm_size
    size = catalogue.gpu_size(name, settings.azure.location)
    if size is None:
        problems.append(
            Problem(
                key="gpuPool.vmSize",
                value=name,
                consequence="its GPUs, CPUs and memory are unknown, so no shard can be placed on it",
                fix=_one_of(name, catalogue.gpu_size_names()),
            )
        )
    return size


def _pool(settings: StackSettings, size: GpuSize, problems: list[Problem]) -> tuple[ShardPodPlan, GpuPoolPlan]:
    node_huge_pages_mib = 2 * settings.node_tuning.huge_pages_2mi
    per_node = _pods_per_node(settings, size, node_huge_pages_mib, problems)
    pages_mib = node_huge_pages_mib // per_node // 2 * 2 if settings.shard.config.use_huge_pages else 0
    pool = _pool_bounds(settings, size, per_node, problems)
    if pool.min_nodes == 0 and pages_mib:
        problems.append(
            Problem(
                key="gpuPool.minNodes",
                value="0",
                consequence="the autoscaler cannot know a future node's huge pages, so it would never add the first one "
                "(Azure/AKS issue 3408)",
                fix="at least 1, or shard.config.useHugePages: false",
            )
        )
    return placement.shard_pod(settings.shard, size, pages_mib), pool


def _pods_per_node(settings: StackSettings, size: GpuSize, node_huge_pages_mib: int, problems: list[Problem]) -> int:
    room = placement.node_room(size, node_huge_pages_mib)
    pod = placement.shard_pod(settings.shard, size, 0)
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
                value=pod.requests.get(tightest) or str(pod.gpus),
                consequence=f"no {size.name} can take one shard: {_offer(room, tightest)} are left of a node after AKS's reservations",
                fix="ask for less, or choose a larger gpuPool.vmSize",
            )
        )
    return max(per_node, 1)


def _pool_bounds(settings: StackSettings, size: GpuSize, per_node: int, problems: list[Problem]) -> GpuPoolPlan:
    pool, shards = settings.gpu_pool, settings.sharding.shards_count
    pods = shards * settings.sharding.pipelines
    nodes = placement.nodes_for(pods, per_node)
    most_pods = shards * settings.autoscaling.max_pipelines if settings.autoscaling.enabled else pods
    max_nodes = pool.max_nodes or max(nodes, placement.nodes_for(most_pods, per_node))
    if max_nodes < nodes:
        problems.append(
            Problem(
                key="gpuPool.maxNodes",
                value=str(max_nodes),
                consequence=f"{pods} shards need {nodes} nodes of {size.name}; the others would stay Pending",
                fix=f"at least {nodes}",
            )
        )
    min_nodes = nodes if pool.min_nodes is None else pool.min_nodes
    return GpuPoolPlan(size=size, nodes=nodes, min_nodes=min_nodes, max_nodes=max_nodes)


def _offer(room: placement.Allocatable, resource: str) -> str:
    return {
        "nvidia.com/gpu": f"{room.gpus} GPUs",
        "cpu": f"{room.cpu_millicores / 1000:g} CPUs",
        "memory": f"{room.memory_mib / 1024:.0f} GiB",
        "hugepages-2Mi": f"{room.huge_pages_mib} MiB of huge pages",
    }[resource]


def _redis_sku(settings: StackSettings, problems: list[Problem]) -> str | None:
    cache = settings.caching.l3_cache
    if not cache.enabled:
        return None
    if settings.redis.sku:
        return settings.redis.sku
    try:
        return smallest_sku(cache.size.gib)
    except ValueError as error:
        problems.append(
            Problem(key="caching.l3Cache.size", value=cache.size, consequence=str(error), fix="ask for less, or name a redis.sku")
        )
        return None


def _findings(settings: StackSettings, size: GpuSize) -> tuple[Finding, ...]:
    found = []
    if size.retired_on:
        found.append(
            Finding(
                code="SIZE-001",
                severity="warning",
                key="gpuPool.vmSize",
                asked=size.name,
                given=size.name,
                because=f"Azure retired it on {size.retired_on}: existing nodes may live on, new ones cannot be made in public regions. "
                f"To switch: gpuPool: {{vmSize: {CURRENT_SIZE}}}",
                source="MicrosoftDocs/azure-compute-docs articles/virtual-machines/ncv3-retirement.md@11277ad7",
            )
        )
    asked = settings.shard.node_selector.get(placement.INSTANCE_TYPE, size.name)
    if asked != size.name:
        found.append(
            Finding(
                code="PLACE-001",
                severity="warning",
                key=f"shard.nodeSelector.{placement.INSTANCE_TYPE}",
                asked=asked,
                given=size.name,
                because=f"the pool's nodes are {size.name} (gpuPool.vmSize), so with the size asked for every shard would stay Pending",
                source="Kubernetes well-known labels: node.kubernetes.io/instance-type is the node's VM size",
            )
        )
    if not settings.cluster.private and not settings.cluster.authorized_ip_ranges:
        found.append(
            Finding(
                code="REACH-001",
                severity="warning",
                key="cluster.authorizedIpRanges",
                asked="none",
                given="0.0.0.0/0",
                because="every address may reach the API server; who it lets in is up to Entra ID alone. "
                "To close it: the ranges your people and your CI come from, or cluster: {private: true}",
                source="MicrosoftDocs/azure-aks-docs articles/aks/api-server-authorized-ip-ranges.md",
            )
        )
    return tuple(found)
