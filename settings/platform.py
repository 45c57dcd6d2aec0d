"""Where the service runs and how it is operated: the sections `images`, `sizing`, `azure`, `cluster`, `gpuPool`, `redis`, `autoscaling`,
`rollout`, `exposure` and `budget`, which this project adds to the guide.
"""

from typing import Annotated, Literal

from pydantic import Field

from settings.base import Otherwise, Section
from settings.formats import (
    CallerCidr,
    Cidr,
    DnsName,
    Email,
    Form,
    Guid,
    ImageReference,
    KubernetesMinor,
    Location,
    PublicCidr,
    VmSize,
    WholeNumberOrText,
    Zone,
)
from settings.quantities import Between, Duration
from settings.sharding import MOST_PIPELINES, Pipelines

Nodes = Annotated[int, Field(ge=1, le=1000), Otherwise("an AKS node pool holds from 1 to 1000 nodes")]
PipelinesInRollout = Annotated[int, Field(ge=0, le=MOST_PIPELINES), Otherwise(f"there are no more than {MOST_PIPELINES} pipelines")]


class Images(Section):
    """Container images. An image without a registry host is pulled from the stack's own registry. A tag can be pushed again, which
    `name:tag@sha256:...` rules out."""

    coordinator: ImageReference | None = None
    """The coordinator's image. By default the engine's."""
    shard: ImageReference | None = None
    """The shards' image. By default the engine's."""
    # Its tag moves, and it is root on every GPU node. docker-library/repo-info repos/debian/remote/13-slim.md@05f354f0 (2026-08-04)
    node_tuning: ImageReference = "docker.io/library/debian:13-slim@sha256:3a39a0592364683e6bab97937b72cad5a8fa6dcbbee90edb3bb48c7f8e94f258"
    """Any image with a shell and `nsenter` (util-linux in Debian); it runs the node's own programs."""
    device_plugin: ImageReference = "nvcr.io/nvidia/k8s-device-plugin:v0.18.2"
    gpu_metrics: ImageReference = "nvcr.io/nvidia/k8s/dcgm-exporter:4.5.3-4.8.2-distroless"
    prometheus: ImageReference = "quay.io/prometheus/prometheus:v3.13.3"
    alertmanager: ImageReference = "quay.io/prometheus/alertmanager:v0.31.1"
    load_test: ImageReference = "docker.io/grafana/k6:1.8.1"
    # Python 3.13.14. docker-library/repo-info repos/python/remote/3.13-slim.md@2986dca3 (2026-08-05)
    weights: ImageReference = "docker.io/library/python:3.13-slim@sha256:9662417aace5ae7b8e2609cce472b72a8958e134ba372808abe9cc1a0c0125e6"
    """Any image with Python 3.11 or newer; it runs the program that downloads `model.source`."""


class Sizing(Section):
    """What happens to settings that do not fit the hardware."""

    mode: Literal["fitted", "strict", "verbatim"] = "fitted"
    """`fitted` adjusts what does not fit and reports it, `strict` refuses it, `verbatim` deploys what was written and reports it."""


class Network(Section):
    """Address ranges of the network. They are fixed when the stack is created."""

    address_space: Cidr = "10.64.0.0/16"
    nodes_cidr: Cidr = "10.64.0.0/22"
    private_endpoints_cidr: Cidr = "10.64.8.0/24"
    builders_cidr: Cidr | None = None
    """Where the machines are that deploy a private cluster, push its images and upload its weights. A range of the address space becomes a
    subnet for them; another one is that of a network which you have peered with this one."""
    pod_cidr: Cidr = "10.244.0.0/16"
    """Overlay addresses of pods; each node takes a /24."""
    service_cidr: Cidr = "10.65.0.0/16"


class Azure(Section):
    """The region, names, tags and network in Azure."""

    location: Location = "eastus"
    name_prefix: Annotated[
        str,
        Form(
            r"[a-z](?:[a-z0-9-]*[a-z0-9])?",
            "is not a valid start of an Azure resource's name",
            "lower-case letters, digits and '-', starting with a letter and ending with a letter or digit",
        ),
    ] = "zig-ai"
    """The first part of every Azure name; the stack's name is the second."""
    name_suffix: (
        Annotated[
            str,
            Form(
                r"[a-z0-9]{3,8}", "is not a valid end of a name that must be unique in all of Azure", "3 to 8 lower-case letters and digits"
            ),
        ]
        | None
    ) = None
    """The end of names that must be unique in all of Azure (registry, storage account, Redis). By default a hash of prefix, stack and
    region. Set it if Azure reports that one of these names is taken."""
    tags: dict[str, str] = Field(default_factory=dict)
    """Tags of every resource that can have tags."""
    network: Network = Network()
    protect: bool = False
    """Refuses to delete the cluster, Redis and the weights until `pulumi state unprotect`."""


class SystemPool(Section):
    """The nodes that run everything except the shards."""

    vm_size: VmSize = "Standard_D8ds_v5"
    """At least 4 vCPUs. It is fixed when the stack is created, unless the pool is exchanged by hand (docs/operations.md)."""
    min_nodes: Nodes = 1
    max_nodes: Nodes = 3


class MaintenanceWindow(Section):
    """The weekly window for upgrades of nodes and cluster, in UTC."""

    day: Literal["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"] = "Sunday"
    start: Annotated[str, Form(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]", "is not a time of day", 'a time such as "02:00"')] = "02:00"
    hours: Annotated[int, Field(ge=4, le=24), Otherwise("AKS accepts windows of 4 to 24 hours")] = 4


class Cluster(Section):
    """The AKS cluster around the GPU pool."""

    kubernetes_version: KubernetesMinor = "1.36"
    """The minor version. AKS chooses the patch and keeps it up to date in `cluster.maintenance`."""
    tier: Literal["Free", "Standard", "Premium"] = "Standard"
    """The AKS tier. Free has no uptime commitment; Premium adds long-term support."""
    private: bool = False
    """Gives the cluster no public API server; Pulumi must then run inside the network. It is fixed when the stack is created."""
    authorized_ip_ranges: Annotated[
        tuple[PublicCidr, ...],
        Field(max_length=199),
        Otherwise("AKS accepts at most 200 authorised ranges, and one of them is the address that the nodes themselves come from"),
    ] = ()
    """Public address ranges that may reach the public API server; without any it is open to all."""
    admin_group_object_ids: tuple[Guid, ...] = ()
    """Entra groups whose members administer the cluster."""
    encryption_at_host: bool = False
    """Also encrypts the temporary disks of all nodes and the caches of their other disks. The subscription must have registered the feature
    EncryptionAtHost, and it is fixed when the stack is created, unless the system pool is exchanged by hand (docs/operations.md)."""
    system_pool: SystemPool = SystemPool()
    zones: tuple[Zone, ...] = ("1", "2", "3")
    """Zones of the system pool, of the outbound address and of the storage. They are fixed when the stack is created."""
    maintenance: MaintenanceWindow = MaintenanceWindow()
    control_plane_logs: bool = True
    """Keeps the API server's audit log of changes, its sign-ins, and what the autoscaler and the controllers decided in Log
    Analytics for 30 days."""
    leader_worker_set_chart: Annotated[str, Field(min_length=1), Otherwise("the shards' controller could not be installed")] = (
        "oci://registry.k8s.io/lws/charts/lws"
    )
    """The LeaderWorkerSet controller's Helm chart: an OCI address, or a folder with a copy."""
    leader_worker_set_version: Annotated[
        str,
        Form(
            r"[0-9]+\.[0-9]+\.[0-9]+(?:-[0-9A-Za-z.-]+)?",
            "is not a version of the chart, and the tag of the controller's image is made of it",
            'a version without a "v", such as "0.9.0"',
        ),
    ] = "0.9.0"


class GpuPool(Section):
    """The nodes that run only the shards."""

    vm_size: VmSize = "Standard_NC24s_v3"
    min_nodes: Annotated[int, Field(ge=0, le=1000), Otherwise("an AKS node pool holds from 0 to 1000 nodes")] | None = None
    """Fewest nodes. By default as many as the plan needs."""
    max_nodes: Nodes | None = None
    """Most nodes. By default as many as the plan needs, with an autoscaler for its most pipelines."""
    zones: tuple[Zone, ...] = ("1", "2", "3")
    mig: Literal["MIG1g", "MIG2g", "MIG3g", "MIG4g", "MIG7g"] | None = None
    """Divides each GPU into equal parts of this profile, each of which counts as one `nvidia.com/gpu` (A100 and later)."""
    usd_per_hour: Annotated[float, Field(gt=0, le=10_000), Otherwise("no Azure size costs that")] | None = None
    """The price of one node, in place of the catalogue's pay-as-you-go price: of a reservation, of spot, or a newer one."""
    spot: bool = False
    """Uses cheaper nodes, which Azure may take back at 30 seconds' notice."""
    os_disk_gib: Annotated[int, Field(ge=30, le=2048), Otherwise("AKS accepts operating system disks from 30 to 2048 GiB")] = 128
    max_surge: Annotated[
        str,
        Form(
            r"0|[1-9][0-9]{0,3}|(?:100|[1-9][0-9]?)%",
            "is not a number or share of nodes, so AKS would refuse it",
            'nodes or a share in quotes, such as "1" or "33%", or "0" to upgrade without extra nodes',
        ),
    ] = "1"
    """Extra nodes during an upgrade: a number or a share. With 0, which needs no quota, nodes are emptied and upgraded one by one, and a
    pipeline of the node that is upgraded does not run meanwhile."""
    cpu_manager_policy: Literal["none", "static"] = "static"
    topology_manager_policy: Literal["none", "best-effort", "restricted", "single-numa-node"] = "best-effort"
    sysctls: dict[str, Annotated[int | str, WholeNumberOrText]] = Field(default_factory=dict)
    """Kernel settings that AKS allows a pool to set, by their kernel names, such as `net.core.somaxconn`."""


class Redis(Section):
    """The Azure Managed Redis behind `caching.l3Cache`."""

    sku: (
        Annotated[
            str,
            Form(
                r"(?:Balanced_B|MemoryOptimized_M|ComputeOptimized_X|FlashOptimized_A)[0-9]{1,4}",
                "is not an SKU of Azure Managed Redis",
                'a name such as "MemoryOptimized_M150", or leave it out to get the smallest that holds caching.l3Cache.size',
            ),
        ]
        | None
    ) = None
    """The SKU. By default the smallest one whose usable memory holds `caching.l3Cache.size`."""
    high_availability: bool = True
    """Keeps a second node. It is fixed when the Redis is created."""


class Autoscaling(Section):
    """Adds and removes whole pipelines by the number of requests in flight, running and waiting."""

    enabled: bool = False
    min_pipelines: Pipelines = 1
    max_pipelines: Pipelines = 4
    requests_per_pipeline: (
        Annotated[int, Field(ge=1, le=100_000), Otherwise("pipelines would come and go without load, or never")] | None
    ) = None
    """Average requests in flight per pipeline above which another pipeline is added. By default the most that one pipeline answers within
    `targets.latency`, by the slow end of the plan's estimate, or as many as it runs at once if it never meets that target."""
    poll_interval: Annotated[Duration, Between("1s", "1h", "the metrics would be read all the time, or hardly ever")] = Duration("15s")
    cooldown: Annotated[Duration, Between("0s", "24h", "idle GPUs would be paid for longer than a day")] = Duration("360s")


class Rollout(Section):
    """How a new version replaces the old one, and how pods stop."""

    max_unavailable_pipelines: PipelinesInRollout = 1
    max_surge_pipelines: PipelinesInRollout = 0
    model_load_timeout: Annotated[
        Duration,
        Between("30s", "24h", "a shard would be killed before it has read its weights, or a stuck one would wait for more than a day"),
    ] = Duration("30m")
    """Longest time from a shard's start until it is ready; a slower shard is restarted."""
    termination_grace: Annotated[Duration, Between("0s", "1h", "a node drain waits at most an hour")] = Duration("120s")
    """Time that a pod has to finish its requests before it is killed."""
    weights_retention: (
        Annotated[
            Duration, Between("1d", "3650d", "pods of the previous version may still read those weights, or nothing would ever be deleted")
        ]
        | None
    ) = None
    """How long weights of an earlier `model.source` are kept, in the storage and on the nodes, once the present ones are complete. By
    default until somebody deletes them, and on a node as long as the node exists."""


class Tls(Section):
    """The coordinator accepts only HTTPS."""

    secret_name: DnsName
    """The Secret in the namespace zig-ai with the certificate as `tls.crt` and `tls.key`. It can be renewed without a restart."""
    client_ca_secret_name: DnsName | None = None
    """The Secret whose `ca.crt` signs the certificates that clients must present; the load test uses its `tls.crt` and `tls.key`. By
    default clients need no certificate."""


class ApiKeys(Section):
    """Requests need an API key; health checks and metrics do not."""

    secret_name: DnsName
    """The Secret in the namespace zig-ai that `python -m stacks api-keys` prints. Keys can be changed without a restart."""


Origin = Annotated[
    str,
    Form(
        r"https?://[A-Za-z0-9.-]+(?::[0-9]{1,5})?",
        "is not an origin as browsers send it, so it would let in no page",
        'a scheme and a host, with a port if it has one, such as "https://app.your-company.com"',
    ),
]


class Exposure(Section):
    """Who can reach the service, and what they need to use it."""

    public: bool = False
    """Gives the coordinator a public address; otherwise the load balancer is internal to the network."""
    allowed_ip_ranges: tuple[CallerCidr, ...] = ()
    """Address ranges that the load balancer lets through; required for a public address."""
    tls: Tls | None = None
    """By default the service speaks plain HTTP."""
    api_keys: ApiKeys | None = None
    """By default whoever can reach the service may use it."""
    allowed_origins: Annotated[tuple[Origin, ...], Field(min_length=1), Otherwise("remove the key to let in no page")] | None = None
    """Origins whose pages may call this service from a browser (CORS). By default only the service's own."""


class Budget(Section):
    """A cost alert; nothing is switched off."""

    monthly_usd: Annotated[float, Field(gt=0, le=1e9), Otherwise("Azure refuses such a budget")] | None = None
    """Monthly budget in USD. By default there is none."""
    alert_emails: Annotated[tuple[Email, ...], Field(max_length=50), Otherwise("Azure mails at most 50 addresses")] = ()
    alert_roles: tuple[Literal["Owner", "Contributor", "Reader"], ...] = ("Owner",)
    """Holders of these roles on the subscription are notified too."""
