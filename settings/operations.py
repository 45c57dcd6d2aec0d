"""The guide's monitoring, caching, scripts and targets: the sections `monitoring`, `caching`, `nodeTuning`, `profiling`, `loadTest` and
`targets`.
"""

from typing import Annotated, Literal

from pydantic import Field

from settings.base import Otherwise, Section
from settings.formats import DnsName, Email, Form
from settings.quantities import Between, ByteSize, Duration, KubernetesSize, Percent

Volume = Annotated[KubernetesSize, Between("1Gi", "64Ti", "an Azure disk holds from 1 GiB to 64 TiB")]
Sampling = Annotated[Duration, Between("1ms", "1h", "sampling so often would slow the server down, or so rarely would show nothing")]
Stage = Annotated[Duration, Between("1s", "24h", "a stage of the load test lasts from a second to a day")]
MailServer = Annotated[
    str,
    Form(
        r"[A-Za-z0-9.-]+:[0-9]{1,5}", "is not a mail server, so no mail would be sent", 'a host and a port, such as "smtp.example.com:587"'
    ),
]


class Metric(Section):
    """A metric that Prometheus reads at an interval of its own."""

    name: Literal["gpu_utilization", "gpu_memory_usage", "inference_latency", "throughput_rps", "cpu_utilization", "memory_usage"]
    interval: Annotated[Duration, Between("1s", "1h", "Prometheus would be overloaded, or alerts would come an hour late")]
    """How often Prometheus reads the metric."""


class Receiver(Section):
    """Somebody who hears of alerts. What must stay secret is in a Secret of the namespace monitoring."""

    name: DnsName
    kind: Literal["email", "webhook", "slack", "teams", "pagerduty"]
    secret_name: DnsName
    """The Secret with `password` for `email`, `routing-key` for `pagerduty`, and `url` for the others: HTTPS on port 443."""
    severities: Annotated[
        tuple[Literal["page", "ticket", "heartbeat"], ...], Field(min_length=1), Otherwise("the receiver would hear of nothing")
    ] = ("page", "ticket")
    """`page` must be seen now, `ticket` on the next working day. `heartbeat` is for a service that calls when it has heard nothing for some
    minutes."""
    to: Email | None = None
    """Only for `email`, like the next two."""
    sender: Annotated[Email | None, Field(alias="from")] = None
    """The address that mails come from, which is also the name of the account."""
    smarthost: MailServer | None = None


class Monitoring(Section):
    """What is measured, how often, and how long it is kept."""

    enabled: bool = True
    metrics: tuple[Metric, ...] = ()
    retention: Annotated[Duration, Between("1h", "3650d", "nothing would be left to look at, or more than ten years of it")] = Duration(
        "15d"
    )
    storage: Volume = KubernetesSize("64Gi")
    receivers: tuple[Receiver, ...] = ()
    """Who hears of alerts. By default nobody: they are series in Prometheus (`ALERTS`)."""
    managed_prometheus: bool = False
    """Sends the metrics of the service, the GPUs and the nodes to an Azure Monitor workspace too. Alerts stay with the cluster's own
    Prometheus."""


class L1Cache(Section):
    """The first-level cache: answers in the coordinator's memory."""

    enabled: bool = True
    size: Annotated[ByteSize, Between("1Mi", "4Ti", "no answer would fit, or no node has that memory")] = ByteSize("8Gi")
    ttl: Annotated[Duration, Between("1s", "365d", "answers would expire before anyone asks again, or never")] = Duration("1h")


class L2Cache(Section):
    """The second-level cache: weights on the node's own disk."""

    enabled: bool = True
    size: Annotated[KubernetesSize, Between("1Gi", "64Ti", "no model's weights fit, or no node has that disk")] = KubernetesSize("32Gi")
    persistent: bool = True


class L3Cache(Section):
    """The third-level cache: answers in Redis, shared by all coordinators."""

    enabled: bool = True
    backend: Literal["redis"] = "redis"
    size: Annotated[ByteSize, Between("1Mi", "4Ti", "no answer would fit, or no Azure Managed Redis is that large")] = ByteSize("128Gi")


class Caching(Section):
    """Three levels of caches: answers in memory, weights on the node, answers in Redis."""

    l1_cache: L1Cache = Field(default=L1Cache(), alias="l1Cache")
    l2_cache: L2Cache = Field(default=L2Cache(), alias="l2Cache")
    l3_cache: L3Cache = Field(default=L3Cache(), alias="l3Cache")


class NodeTuning(Section):
    """The kernel settings of the guide's `hugepages-config` script, applied to each GPU node."""

    huge_pages_2mi: Annotated[int, Otherwise("a node has not that much memory to reserve: a page is 2 MiB")] = Field(
        default=1024, ge=0, le=1_000_000, alias="hugePages2Mi"
    )
    """Number of huge pages of 2 MiB on each node; 1024 take 2 GiB of memory."""
    transparent_huge_pages: Literal["always", "madvise", "never"] = "always"
    overcommit_memory: Annotated[int, Field(ge=0, le=2), Otherwise("the kernel knows the modes 0, 1 and 2")] = 1
    overcommit_ratio: Annotated[int, Field(ge=0, le=100), Otherwise("it is a percentage of the node's memory")] = 80
    """Percentage of memory; the kernel reads it only while `overcommitMemory` is 2."""


class CpuProfiling(Section):
    """CPU profiles."""

    enabled: bool = True
    interval: Sampling = Duration("100ms")
    duration: Stage = Duration("60s")


class MemoryProfiling(Section):
    """Memory profiles."""

    enabled: bool = True
    interval: Sampling = Duration("1s")


class GpuProfiling(Section):
    """GPU profilers."""

    enabled: bool = True
    nvprof: bool = True
    nsight: bool = True


class Profiling(Section):
    """The guide's `profiling-config`."""

    enabled: bool = True
    cpu: CpuProfiling = CpuProfiling()
    memory: MemoryProfiling = MemoryProfiling()
    gpu: GpuProfiling = GpuProfiling()


class LoadTest(Section):
    """The settings of the guide's k6 load test."""

    concurrent_users: Annotated[int, Field(ge=1, le=100_000), Otherwise("one k6 pod cannot play that many users")] = 100
    duration: Stage = Duration("300s")
    ramp_up: Stage = Duration("60s")
    ramp_down: Stage = Duration("60s")
    prompt: Annotated[str, Field(min_length=1, max_length=100_000), Otherwise("the service would have nothing to complete")] = (
        "The future of artificial intelligence is"
    )
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000), Otherwise("no model writes that many tokens")] = 100
    temperature: Annotated[float, Field(ge=0, le=2), Otherwise("servers refuse such a temperature, so every request would fail")] = 0.7


class Targets(Section):
    """The targets of the service, which the plan, the load test and the alerts check."""

    latency: Annotated[Duration, Between("1ms", "1h", "every request would fail the check, or none")] = Duration("2s")
    """Time of an answer of `tokens` tokens, at the 95th percentile."""
    tokens: Annotated[int, Field(ge=1, le=1_000_000), Otherwise("no model writes that many tokens")] = 100
    availability: Annotated[Percent, Between("50%", "99.99%", "an alert would wait until most fails, or fire at the first error")] = (
        Percent("99.5%")
    )
    """Share of requests that the service must neither fail nor refuse."""
    throughput_rps: Annotated[float, Field(gt=0, le=1_000_000), Otherwise("the alert would never fire, or always")] = 100.0
    gpu_utilization: Annotated[Percent, Between("0%", "100%", "a GPU is busy between 0 and 100 % of the time")] = Percent("80%")
    gpu_memory: Annotated[Percent, Between("1%", "100%", "a server needs some of its GPU's memory and cannot use more than all of it")] = (
        Percent("90%")
    )
