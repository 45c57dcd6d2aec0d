"""The planner's results as plain values. They decide every count in the deployment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from planner.catalogue.hardware import Gpu, GpuSize
from planner.catalogue.model_shapes import ModelShape
from planner.fit.memory_model import MemoryFit
from settings import StackSettings
from settings.account import Outcome
from settings.error_messages import SettingPath, key_text

NOT_SET = "not set"
"""Stands for the value of a setting that a stack leaves out and that has no default."""


@dataclass(frozen=True, kw_only=True)
class ShardPlan:
    """One stage of a pipeline."""

    index: int
    first_layer: int
    last_layer: int
    """Inclusive."""

    @property
    def layer_range(self) -> str:
        """The layers as text: `0-9`."""
        return f"{self.first_layer}-{self.last_layer}"


@dataclass(frozen=True, kw_only=True)
class ShardPodPlan:
    """What one shard's pod requests of its node. Kubernetes quantities stay text, so that they are rendered as they were written."""

    gpus: int
    requests: dict[str, str]
    limits: dict[str, str]
    huge_pages_mib: int
    """MiB in huge pages of 2 MiB, 0 when unused. `requests` and `limits` include them."""
    node_selector: dict[str, str]
    """The node selector as written, except the instance type, which is the pool's."""

    @property
    def set_aside(self) -> dict[str, str]:
        """What the scheduler reserves for the pod: its requests, and the limits of resources without a request."""
        return self.limits | self.requests


@dataclass(frozen=True, kw_only=True)
class GpuPoolPlan:
    """One node pool. `nodes` is what the planned pods need; `min_nodes` and `max_nodes` are the autoscaler's bounds."""

    size: GpuSize
    zones: tuple[str, ...]
    """The availability zones over which Azure spreads the nodes. A pool of one zone keeps a pipeline together."""
    nodes: int
    min_nodes: int
    max_nodes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PlacedPod:
    """Where one shard's pod goes."""

    pipeline: int
    stage: int
    node: int | None
    """The node's number, counted through all pools; None when the pod stays Pending."""
    pending_because: tuple[str, ...] = ()
    """The reasons in the scheduler's words, such as `Insufficient cpu`; empty for a pod that is placed."""

    @property
    def name(self) -> str:
        """The pod's name as the LeaderWorkerSet's controller gives it: the leader has no number of its own."""
        return f"zig-ai-shard-{self.pipeline}{f'-{self.stage}' if self.stage else ''}"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What the planner says about one setting. A rule yields it; `planner.rules.rule.completed` fills in `asked` and `given`."""

    code: str
    """Has an entry in docs/findings.md."""
    severity: Literal["info", "warning"] = "warning"
    outcome: Outcome
    path: SettingPath
    """The setting's place in the stack file. Items of named lists go by their name, as `settings.flatten.with_values` takes them."""
    value: Any = None
    """The value that the setting must have instead; None where it keeps its own."""
    asked: str = ""
    """The setting's value in the stack file, or `NOT_SET`."""
    given: str = ""
    """The value that is deployed. A rule sets it only where something else than a value of this setting is honoured."""
    because: str
    """The reason: a clause without a capital or a full stop, with the figures of the stack at hand."""
    source: str

    @property
    def key(self) -> str:
        """The setting as the stack file spells it: a key of `settings.flatten.leaves`."""
        return key_text(self.path)

    def as_json(self) -> dict[str, str]:
        """The finding as `plan --json` prints it."""
        names = ("code", "severity", "outcome", "key", "asked", "given", "because", "source")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, kw_only=True)
class WeightsPlan:
    """Where the model's weights are, and where they come from."""

    source: str | None
    """The source from which a job fetches them into the weight storage; None when somebody uploads them."""
    folder: str
    """The folder in the weight storage. The name of fetched weights ends with the source's hash: another source gets another folder, which
    pods use once it is complete, while pods of the old version go on with theirs."""
    file: str | None
    """The name of the single file in the folder that the engine reads; None when it reads the folder."""
    safetensors_only: bool
    """Whether the engine loads only safetensors, so that a model without any is not worth fetching."""
    gib: float
    """The size of the files."""
    fetch_wait_s: float
    """How long a deployment waits for the fetch."""
    on_node: bool
    """Whether each node keeps a copy on its own disk for its pods; otherwise they read the weight storage."""
    storage_mb_s: float
    """The highest rate at which one node can read the weight storage."""
    load_mb_s: float
    """The rate that all pods of a node share at their start, from its disk or from the storage."""
    copy_s: float
    """Seconds from the storage to a node's disk, at that rate."""
    load_s: float
    """Seconds until all pods of a node have read their weights, at that rate."""


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """When the autoscaler adds a pipeline. Requests in flight are those that run and those that wait."""

    requests_per_pipeline: int
    """The threshold: with more requests in flight for each pipeline on average, another one is added."""
    keeps: int
    """The most requests in flight that one pipeline answers within `targets.latency`, by the slow end of the estimate; 0 for none."""
    problem: str
    """The reason why `keeps` is 0; empty where it is not."""
    fallback_pipelines: int | None
    """The fewest pipelines that run while the autoscaler cannot reach Prometheus; None where their number then stays as it is."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that the planner decides about a stack."""

    settings: StackSettings
    """What is deployed: the stack file's settings with the changes that `sizing.mode: fitted` makes. All later code reads these."""
    size: GpuSize
    gpu: Gpu
    """The GPU as pods see it: one instance when `gpuPool.mig` partitions it."""
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
    """The memory of the pipeline stage that has least room for its cache."""
    requests_at_once: int
    """Requests that one pipeline runs at once; further ones wait. Where they share its cache, each is as long as the load test's."""
    request_tokens: int
    """Tokens of the longest request that a pipeline admits, prompt and answer together."""
    waiting_requests: int
    """Requests that may wait in one coordinator, where it is a proxy."""
    redis_sku: str | None
    """The Azure Managed Redis SKU; None when the third cache level is off."""
    weights: WeightsPlan
    scaling: Scaling | None
    """None where the number of pipelines is fixed."""
    findings: tuple[Finding, ...]

    @property
    def nodes(self) -> int:
        """The nodes of all GPU pools together."""
        return sum(pool.nodes for pool in self.gpu_pools)

    @property
    def gpus_paid(self) -> int:
        """All GPUs of the planned nodes."""
        return self.nodes * self.size.gpus

    @property
    def gpus_used(self) -> int:
        """The GPUs that placed pods hold."""
        return self.pod.gpus * sum(pod.node is not None for pod in self.pods)

    @property
    def usd_per_hour(self) -> float | None:
        """The price of the GPU nodes; None when the catalogue has no price for the size in the region."""
        return None if self.size.usd_per_hour is None else self.nodes * self.size.usd_per_hour

    @property
    def usd_per_hour_bounds(self) -> tuple[float, float] | None:
        """The lowest and the highest price of the nodes that the GPU pools' autoscalers allow; None without a price."""
        price = self.size.usd_per_hour
        if price is None:
            return None
        return price * sum(pool.min_nodes for pool in self.gpu_pools), price * sum(pool.max_nodes for pool in self.gpu_pools)
