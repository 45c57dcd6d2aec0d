"""The section `shard`: the pod of one inference shard, as the guide has it."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from settings.base import Otherwise, Section
from settings.formats import DnsName, EnvName, LabelKey, LabelValue
from settings.quantities import Between, Cpu, Duration, KubernetesSize, problem_error

Threads = Annotated[
    int, Field(ge=1, le=1024), Otherwise("no node has that many CPUs, so the server would spend its time switching between threads")
]
Gpus = Annotated[int, Field(ge=0, le=16), Otherwise("no Azure size has that many GPUs: the pod could never be placed")]


class ResourceList(Section):
    """A Kubernetes resource list."""

    nvidia_gpu: Gpus | None = Field(default=None, alias="nvidia.com/gpu")
    memory: Annotated[KubernetesSize, Between("1Mi", "32Ti", "no container can run in that much memory")] | None = None
    cpu: Annotated[Cpu, Between("1m", "1024", "no node has that many CPUs")] | None = None


class Resources(Section):
    """The resource requests and limits of a container."""

    requests: ResourceList = ResourceList()
    """What the scheduler reserves."""
    limits: ResourceList = ResourceList()
    """What the container must not exceed."""


class ShardLimits(ResourceList):
    """The resource limits of a shard, which has one GPU by default."""

    nvidia_gpu: Gpus | None = Field(default=1, alias="nvidia.com/gpu")
    """GPUs of a shard. Kubernetes uses the limit as the request too."""


class ShardResources(Resources):
    """The resource requests and limits of a shard."""

    limits: ShardLimits = ShardLimits()


class SecretKeyRef(Section):
    """A key of a Kubernetes Secret."""

    name: DnsName
    """The Secret's name, in the service's namespace."""
    key: Annotated[str, Field(min_length=1, max_length=253), Otherwise("a Secret has no such key")]


class EnvSource(Section):
    """The source of a variable's value."""

    secret_key_ref: SecretKeyRef


class EnvVar(Section):
    """An environment variable: either a plain `value`, or `valueFrom` a Secret."""

    name: EnvName
    value: str | None = None
    value_from: EnvSource | None = None

    @model_validator(mode="after")
    def _one_source(self) -> "EnvVar":
        if (self.value is None) == (self.value_from is None):
            which = "neither value nor valueFrom" if self.value is None else "both value and valueFrom"
            raise problem_error(f"has {which}, so Kubernetes would refuse the pod", "exactly one of value and valueFrom")
        return self


class TopologySpreadConstraint(Section):
    """A Kubernetes topology spread constraint."""

    max_skew: Annotated[int, Field(ge=1, le=1000), Otherwise("Kubernetes refuses a skew below 1")] = 1
    topology_key: LabelKey
    when_unsatisfiable: Literal["DoNotSchedule", "ScheduleAnyway"]


class ShardConfig(Section):
    """The tuning of a shard's server."""

    gpu_memory_fraction: Annotated[
        float,
        Field(gt=0, le=1),
        Otherwise("with that share of its GPU's memory, a server runs out of memory while it loads the model"),
    ] = 0.95
    """Share of each GPU's memory that the server may use, from 0 to 1."""
    allow_gpu_memory_growth: bool = True
    """Takes GPU memory when it is needed instead of all at start."""
    enable_mixed_precision: bool = True
    memory_mapping: bool = True
    """Maps the weight files instead of reading them into memory."""
    use_huge_pages: bool = True
    """Uses the huge pages that `nodeTuning.hugePages2Mi` reserves on the node."""
    memory_allocator: Literal["jemalloc", "tcmalloc", "mimalloc", "glibc"] = "jemalloc"
    worker_threads: Threads = 24
    io_threads: Threads = 8
    thread_pinning: bool = True
    thread_scheduler: Literal["fifo", "rr", "other"] = "fifo"
    serialization_format: Literal["protobuf", "flatbuffers", "json"] = "protobuf"
    compression_enabled: bool = True
    compression_algorithm: Literal["lz4", "zstd", "gzip", "none"] = "lz4"
    network_timeout: Annotated[
        Duration, Between("1ms", "1h", "a shard would give up before its neighbour can answer, or wait forever for a dead one")
    ] = Duration("30s")
    retry_attempts: Annotated[int, Field(ge=0, le=20), Otherwise("retries would keep a dead shard's requests alive for minutes")] = 3


class Shard(Section):
    """The pod of a shard: its resources, the tuning of its server, and where it may run."""

    resources: ShardResources = ShardResources()
    config: ShardConfig = ShardConfig()
    env: tuple[EnvVar, ...] = ()
    node_selector: dict[LabelKey, LabelValue] = Field(default_factory=dict)
    topology_spread_constraints: tuple[TopologySpreadConstraint, ...] = ()
