"""Rules about names, addresses and access: `azure`, `cluster`, `coordinator`, `exposure` and `budget`."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network
from itertools import combinations

from settings.problems import Problem
from settings.rules.rule import rule
from settings.stack import StackSettings

# Ranges that Azure reserves: multicast, loopback, link-local, and its DNS and health probes; then AKS's own.
# Source: MicrosoftDocs/azure-aks-docs articles/aks/concepts-network-cni-overview.md
_RESERVED = tuple(
    map(
        IPv4Network,
        ("224.0.0.0/4", "127.0.0.0/8", "169.254.0.0/16", "168.63.129.16/32", "172.30.0.0/16", "172.31.0.0/16", "192.0.2.0/24"),
    )
)
_NETWORK = "azure.network"


@rule("azure")
def network_ranges(settings: StackSettings) -> Iterator[Problem]:
    """The network's ranges are inside the address space and overlap neither each other nor Azure's reserved ranges."""
    network = settings.azure.network
    space, nodes, endpoints, pods, services = (
        (f"{_NETWORK}.{key}", IPv4Network(cidr))
        for key, cidr in (
            ("addressSpace", network.address_space),
            ("nodesCidr", network.nodes_cidr),
            ("privateEndpointsCidr", network.private_endpoints_cidr),
            ("podCidr", network.pod_cidr),
            ("serviceCidr", network.service_cidr),
        )
    )
    # Builders may be in a network of their own, which must not overlap either.
    builders = [(f"{_NETWORK}.buildersCidr", IPv4Network(network.builders_cidr))] if network.builders_cidr else []
    for key, subnet in (nodes, endpoints):
        if not subnet.subnet_of(space[1]):
            yield Problem(
                key=key,
                value=str(subnet),
                consequence=f"is not inside {space[0]} ({space[1]}), so Azure would refuse the subnet",
                fix=f"a range inside {space[1]}, or a wider address space",
            )
    blamed = set()
    for (first, a), (second, b) in [*combinations((nodes, endpoints, pods, services, *builders), 2), (space, pods), (space, services)]:
        # Each wrong range is reported once, because it may overlap many others.
        if a.overlaps(b) and not {first, second} & blamed:
            blamed.add(second)
            yield _overlap(second, b, first, a)
    for key, cidr in (space, pods, services):
        for reserved in _RESERVED:
            if cidr.overlaps(reserved):
                yield Problem(
                    key=key,
                    value=str(cidr),
                    consequence=f"includes {reserved}, which Azure reserves for its own use",
                    fix='a private range such as "10.64.0.0/16"',
                )
    if services[1].prefixlen < 12:
        yield Problem(
            key=services[0], value=str(services[1]), consequence="AKS refuses more than a /12 of Service addresses", fix="/12 or smaller"
        )


def _overlap(key: str, cidr: IPv4Network, other: str, taken: IPv4Network) -> Problem:
    return Problem(
        key=key,
        value=str(cidr),
        consequence=f"overlaps {other} ({taken}): packets to the shared addresses would be misrouted, and Azure would refuse the range",
        fix="a range that overlaps no other",
    )


@rule("azure", "cluster", "gpuPool")
def nodes_have_addresses(settings: StackSettings) -> Iterator[Problem]:
    """The ranges of nodes and pods have room for the most nodes that the pools may have."""
    most = settings.cluster.system_pool.max_nodes + (settings.gpu_pool.max_nodes or settings.gpu_pool.min_nodes or 1)
    for key, cidr, room, why in (
        # Azure reserves five addresses of a subnet, and an upgrade adds a node to each of the two pools.
        ("nodesCidr", settings.azure.network.nodes_cidr, lambda net: net.num_addresses - 5 - 2, "an address"),
        ("podCidr", settings.azure.network.pod_cidr, lambda net: net.num_addresses // 256, "a /24"),
    ):
        network = IPv4Network(cidr)
        if room(network) < most:
            yield Problem(
                key=f"{_NETWORK}.{key}",
                value=cidr,
                consequence=f"each node takes {why} of it, so it has room for {max(room(network), 0)} nodes, but the pools may grow to "
                f"{most}",
                fix="a wider range, or a lower maxNodes",
            )


@rule("exposure", "coordinator")
def exposure_is_limited(settings: StackSettings) -> Iterator[Problem]:
    """A public service names its callers' address ranges and has a load balancer."""
    exposure, service = settings.exposure, settings.coordinator.service
    if exposure.public and not exposure.allowed_ip_ranges:
        yield Problem(
            key="exposure.public",
            value="true",
            consequence="without exposure.allowedIpRanges the whole internet could try to use the GPUs you pay for",
            fix="exposure.allowedIpRanges with the ranges that your callers come from, or public: false",
        )
    if exposure.public and service.type == "ClusterIP":
        yield Problem(
            key="coordinator.service.type",
            value="ClusterIP",
            consequence="exposure.public is true, but a ClusterIP Service has no address outside the cluster",
            fix="LoadBalancer, or exposure.public: false",
        )
    name = "service.beta.kubernetes.io/azure-load-balancer-internal"
    internal = service.annotations.get(name)
    if internal is not None and (internal == "true") == exposure.public:
        yield Problem(
            key=f"coordinator.service.annotations.{name}",
            value=internal,
            consequence=f"contradicts exposure.public: {str(exposure.public).lower()}",
            fix="remove the annotation: exposure.public alone decides",
        )


@rule("exposure")
def keys_are_not_sent_in_the_open(settings: StackSettings) -> Iterator[Problem]:
    """A public service that requires API keys uses TLS."""
    exposure = settings.exposure
    if exposure.public and exposure.api_keys and not exposure.tls:
        yield Problem(
            key="exposure.apiKeys.secretName",
            value=exposure.api_keys.secret_name,
            consequence="exposure.public is true but exposure.tls is not set, so every key would cross the internet as plain text",
            fix="exposure.tls.secretName with a certificate, or public: false",
        )


@rule("exposure")
def keys_have_a_secret_of_their_own(settings: StackSettings) -> Iterator[Problem]:
    """API keys and certificates are in different Secrets."""
    keys, tls = settings.exposure.api_keys, settings.exposure.tls
    if keys and tls and keys.secret_name in (tls.secret_name, tls.client_ca_secret_name):
        yield Problem(
            key="exposure.apiKeys.secretName",
            value=keys.secret_name,
            consequence="is also the Secret of exposure.tls: whoever hands out API keys could read the certificate's private key, and "
            "writing "
            "either would overwrite the other",
            fix="a separate Secret",
        )


@rule("cluster")
def private_cluster_has_no_public_ranges(settings: StackSettings) -> Iterator[Problem]:
    """A private cluster has no authorised ranges for its API server."""
    if settings.cluster.private and settings.cluster.authorized_ip_ranges:
        yield Problem(
            key="cluster.authorizedIpRanges",
            value=", ".join(settings.cluster.authorized_ip_ranges),
            consequence="cluster.private is true, so there is no public API server that these ranges could reach, and Azure refuses the "
            "combination",
            fix="keep one of the two",
        )


@rule("azure", "cluster")
def private_cluster_has_builders(settings: StackSettings) -> Iterator[Problem]:
    """A private cluster says from where it is deployed."""
    if settings.cluster.private and settings.azure.network.builders_cidr is None:
        yield Problem(
            key="azure.network.buildersCidr",
            value="",
            consequence="cluster.private is true, so nobody outside the network reaches the API server, the registry or the weights, and "
            "only the nodes may enter: no machine could finish `up`, push an image or upload weights",
            fix='a range for those machines in azure.network.addressSpace, such as "10.64.9.0/27", or that of a peered network; '
            "docs/going-live.md has the two steps of a private cluster",
        )


@rule("budget")
def budget_reaches_somebody(settings: StackSettings) -> Iterator[Problem]:
    """A budget alerts at least one address or role."""
    budget = settings.budget
    if budget.monthly_usd is not None and not budget.alert_emails and not budget.alert_roles:
        yield Problem(
            key="budget.alertEmails",
            value="[]",
            consequence="a budget must alert somebody, so Azure would refuse it",
            fix="at least one address here, or one role in budget.alertRoles",
        )


@rule("azure")
def tags_fit_azure(settings: StackSettings) -> Iterator[Problem]:
    """Azure accepts the number, names and values of the tags."""
    tags = settings.azure.tags
    # This project sets three tags.
    if len(tags) > 47:
        yield Problem(
            key="azure.tags", value=f"{len(tags)} tags", consequence="Azure takes 50, of which 3 are set already", fix="at most 47"
        )
    for name, value in tags.items():
        if not 1 <= len(name) <= 128 or len(value) > 256 or any(letter in name for letter in "<>%&\\?/"):
            yield Problem(
                key=f"azure.tags.{name[:60]}",
                value=value[:60],
                consequence="Azure would refuse this tag on a storage account",
                fix="a name of at most 128 characters without < > % & \\ ? /, and a value of at most 256",
            )


STORAGE_ACCOUNT_LIMIT = 24
"""The shortest limit of all names, in lower-case letters and digits."""


def names_fit_azure(settings: StackSettings, stack: str) -> Iterator[Problem]:
    """Prefix and stack name must fit into a storage account's name, which is the shortest of all Azure names."""
    # The name starts with `st` and ends with the unique suffix.
    room = STORAGE_ACCOUNT_LIMIT - len("st") - len(settings.azure.name_suffix or "123456")
    joined = "".join(filter(str.isalnum, f"{settings.azure.name_prefix}{stack}".lower()))
    if len(joined) > room:
        yield Problem(
            key="azure.namePrefix",
            value=settings.azure.name_prefix,
            consequence=f"together with the stack's name, {stack}, it has {len(joined)} letters and digits; a storage account's name is "
            f"limited to {STORAGE_ACCOUNT_LIMIT}, which leaves {room} for the two",
            fix=f"a prefix of at most {max(room - len(joined) + len(settings.azure.name_prefix), 1)} characters, or a shorter stack name",
        )


RULES = (
    network_ranges,
    nodes_have_addresses,
    exposure_is_limited,
    keys_are_not_sent_in_the_open,
    keys_have_a_secret_of_their_own,
    private_cluster_has_no_public_ranges,
    private_cluster_has_builders,
    budget_reaches_somebody,
    tags_fit_azure,
)
