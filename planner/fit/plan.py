"""What the settings mean: the result types of the planner. Plain values; every count in the deployment is decided here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from planner.catalogue.hardware import Gpu, GpuSize
from planner.catalogue.model_shapes import ModelShape
from planner.fit.memory_model import MemoryFit
from settings import StackSettings


@dataclass(frozen=True, kw_only=True)
class ShardPlan:
    """One stage of a pipeline."""

    index: int
    first_layer: int
    last_layer: int
    """Inclusive."""

    @property
    def layer_range(self) -> str:
        return f"{self.first_layer}-{self.last_layer}"


@dataclass(frozen=True, kw_only=True)
class ShardPodPlan:
    """What one shard's pod asks of its node. Kubernetes quantities as text, so that they render as asked."""

    gpus: int
    requests: dict[str, str]
    limits: dict[str, str]
    huge_pages_mib: int
    """2 MiB huge pages, 0 when unused; already inside `requests` and `limits`."""
    node_selector: dict[str, str]
    """As asked, but for the instance type, which is the pool's."""

    @property
    def set_aside(self) -> dict[str, str]:
        """What the scheduler sets aside for it: the requests, and limits that have none."""
        return self.limits | self.requests


@dataclass(frozen=True, kw_only=True)
class GpuPoolPlan:
    """One node pool: how many nodes of which size. `nodes` is what the planned pods need; min and max bound the autoscaler."""

    size: GpuSize
    zones: tuple[str, ...]
    """Availability zones over which Azure spreads the nodes; a pool of one zone keeps a pipeline together."""
    nodes: int
    min_nodes: int
    max_nodes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PlacedPod:
    """Where one shard's pod goes."""

    pipeline: int
    stage: int
    node: int | None
    """Number of the node, counted through all pools; None when the pod stays Pending."""
    pending_because: tuple[str, ...] = ()
    """In the scheduler's words, such as `Insufficient cpu`."""

    @property
    def name(self) -> str:
        """As the LeaderWorkerSet's controller names it: the leader has no number of its own."""
        return f"zig-ai-shard-{self.pipeline}{f'-{self.stage}' if self.stage else ''}"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something the plan has to say about a setting. Its code has an entry in docs/findings.md."""

    code: str
    severity: Literal["info", "warning"]
    outcome: Literal["adjusted", "translated", "not supported", "noted"]
    key: str
    """As the user types it; a key of `settings.flatten`."""
    asked: str
    given: str
    because: str
    """A clause without a capital or a full stop, with the figures."""
    source: str


@dataclass(frozen=True, kw_only=True)
class WeightsPlan:
    """Where the model's weights are, and where they come from."""

    source: str | None
    """What fetches them into the weight storage; None when someone puts them there."""
    folder: str
    """In the weight storage. Of fetched weights it carries the source's hash: another source is another folder, which pods name only
    once it is complete, while those of the old version go on with theirs."""
    file: str | None
    """Name in the folder of the one file that the engine reads; None when it reads the folder."""
    safetensors_only: bool
    """Whether the engine loads safetensors and nothing else, so that a model without any is not worth fetching."""
    gib: float
    """What the files take."""
    fetch_wait_s: float
    """How long a deployment waits for the fetch."""
    on_node: bool
    """Whether each node keeps a copy on its own disk, which its pods read; otherwise they read the weight storage."""
    storage_mb_s: float
    """What one node gets of the weight storage, at best."""
    load_mb_s: float
    """What all pods of a node get at their start, of its disk or of the storage."""
    copy_s: float
    """From the storage to a node, at that rate."""
    load_s: float
    """For all pods of a node together, at that rate."""


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """When the autoscaler adds a pipeline. Requests in flight: those that run and those that wait."""

    requests_per_pipeline: int
    """On average over the pipelines; beyond that another one is added."""
    keeps: int
    """The most that one pipeline answers within `targets.latency`, by the slow end of the estimate; 0 when not even one request."""
    problem: str
    """Why it keeps the target with none; empty where it does with some."""
    fallback_pipelines: int | None
    """The least that run while the autoscaler cannot ask Prometheus; None where the number stays as it is."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    settings: StackSettings
    """What is deployed: as asked, but for what `sizing.mode: fitted` adjusted. Everything after the planner reads these."""
    size: GpuSize
    gpu: Gpu
    """As pods see it: a part of one when `gpuPool.mig` cuts it."""
    shape: ModelShape
    shards: tuple[ShardPlan, ...]
    """The stages of one pipeline, in order."""
    pipelines: int
    pod: ShardPodPlan
    gpu_pools: tuple[GpuPoolPlan, ...]
    pipeline_in_one_zone: bool
    """Whether all shards of a pipeline are kept in one zone, and pipelines are spread over zones."""
    pods: tuple[PlacedPod, ...]
    memory: MemoryFit
    """Of the stage that holds most."""
    requests_at_once: int
    """That one pipeline runs; further ones wait. Where requests share its cache, of as many tokens as the load test's."""
    request_tokens: int
    """Prompt and answer together, of the longest request that a pipeline takes."""
    waiting_requests: int
    """That may wait in one coordinator which is a proxy."""
    redis_sku: str | None
    """Azure Managed Redis SKU; None when the third cache level is off."""
    weights: WeightsPlan
    scaling: Scaling | None
    """None where pipelines are as many as planned, whatever the load."""
    findings: tuple[Finding, ...]

    @property
    def nodes(self) -> int:
        """Nodes of all GPU pools together."""
        return sum(pool.nodes for pool in self.gpu_pools)

    @property
    def gpus_paid(self) -> int:
        return self.nodes * self.size.gpus

    @property
    def gpus_used(self) -> int:
        """GPUs that a placed pod holds."""
        return self.pod.gpus * sum(pod.node is not None for pod in self.pods)

    @property
    def usd_per_hour(self) -> float | None:
        """Of the GPU nodes; None when the catalogue has no price for the size in the region."""
        return None if self.size.usd_per_hour is None else self.nodes * self.size.usd_per_hour

    @property
    def usd_per_hour_bounds(self) -> tuple[float, float] | None:
        """The least and the most that the GPU pools' autoscalers let the nodes cost; None without a price."""
        price = self.size.usd_per_hour
        if price is None:
            return None
        return price * sum(pool.min_nodes for pool in self.gpu_pools), price * sum(pool.max_nodes for pool in self.gpu_pools)
