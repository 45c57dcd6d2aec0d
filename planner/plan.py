"""What the settings mean: the result types of the planner. Plain values; every count in the deployment is decided here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class GpuSize:
    """A GPU VM size of the catalogue."""

    name: str
    gpu: str
    gpus: int
    gpu_memory_gb: float
    vcpus: int
    ram_gib: float
    temp_disk_gib: int | None
    quota_family: str
    retired_on: str | None
    """ISO date since when no new VM of this size can be made in public regions."""
    usd_per_hour: float | None
    """Pay as you go, Linux, in the stack's region; None when the catalogue has no price."""


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


@dataclass(frozen=True, kw_only=True)
class GpuPoolPlan:
    """How many nodes of which size. `nodes` is what the planned pods need; min and max bound the autoscaler."""

    size: GpuSize
    nodes: int
    min_nodes: int
    max_nodes: int


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something the plan has to say about a setting."""

    code: str
    severity: Literal["info", "warning", "error"]
    key: str
    asked: str
    given: str
    because: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    shards: tuple[ShardPlan, ...]
    """The stages of one pipeline, in order."""
    pipelines: int
    pod: ShardPodPlan
    gpu_pool: GpuPoolPlan
    redis_sku: str | None
    """Azure Managed Redis SKU; None when the third cache level is off."""
    findings: tuple[Finding, ...]
