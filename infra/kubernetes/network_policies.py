"""Who may talk to whom. Everything is denied first; each policy below is one needed edge, with its two ends.

Enforced by Cilium on AKS. Two of its rules shape what is written here: an `ipBlock` matches no pod and no node, and a node may always
reach its own pods (probes). https://docs.cilium.io/en/stable/network/kubernetes/policy/

Not here: who may reach the balancer from outside, which Azure checks too (`loadBalancerSourceRanges`); the weights, which the node
mounts, so that shards need no way to the storage.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from engines.workload import Server, Workload
from infra.kubernetes import names, namespaces
from infra.kubernetes.coordinator import client_ranges
from infra.kubernetes.monitoring import alertmanager, prometheus
from infra.kubernetes.pods import Manifest
from planner.catalogue import redis_skus
from settings.account import Effect, Resource
from settings.operations import Receiver
from settings.platform import Exposure, Network

_KUBELET_PORT = 10250
_HTTPS = 443
_LWS_WEBHOOK_PORT = 9443


@dataclass(frozen=True, kw_only=True)
class NetworkPoliciesArgs:
    workload: Workload
    pipelines: int
    """The most that there may be."""
    network: Network
    exposure: Exposure
    redis: bool
    fetches_weights: bool
    copies_weights: bool
    """Node agents then read the weight storage."""
    monitoring: bool
    receivers: tuple[Receiver, ...]
    """Who hears of alerts."""
    managed: bool
    """Azure's agent, in `kube-system`, then reads metrics too."""
    autoscaling: bool
    """KEDA, in `kube-system`, then asks Prometheus."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    namespace: str
    name: str
    pods: dict[str, str]
    """Labels of the pods it is for; empty for all of the namespace."""
    ingress: tuple[Manifest, ...] = ()
    egress: tuple[Manifest, ...] = ()


def _pods(labels: dict[str, str], namespace: str | None = None) -> Manifest:
    """Pods of the policy's own namespace, or of another."""
    peer: Manifest = {"podSelector": {"matchLabels": labels}} if labels else {"podSelector": {}}
    return peer | ({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}} if namespace else {})


def _ports(*numbers: int, protocols: Iterable[str] = ("TCP",)) -> list[Manifest]:
    return [{"port": number, "protocol": protocol} for number in numbers for protocol in protocols]


def _from(peers: list[Manifest], *ports: int) -> Manifest:
    return {"from": peers, "ports": _ports(*ports)}


def _to(peers: list[Manifest], *ports: int) -> Manifest:
    return {"to": peers, "ports": _ports(*ports)}


# No peers: any destination. The API server and Entra have no address that is known beforehand; both demand TLS and a token.
_TO_ANY_HTTPS: Manifest = {"ports": _ports(_HTTPS)}
_PROMETHEUS = _pods(names.selector(names.PROMETHEUS), names.MONITORING_NAMESPACE)


# The label of the replica that runs custom jobs: https://github.com/Azure/prometheus-collector.
_MANAGED_PROMETHEUS = _pods({"rsName": "ama-metrics"}, "kube-system")


def _readers(args: NetworkPoliciesArgs) -> list[Manifest]:
    """Who may read metrics."""
    return [_PROMETHEUS, *([_MANAGED_PROMETHEUS] if args.managed else [])]


def _inner_ports(server: Server) -> tuple[int, ...]:
    """What a shard serves its pipeline and coordinator on: all but its metrics."""
    return tuple(port.number for port in server.ports if port.name != "metrics")


def policies(args: NetworkPoliciesArgs) -> list[Policy]:
    """All policies of the stack, as plain values."""
    found = [Policy(namespace=namespace, name="default-deny", pods={}) for namespace in namespaces.LEVELS]
    dns: Manifest = {"to": [_pods({"k8s-app": "kube-dns"}, "kube-system")], "ports": _ports(53, protocols=("UDP", "TCP"))}
    for namespace in (names.SERVICE_NAMESPACE, names.MONITORING_NAMESPACE, names.LWS_NAMESPACE):
        found.append(Policy(namespace=namespace, name="to-dns", pods={}, egress=(dns,)))
    if args.copies_weights:
        # The storage's private endpoint and Entra.
        pods = names.selector(names.WEIGHTS_COPY)
        found.append(Policy(namespace=names.NODE_AGENTS_NAMESPACE, name=names.WEIGHTS_COPY, pods=pods, egress=(dns, _TO_ANY_HTTPS)))
    found.append(
        # The API server calls the webhook through konnectivity or, with VNet integration, from its own subnet: any source, one port,
        # on which the controller speaks TLS only.
        Policy(
            namespace=names.LWS_NAMESPACE,
            name="leader-worker-set",
            pods={},
            ingress=({"ports": _ports(_LWS_WEBHOOK_PORT)},),
            egress=(_TO_ANY_HTTPS,),
        )
    )
    found += _service_policies(args)
    return found + (_monitoring_policies(args) if args.monitoring else [])


def _service_policies(args: NetworkPoliciesArgs) -> list[Policy]:
    coordinator, shard, load_test = (names.selector(name) for name in (names.COORDINATOR, names.SHARD, names.LOAD_TEST))
    serving = tuple(port.number for port in args.workload.serving_ports)
    inner = _inner_ports(args.workload.shard)
    neighbours = [_pods(shard)] if args.workload.shards_talk and not args.workload.shards_choose_ports else []
    # The balancer keeps clients' addresses.
    clients: list[Manifest] = [{"ipBlock": {"cidr": cidr}} for cidr in client_ranges(args.exposure, args.network.address_space)]
    redis = [_to([{"ipBlock": {"cidr": args.network.private_endpoints_cidr}}], redis_skus.PORT), _TO_ANY_HTTPS] if args.redis else []

    def scraped(server: Server) -> tuple[Manifest, ...]:
        return (_from(_readers(args), server.port(server.metrics_port)),) if args.monitoring else ()

    def service(name: str, pods: dict[str, str], **edges: tuple[Manifest, ...]) -> Policy:
        return Policy(namespace=names.SERVICE_NAMESPACE, name=name, pods=pods, **edges)

    # Hub, registry, Entra and the storage's private endpoint: all HTTPS, of which only the last has an address known beforehand.
    fetch = [service(names.WEIGHTS_FETCH, names.selector(names.WEIGHTS_FETCH), egress=(_TO_ANY_HTTPS,))] if args.fetches_weights else []
    return [
        *fetch,
        service(
            names.COORDINATOR,
            coordinator,
            ingress=(_from([*clients, _pods(load_test)], *serving), *scraped(args.workload.coordinator)),
            # HTTPS is for Entra, whose token opens Redis.
            egress=(_to([_pods(shard)], *inner), *redis),
        ),
        service(
            names.SHARD,
            shard,
            ingress=(_from([_pods(coordinator), *neighbours], *inner), *scraped(args.workload.shard)),
            egress=(_to(neighbours, *inner),) if neighbours else (),
        ),
        *(_within_pipelines(args.pipelines) if args.workload.shards_choose_ports else ()),
        service(names.LOAD_TEST, load_test, egress=(_to([_pods(coordinator)], *serving),)),
    ]


def _within_pipelines(pipelines: int) -> Iterator[Policy]:
    """A runtime that lets whoever reaches it run code is open to its own pipeline, and to no other one."""
    for pipeline in range(pipelines):
        pods = names.selector(names.SHARD) | {names.PIPELINE_LABEL: str(pipeline)}
        yield Policy(
            namespace=names.SERVICE_NAMESPACE,
            name=f"{names.SHARD}-pipeline-{pipeline}",
            pods=pods,
            ingress=({"from": [_pods(pods)]},),
            egress=({"to": [_pods(pods)]},),
        )


def _monitoring_policies(args: NetworkPoliciesArgs) -> list[Policy]:
    servers = _pods({}, names.SERVICE_NAMESPACE)
    metrics = sorted({server.port(server.metrics_port) for server in (args.workload.coordinator, args.workload.shard)})
    gpu_metrics = names.selector(names.GPU_METRICS)
    return [
        Policy(
            namespace=names.MONITORING_NAMESPACE,
            name=names.PROMETHEUS,
            pods=names.selector(names.PROMETHEUS),
            ingress=(_from([_pods({}, "kube-system")], prometheus.PORT),) if args.autoscaling else (),
            egress=(
                _to([servers], *metrics),
                _to([_pods(gpu_metrics, names.NODE_AGENTS_NAMESPACE)], names.GPU_METRICS_PORT),
                # Kubelets: nodes are no pods, and no address block matches them.
                {"ports": _ports(_KUBELET_PORT)},
                _TO_ANY_HTTPS,
                *((_to([_pods(names.selector(names.ALERTMANAGER))], alertmanager.PORT),) if args.receivers else ()),
            ),
        ),
        *_alertmanager_policies(args.receivers),
        Policy(
            namespace=names.NODE_AGENTS_NAMESPACE,
            name=names.GPU_METRICS,
            pods=gpu_metrics,
            ingress=(_from(_readers(args), names.GPU_METRICS_PORT),),
        ),
    ]


def _alertmanager_policies(receivers: tuple[Receiver, ...]) -> Iterator[Policy]:
    """Receivers are somewhere in the world: HTTPS, and the ports of mail servers."""
    if receivers:
        mail = sorted({int(one.smarthost.rpartition(":")[2]) for one in receivers if one.smarthost})
        yield Policy(
            namespace=names.MONITORING_NAMESPACE,
            name=names.ALERTMANAGER,
            pods=names.selector(names.ALERTMANAGER),
            ingress=(_from([_PROMETHEUS], alertmanager.PORT),),
            egress=({"ports": _ports(*sorted({_HTTPS, *mail}))},),
        )


def policy_spec(policy: Policy) -> Any:
    """Ingress or egress that a policy does not open stays as `default-deny` left it."""
    types = [kind for kind, rules in (("Ingress", policy.ingress), ("Egress", policy.egress)) if rules] or ["Ingress", "Egress"]
    spec: Manifest = {"podSelector": {"matchLabels": policy.pods} if policy.pods else {}, "policyTypes": types}
    if policy.ingress:
        spec["ingress"] = list(policy.ingress)
    if policy.egress:
        spec["egress"] = list(policy.egress)
    return spec


class NetworkPolicies(pulumi.ComponentResource):
    """All network policies of the stack."""

    def __init__(self, name: str, args: NetworkPoliciesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("zig-ai-aks:kubernetes:NetworkPolicies", name, None, opts)
        for policy in policies(args):
            k8s.networking.v1.NetworkPolicy(
                f"{policy.namespace}-{policy.name}",
                metadata={"name": policy.name, "namespace": policy.namespace, "labels": {"app.kubernetes.io/part-of": "zig-ai"}},
                spec=policy_spec(policy),
                opts=pulumi.ResourceOptions(parent=self),
            )
        self.register_outputs({})


def effects(workload: Workload, receivers: Iterable[Receiver]) -> Iterator[Effect]:
    """The settings that decide which edges there are, and which addresses they name."""
    coordinator, shard = (Resource("NetworkPolicy", f"{names.SERVICE_NAMESPACE}/{name}") for name in (names.COORDINATOR, names.SHARD))
    for key in ("exposure.public", "exposure.allowedIpRanges", "azure.network.addressSpace"):
        yield coordinator.effect(key, "spec.ingress[0].from[*].ipBlock.cidr")
    yield coordinator.effect("azure.network.privateEndpointsCidr", "spec.egress[*].to[0].ipBlock.cidr")
    yield coordinator.effect("caching.l3Cache.enabled", "spec.egress")
    yield coordinator.effect("exposure.tls.secretName", "spec.ingress[0].ports[0].port")
    load_test = Resource("NetworkPolicy", f"{names.SERVICE_NAMESPACE}/{names.LOAD_TEST}")
    yield load_test.effect("exposure.tls.secretName", "spec.egress[0].ports[0].port")
    watching = Resource("NetworkPolicy", f"{names.MONITORING_NAMESPACE}/{names.PROMETHEUS}")
    yield watching.effect("monitoring.enabled")
    yield Resource("NetworkPolicy", f"{names.NODE_AGENTS_NAMESPACE}/{names.GPU_METRICS}").effect("monitoring.enabled")
    heard = Resource("NetworkPolicy", f"{names.MONITORING_NAMESPACE}/{names.ALERTMANAGER}")
    yield heard.effect("monitoring.enabled")
    for one in receivers:
        yield heard.effect(f"monitoring.receivers.{one.name}.smarthost", "spec.egress[0].ports")
    exporter = Resource("NetworkPolicy", f"{names.NODE_AGENTS_NAMESPACE}/{names.GPU_METRICS}")
    for server in (coordinator, shard, exporter):
        yield server.effect("monitoring.enabled", "spec.ingress")
        yield server.effect("monitoring.managedPrometheus", "spec.ingress")
    for path in ("spec.ingress", "spec.policyTypes"):
        yield watching.effect("autoscaling.enabled", path)
    yield Resource("NetworkPolicy", f"{names.SERVICE_NAMESPACE}/{names.WEIGHTS_FETCH}").effect("model.source")
    if workload.shards_choose_ports:
        pipelines = Resource("NetworkPolicy", f"{names.SERVICE_NAMESPACE}/{names.SHARD}-pipeline-*")
        for key in ("sharding.pipelines", "autoscaling.enabled", "autoscaling.maxPipelines", "rollout.maxSurgePipelines"):
            yield pipelines.effect(key)
