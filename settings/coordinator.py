"""The section `coordinator`: the front door of the service, as the guide has it."""

from typing import Annotated, Literal

from pydantic import Field

from settings.base import Otherwise, Section
from settings.formats import LabelKey
from settings.quantities import Between, ByteSize, Cpu, Duration, KubernetesSize
from settings.shard import ResourceList, Resources

Connections = Annotated[int, Field(ge=1, le=1_000_000), Otherwise("a process can hold one to a million connections")]
Buffer = Annotated[
    ByteSize, Between("1KB", "64MB", "each connection holds two such buffers: the coordinator would stall or run out of memory")
]


SHORTEST_REQUEST_TOKENS = 16
"""The least that a request may be bounded to, prompt and answer together."""


class DynamicBatching(Section):
    """Combines requests that arrive close together into one batch."""

    enabled: bool = True
    max_batch_size: Annotated[int, Field(ge=1, le=4096), Otherwise("no GPU holds a batch of that size")] = 32
    batch_timeout: Annotated[Duration, Between("0ms", "60s", "every request would wait that long for others to join it")] = Duration("10ms")
    adaptive_batching: bool = True
    """Adapts batches to the size of the requests."""
    priority_batching: bool = True


class CoordinatorConfig(Section):
    """Connections, buffers, load balancing and batching of the coordinator."""

    max_connections: Connections = 2000
    connection_pool_size: Connections = 500
    keep_alive_timeout: Annotated[Duration, Between("1s", "1h", "idle connections would close at once, or never")] = Duration("60s")
    read_buffer_size: Buffer = ByteSize("64KB")
    write_buffer_size: Buffer = ByteSize("64KB")
    load_balancing_strategy: Literal["least_connections", "round_robin", "random"] = "least_connections"
    health_check_interval: Annotated[
        Duration,
        Between("100ms", "5m", "the shards would be busy answering health checks, or a failed shard would receive traffic for minutes"),
    ] = Duration("5s")
    request_routing: Literal["round_robin_weighted", "round_robin", "least_loaded"] = "round_robin_weighted"
    dynamic_batching: DynamicBatching = DynamicBatching()


class CoordinatorLimits(Section):
    """Limits beyond which a coordinator refuses requests, so that it keeps running."""

    request_size: Annotated[ByteSize, Between("1KB", "1GB", "no prompt would fit, or a few requests would fill its memory")] = ByteSize(
        "1MB"
    )
    """Largest size of a request; larger ones are answered with 413."""
    request_tokens: (
        Annotated[int, Field(ge=SHORTEST_REQUEST_TOKENS, le=100_000_000), Otherwise("no prompt with its answer would fit")] | None
    ) = None
    """Most tokens of a request, prompt and answer together. A longer prompt is refused, and a longer answer ends there. A lower limit lets
    more requests run at once in the same cache. By default as many as the model reads and the cache holds."""
    queued_requests: Annotated[int, Field(ge=1, le=1_000_000), Otherwise("every request would be refused, or wait for hours")] = 1000
    """Most requests that may wait, beyond those that the pipelines run at once; further ones are answered with 503 and Retry-After."""
    requests_per_minute_per_client: (
        Annotated[int, Field(ge=1, le=1_000_000), Otherwise("no client would get an answer, or none would ever be limited")] | None
    ) = None
    """Most requests per minute of an API key, or of an address if no key is required; further ones are answered with 429 and Retry-After.
    By default there is no limit. Each coordinator counts separately, and the load balancer keeps a client at one of them."""


class CoordinatorService(Section):
    """The Kubernetes Service in front of the coordinator."""

    type: Literal["LoadBalancer", "ClusterIP"] = "LoadBalancer"
    annotations: dict[LabelKey, str] = Field(default_factory=dict)


class Coordinator(Section):
    """The front door: connections, batching, and the Service in front of it."""

    config: CoordinatorConfig = CoordinatorConfig()
    limits: CoordinatorLimits = CoordinatorLimits()
    service: CoordinatorService = CoordinatorService()
    replicas: Annotated[int, Field(ge=1, le=100), Otherwise("nothing would answer, or far more than the shards can feed")] = 2
    resources: Resources = Resources(
        requests=ResourceList(cpu=Cpu("2"), memory=KubernetesSize("12Gi")),
        limits=ResourceList(memory=KubernetesSize("12Gi")),
    )
    """The first-level cache (`caching.l1Cache.size`) lives in this memory."""
