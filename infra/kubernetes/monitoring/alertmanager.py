"""Alertmanager as `deployment/alertmanager` in `monitoring`: brings alerts to those whom `monitoring.receivers` names.

Not here: what it says to whom (`alertmanager_config.py`), the alerts (`alerts.py`), who may reach it (`network_policies.py`). Its silences
are kept as long as the pod is, and after a new one what still stands is said once more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from infra.kubernetes import names, pods
from infra.kubernetes.monitoring import alertmanager_config
from settings.account import Effect, Resource, not_read, path_text
from settings.operations import Monitoring

PORT = 9093
_NOBODY = 65534
"""User of the image. https://github.com/prometheus/alertmanager/blob/main/Dockerfile"""
_CONFIG_DIR = "/etc/alertmanager"
_FILE = "alertmanager.yml"


@dataclass(frozen=True, kw_only=True)
class AlertmanagerArgs:
    image: str
    monitoring: Monitoring


class Alertmanager(pulumi.ComponentResource):
    """Deployment, config and Service."""

    def __init__(self, name: str, args: AlertmanagerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("zig-ai-aks:kubernetes:Alertmanager", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        labels = names.labels(names.ALERTMANAGER, "monitoring")
        metadata: Any = {"name": names.ALERTMANAGER, "namespace": names.MONITORING_NAMESPACE, "labels": labels}
        content = alertmanager_config.alertmanager_yaml(args.monitoring.receivers)
        config = k8s.core.v1.ConfigMap(f"{name}-config", metadata=metadata, data={_FILE: content}, opts=child)
        k8s.apps.v1.Deployment(
            name,
            metadata=metadata,
            spec=pods.manifest(
                {
                    # Two that do not know of each other would say everything twice.
                    "replicas": 1,
                    "strategy": {"type": "Recreate"},
                    "selector": {"matchLabels": names.selector(names.ALERTMANAGER)},
                    "template": {
                        # It reads its file when it starts.
                        "metadata": {"labels": labels, "annotations": {"zig-ai.io/config-hash": pods.content_hash(content)}},
                        "spec": _pod_spec(args),
                    },
                }
            ),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[config]),
        )
        k8s.core.v1.Service(
            f"{name}-service",
            metadata=metadata,
            spec=pods.manifest(
                {
                    "selector": names.selector(names.ALERTMANAGER),
                    "ports": [{"name": "http", "port": PORT, "targetPort": "http", "protocol": "TCP"}],
                }
            ),
            opts=child,
        )
        self.register_outputs({})


def arguments() -> list[str]:
    return [
        f"--config.file={_CONFIG_DIR}/{_FILE}",
        "--storage.path=/alertmanager",
        # There is one of it.
        "--cluster.listen-address=",
    ]


def _pod_spec(args: AlertmanagerArgs) -> Any:
    def http(path: str) -> Any:
        return {"httpGet": {"path": path, "port": "http"}, "periodSeconds": 10, "timeoutSeconds": 5}

    receivers = args.monitoring.receivers
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pods.restricted_pod_security(_NOBODY),
        "containers": [
            {
                "name": "alertmanager",
                "image": args.image,
                "args": arguments(),
                "ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
                "livenessProbe": http("/-/healthy"),
                "readinessProbe": http("/-/ready"),
                "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
                "securityContext": pods.restricted_container_security(),
                "volumeMounts": [
                    {"name": "config", "mountPath": f"{_CONFIG_DIR}/{_FILE}", "subPath": _FILE, "readOnly": True},
                    {"name": "data", "mountPath": "/alertmanager"},
                    *(
                        {"name": f"secret-{one.name}", "mountPath": f"{alertmanager_config.SECRETS_DIR}/{one.name}", "readOnly": True}
                        for one in receivers
                    ),
                ],
            }
        ],
        "volumes": [
            {"name": "config", "configMap": {"name": names.ALERTMANAGER}},
            {"name": "data", "emptyDir": {"sizeLimit": "64Mi"}},
            *(
                {
                    "name": f"secret-{one.name}",
                    "secret": {"secretName": one.secret_name, "items": [_item(one.kind)]},
                }
                for one in receivers
            ),
        ],
    }


def _item(kind: str) -> dict[str, str]:
    key = alertmanager_config.SECRET_KEYS[kind]
    return {"key": key, "path": key}


def effects(monitoring: Monitoring) -> Iterator[Effect]:
    """The settings that Alertmanager answers."""
    config = Resource("ConfigMap", f"{names.MONITORING_NAMESPACE}/{names.ALERTMANAGER}")
    deployment = Resource("Deployment", f"{names.MONITORING_NAMESPACE}/{names.ALERTMANAGER}")
    image = deployment.effect("images.alertmanager", "spec.template.spec.containers[0].image")
    if not monitoring.receivers:
        yield Resource("Pulumi resource", names.ALERTMANAGER).effect("monitoring.receivers")
        yield from not_read([image], "monitoring.receivers", "empty")
        return
    for one in monitoring.receivers:
        key = f"monitoring.receivers.{one.name}"
        for part in ("kind", "to", "from", "smarthost"):
            yield config.effect(f"{key}.{part}", path_text("data", _FILE, "receivers") + f"[{one.name}]")
        yield config.effect(f"{key}.severities", path_text("data", _FILE, "route", "routes"))
        yield deployment.effect(f"{key}.secretName", f"spec.template.spec.volumes[secret-{one.name}].secret.secretName")
        yield deployment.effect(f"{key}.kind", f"spec.template.spec.volumes[secret-{one.name}].secret.items")
    yield image


def switch() -> Iterator[Effect]:
    """What `monitoring.enabled` brings and takes away here."""
    yield Resource("Pulumi resource", names.ALERTMANAGER).effect("monitoring.enabled")
