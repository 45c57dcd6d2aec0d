"""The coordinator: the stack's front door, and the Service by which clients reach it.

Not here: where its config comes from (`engines/`), who may reach it inside the cluster (`network_policies.py`). There is no
autoscaler: it only routes, and its first-level cache is worth more the fewer pods share it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from engines.workload import Port, Server
from infra.kubernetes import config_maps, names, pods, service_accounts
from settings.account import Effect, Resource, path_text
from settings.coordinator import Coordinator as CoordinatorSettings
from settings.error_messages import key_text
from settings.platform import Exposure, Rollout

_AZURE = "service.beta.kubernetes.io/azure-"


@dataclass(frozen=True, kw_only=True)
class CoordinatorArgs:
    server: Server
    serving_ports: tuple[Port, ...]
    coordinator: CoordinatorSettings
    exposure: Exposure
    address_space: str
    """The virtual network's."""
    rollout: Rollout
    client_id: pulumi.Input[str]
    system_nodes: int
    """How many nodes of the system pool there are at least."""


class Coordinator(pulumi.ComponentResource):
    """Deployment, Service, config, service account and disruption budget."""

    service: k8s.core.v1.Service

    def __init__(self, name: str, args: CoordinatorArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("zig-ai-aks:kubernetes:Coordinator", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        metadata: Any = {
            "name": names.COORDINATOR,
            "namespace": names.SERVICE_NAMESPACE,
            "labels": names.labels(names.COORDINATOR, "coordinator"),
        }
        account = service_accounts.of_identity(name, metadata, args.client_id, child)
        config = config_maps.server_config(names.COORDINATOR, args.server, "coordinator", child)
        replicas = args.coordinator.replicas
        k8s.apps.v1.Deployment(
            name,
            metadata=metadata,
            spec=pods.manifest(
                {
                    "replicas": replicas,
                    "selector": {"matchLabels": names.selector(names.COORDINATOR)},
                    # Two or more are replaced one at a time, which needs no spare node; a single one is never taken away first.
                    "strategy": {
                        "type": "RollingUpdate",
                        "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0} if replicas > 1 else {"maxUnavailable": 0, "maxSurge": 1},
                    },
                    "template": pod_template(args),
                }
            ),
            # The pods name both as text, which is no dependency that the engine could see.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[account, config]),
        )
        self.service = k8s.core.v1.Service(
            f"{name}-service",
            metadata=metadata | {"name": names.COORDINATOR_SERVICE, "annotations": service_annotations(args)},
            spec=service_spec(args),
            opts=child,
        )
        k8s.policy.v1.PodDisruptionBudget(
            f"{name}-budget",
            metadata=metadata,
            spec=pods.manifest(
                {
                    "maxUnavailable": 1,
                    "selector": {"matchLabels": names.selector(names.COORDINATOR)},
                    # A coordinator that cannot start must not keep its node from being drained.
                    "unhealthyPodEvictionPolicy": "AlwaysAllow",
                }
            ),
            opts=child,
        )
        self.register_outputs({})

    @property
    def endpoint(self) -> pulumi.Output[str]:
        """Where clients send requests: the balancer's address, or the name inside the cluster when there is no balancer."""
        return pulumi.Output.all(self.service.status, self.service.spec).apply(_endpoint)


def _endpoint(state: list[Any]) -> str:
    status, spec = state
    first = spec["ports"][0]
    ingress = ((status or {}).get("load_balancer") or {}).get("ingress") or []
    host = (ingress[0].get("ip") or ingress[0].get("hostname")) if ingress else None
    inside = f"{names.COORDINATOR_SERVICE}.{names.SERVICE_NAMESPACE}.svc.cluster.local"
    return f"{first['name']}://{host or inside}:{first['port']}"


def client_ranges(exposure: Exposure, address_space: str) -> tuple[str, ...]:
    """Where requests may come from: the ranges in settings and, when the address is internal, the network itself."""
    return (*exposure.allowed_ip_ranges, *(() if exposure.public else (address_space,)))


def service_annotations(args: CoordinatorArgs) -> dict[str, str]:
    """The guide's annotations as pasted, and those by which AKS really does what they ask for.

    AKS knows no `azure-load-balancer-sku` (the cluster's `loadBalancerSku` is Standard) and honours `-mode` only on the Basic SKU.
    Health: with `externalTrafficPolicy: Local` the balancer asks the node whether it has a ready coordinator, so `-request-path` and
    `-protocol` are not honoured; interval and number are.
    articles/aks/configure-load-balancer-standard.md of MicrosoftDocs/azure-aks-docs;
    pkg/provider/azure_loadbalancer_healthprobe.go of kubernetes-sigs/cloud-provider-azure.
    """
    if args.coordinator.service.type != "LoadBalancer":
        return dict(args.coordinator.service.annotations)
    config = args.coordinator.config
    # Azure probes at least every 5 s, and interval times number must stay below 120 s.
    interval = min(59, max(5, math.ceil(config.health_check_interval.seconds)))
    # In minutes, from 4 to 30. Longer than the coordinator's keep-alive, so that it is the coordinator that closes.
    idle_minutes = min(30, max(4, math.ceil(config.keep_alive_timeout.seconds / 60) + 1))
    ours = {
        f"{_AZURE}load-balancer-health-probe-interval": str(interval),
        f"{_AZURE}load-balancer-health-probe-num-of-probe": "2",
        f"{_AZURE}load-balancer-tcp-idle-timeout": str(idle_minutes),
    }
    # Whether the address is public is `exposure`'s to say, where ranges are demanded with it.
    internal = {f"{_AZURE}load-balancer-internal": "false" if args.exposure.public else "true"}
    return ours | args.coordinator.service.annotations | internal


def service_spec(args: CoordinatorArgs) -> Any:
    spec: pods.Manifest = {
        "type": args.coordinator.service.type,
        "selector": names.selector(names.COORDINATOR),
        # Client affinity, which the guide seeks in an annotation. AKS makes the balancer hash by client address to match.
        "sessionAffinity": "ClientIP",
        "ports": [
            {"name": port.name, "port": port.service_number, "targetPort": port.name, "protocol": "TCP"} for port in args.serving_ports
        ],
    }
    if args.coordinator.service.type == "LoadBalancer":
        # Keeps the client's address, which affinity, network policy and logs go by, and saves a hop; each node with a coordinator
        # gets the same share, and coordinators are spread evenly over nodes.
        spec["externalTrafficPolicy"] = "Local"
        spec["loadBalancerSourceRanges"] = list(client_ranges(args.exposure, args.address_space))
    return spec


def pod_template(args: CoordinatorArgs) -> Any:
    config_map = config_maps.config_map_name(names.COORDINATOR, args.server)
    return {
        "metadata": {
            "labels": names.labels(names.COORDINATOR, "coordinator") | {"azure.workload.identity/use": "true"},
            "annotations": {"kubectl.kubernetes.io/default-container": "coordinator"},
        },
        "spec": {
            "serviceAccountName": names.COORDINATOR,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "priorityClassName": names.SERVING_PRIORITY,
            "terminationGracePeriodSeconds": math.ceil(args.rollout.termination_grace.seconds),
            "topologySpreadConstraints": spread_constraints(args.coordinator.replicas, args.system_nodes),
            "securityContext": pods.restricted_pod_security(args.server.run_as_user),
            "containers": [pods.container("coordinator", args.server, config_map)],
            "volumes": pods.volumes(args.server, config_map),
        },
    }


def spread_constraints(replicas: int, system_nodes: int) -> list[pods.Manifest]:
    """Over zones if that can be had, and over nodes for certain where there are always two of them: nothing moves a pod back later.

    With one system node, a coordinator beside another is better than none.
    """
    constraint: pods.Manifest = {"maxSkew": 1, "labelSelector": {"matchLabels": names.selector(names.COORDINATOR)}}
    over_zones = constraint | {"topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "ScheduleAnyway"}
    over_nodes = constraint | {"topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
    if min(replicas, system_nodes) > 1:
        over_nodes |= {
            "whenUnsatisfiable": "DoNotSchedule",
            # While one node is drained, the other one would count as all there are.
            "minDomains": 2,
            # GPU nodes, which these pods do not tolerate, would count as empty ones.
            "nodeTaintsPolicy": "Honor",
            # Pods of the version that is being replaced do not count.
            "matchLabelKeys": ["pod-template-hash"],
        }
    return [over_zones, over_nodes]


_ANNOTATIONS = "coordinator.service.annotations"


def effects(annotations: Iterable[str]) -> Iterator[Effect]:
    """The settings that the Deployment and the Service answer. `annotations`: the names in `coordinator.service.annotations`."""
    deployment = Resource("Deployment", f"{names.SERVICE_NAMESPACE}/{names.COORDINATOR}")
    yield deployment.effect("coordinator.replicas", "spec.replicas")
    yield deployment.effect("coordinator.replicas", "spec.strategy.rollingUpdate")
    for key in ("coordinator.replicas", "cluster.systemPool.minNodes"):
        yield deployment.effect(key, "spec.template.spec.topologySpreadConstraints")
    yield deployment.effect("rollout.terminationGrace", "spec.template.spec.terminationGracePeriodSeconds")
    yield deployment.effect("exposure.tls.secretName", "spec.template.spec.containers[0].ports")
    service = Resource("Service", f"{names.SERVICE_NAMESPACE}/{names.COORDINATOR_SERVICE}")
    yield service.effect("coordinator.service.type", "spec.type")
    yield service.effect("coordinator.service.type", "spec.externalTrafficPolicy")
    yield service.effect(_ANNOTATIONS, "metadata.annotations")
    for name in annotations:
        yield service.effect(key_text((*_ANNOTATIONS.split("."), name)), _annotation(name))
    yield service.effect(key_text((*_ANNOTATIONS.split("."), f"{_AZURE}load-balancer-mode")), "spec.sessionAffinity")
    yield service.effect("exposure.public", _annotation(f"{_AZURE}load-balancer-internal"))
    for key in ("coordinator.service.type", "exposure.public", "exposure.allowedIpRanges", "azure.network.addressSpace"):
        yield service.effect(key, "spec.loadBalancerSourceRanges")
    yield service.effect("coordinator.config.healthCheckInterval", _annotation(f"{_AZURE}load-balancer-health-probe-interval"))
    yield service.effect("coordinator.config.keepAliveTimeout", _annotation(f"{_AZURE}load-balancer-tcp-idle-timeout"))
    for field in ("name", "port", "targetPort"):
        yield service.effect("exposure.tls.secretName", f"spec.ports[0].{field}")


def _annotation(name: str) -> str:
    return path_text("metadata", "annotations", name)
