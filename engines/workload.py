"""What an engine turns a plan into: containers in Kubernetes' terms, without a Kubernetes library.

`infra/kubernetes/coordinator.py` and `shards.py` place these into pods; nothing there asks which engine it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from engines.metrics import table
from planner.catalogue import redis_skus
from planner.fit.plan import Plan
from settings import StackSettings
from settings.account import Effect


@dataclass(frozen=True, kw_only=True)
class Port:
    name: str
    """An IANA service name of at most 15 characters: `http`, `https`, `metrics`, `shard`."""
    number: int
    on_service: int | None = None
    """The number on a Service, where that differs from the container's."""

    @property
    def service_number(self) -> int:
        return self.on_service or self.number


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A command in the container where there is one, else an HTTP GET when `path` is set, otherwise a TCP connect."""

    port: str
    path: str | None = None
    command: tuple[str, ...] = ()
    period_seconds: int = 10
    timeout_seconds: int = 5
    failure_threshold: int = 3


@dataclass(frozen=True, kw_only=True)
class SecretKey:
    """One key of a Secret in the service's namespace."""

    secret: str
    key: str


@dataclass(frozen=True, kw_only=True)
class Env:
    """An environment variable: a literal, a pod field (downward API) such as `metadata.name`, or a Secret's key."""

    name: str
    value: str | None = None
    field_path: str | None = None
    secret_key: SecretKey | None = None

    def __post_init__(self) -> None:
        if sum(source is not None for source in (self.value, self.field_path, self.secret_key)) != 1:
            raise ValueError(f"environment variable {self.name}: give exactly one of a value, a field path and a Secret's key")


@dataclass(frozen=True, kw_only=True)
class ConfigFile:
    """A file under `Server.config_dir`; a change of its content rolls the pods."""

    name: str
    content: str


@dataclass(frozen=True, kw_only=True)
class MountedSecret:
    """Some keys of a Secret in the service's namespace, as files; the kubelet renews them when the Secret changes."""

    secret: str
    folder: str
    keys: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Cache:
    """Writable scratch of one pod, on a disk."""

    path: str
    size: str
    """A Kubernetes quantity."""
    persistent: bool
    """Keeps its content when the pod is replaced."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """The container of a role. It runs with a read-only root: `/tmp` and what the fields below mount is all it can write."""

    image: str
    """A full reference: the engine has put the stack's registry in front where settings named no host."""
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: tuple[Env, ...] = ()
    config_files: tuple[ConfigFile, ...]
    ports: tuple[Port, ...]
    startup: Probe
    liveness: Probe
    readiness: Probe
    requests: dict[str, str] = field(default_factory=dict)
    limits: dict[str, str] = field(default_factory=dict)
    run_as_user: int = 10001
    """Numeric, so that the kubelet can check `runAsNonRoot`."""
    pre_stop_seconds: int = 0
    """Keeps serving this long after the pod has left the endpoints, so that no new request meets a closed port and open ones end."""
    config_dir: str = "/app/config"
    profiling_dir: str | None = None
    """Where `profiling.yaml` is mounted; None when the role is not profiled."""
    weights_dir: str | None = None
    """Where the weight storage is mounted read-only; None when the role needs none."""
    node_weights_dir: str | None = None
    """Where the node's own copy of the model's folder is mounted read-only; None when there is none, or the role needs none."""
    huge_pages_dir: str | None = None
    """Where the 2 MiB huge pages of `requests` are mounted as hugetlbfs; None when there are none."""
    shared_memory: str | None = None
    """Size of `/dev/shm`; it counts against the memory limit. None leaves the container runtime's 64 MiB."""
    secrets: dict[str, MountedSecret] = field(default_factory=dict)
    """The Secrets that are mounted, by a name for the volume."""
    cache: Cache | None = None
    metrics_port: str = "metrics"
    """The name of the port on which it answers `Workload.metrics_path`."""

    def port(self, name: str) -> int:
        """Returns the number of the port of that name. Raises KeyError when there is none."""
        return {port.name: port.number for port in self.ports}[name]


Role = Literal["coordinator", "shard", "worker"]
"""`worker` is a shard that does not lead its pipeline, where such shards run another command."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """A Prometheus metric, and which of its series are meant."""

    name: str
    """The metric's name; a histogram's without `_bucket`."""
    where: str = ""
    """PromQL label matchers, in braces."""
    unit: float = 1.0
    """What a histogram of times counts in, in seconds: 0.001 for milliseconds."""
    refused: str = ""
    """PromQL of the requests per second, over five minutes, that a histogram of times has counted and that were refused at once; empty
    where it counts none."""


GUIDES_LATENCY = Series(name=table("zig_ai")["duration"].name)
GUIDES_REQUESTS = Series(name=table("zig_ai")["requests"].name)
"""The two metrics that the guide queries."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    coordinator: Server
    shard: Server
    worker: Server | None = None
    """Shards of a pipeline that do not lead it; None when all are alike."""
    serving_ports: tuple[Port, ...]
    """The ports of the coordinator's Service; each is also a port of the coordinator's container, under the same name. Clients send
    requests to the first, and its name is the scheme."""
    shards_talk: bool = True
    """Whether the shards of a pipeline send one another anything; false where one shard is a pipeline."""
    shards_choose_ports: bool = False
    """Whether they do so on ports of their own choice (Ray, NCCL): all ports are then open, within a pipeline only."""
    leaders_port: Port | None = None
    """The port of the shards' container where the coordinator finds pipelines by `Endpoints.leaders_dns`; None when it does not."""
    inference_path: str
    """The path to which clients POST, for the load test."""
    metrics_path: str = "/metrics"
    load_query: str
    """PromQL of the requests in all pipelines together, waiting or being served, for the autoscaler."""
    latency: Series
    """The histogram of the time that a request takes."""
    requests: Series
    """The counter of requests."""
    shards_measure: bool = True
    """Whether shards say `latency` and `requests` too; otherwise coordinators alone do, and shards need not be read as often."""
    signals: Mapping[str, str] = field(default_factory=dict)
    """PromQL of what else the servers say, by its key in `engines.metrics.RECORDED`."""
    effects: tuple[Effect, ...] = ()
    """What becomes of every setting that the servers answer, at places whose `kind` is a role and whose `path` is in that role's container
    as Kubernetes spells it; in addition `config_files[NAME]`, `secrets[VOLUME].secret`, `cache.size` and `cache.persistent` of `Server`."""

    def server(self, role: Role) -> Server:
        """Returns the role's container. Raises LookupError for a role that this workload does not have."""
        server = {"coordinator": self.coordinator, "shard": self.shard, "worker": self.worker}[role]
        if server is None:
            raise LookupError(role)
        return server

    def __post_init__(self) -> None:
        for port in self.serving_ports:
            if self.coordinator.port(port.name) != port.number:
                raise ValueError(
                    f"service port {port.name} is {port.number}, the coordinator listens on {self.coordinator.port(port.name)}"
                )


@dataclass(frozen=True, kw_only=True)
class Endpoints:
    """The names that rendered files refer to. All are fixed before anything is created, so they are plain text."""

    namespace: str
    registry: str
    """The login server of the stack's own registry; images without a registry host are taken from it."""
    shard_dns: tuple[str, ...]
    """One DNS name a shard, in pipeline then stage order."""
    leaders_dns: str
    """One DNS name whose addresses are the first shards of all pipelines that are ready and not about to end."""
    redis_host: str | None
    """None when the third cache level is off."""
    redis_port: int = redis_skus.PORT


class Engine(Protocol):
    """Each folder of an engine has one as `ENGINE`; `engines.ENGINES` lists them by the name that settings use."""

    name: str

    def render(self, settings: StackSettings, plan: Plan, endpoints: Endpoints) -> Workload: ...
