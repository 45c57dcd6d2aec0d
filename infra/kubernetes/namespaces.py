"""Namespaces and what Pod Security lets run in each.

https://kubernetes.io/docs/concepts/security/pod-security-admission/. Not here: network policies (`network_policies.py`). There are
no ResourceQuotas and LimitRanges: each namespace holds only what this program puts there, with its resources stated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import pulumi
import pulumi_kubernetes as k8s

from infra.kubernetes import names
from settings.account import Effect, Resource, path_text

Level = Literal["restricted", "baseline", "privileged"]

LEVELS: dict[str, Level] = {
    names.SERVICE_NAMESPACE: "restricted",
    names.MONITORING_NAMESPACE: "restricted",
    names.LWS_NAMESPACE: "restricted",
    # Device sockets, `/run` and the kubelet of the node are what its pods are for.
    names.NODE_AGENTS_NAMESPACE: "privileged",
}


@dataclass(frozen=True, kw_only=True)
class NamespacesArgs:
    kubernetes_version: str
    """The version as in the settings, `1.36` or `1.36.3`: Pod Security's rules are those of that minor version."""


def pod_security_labels(level: Level, kubernetes_version: str) -> dict[str, str]:
    version = "v" + ".".join(kubernetes_version.split(".")[:2])
    labels = {}
    for mode in ("enforce", "audit", "warn"):
        labels[f"pod-security.kubernetes.io/{mode}"] = level
        labels[f"pod-security.kubernetes.io/{mode}-version"] = version
    return labels


class Namespaces(pulumi.ComponentResource):
    """All namespaces of the stack."""

    def __init__(self, name: str, args: NamespacesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("zig-ai-aks:kubernetes:Namespaces", name, None, opts)
        for namespace, level in LEVELS.items():
            k8s.core.v1.Namespace(
                namespace,
                metadata={
                    "name": namespace,
                    "labels": {"app.kubernetes.io/part-of": "zig-ai", **pod_security_labels(level, args.kubernetes_version)},
                },
                opts=pulumi.ResourceOptions(parent=self),
            )
        self.register_outputs({})


def effects() -> Iterator[Effect]:
    """Pod Security's rules are those of the cluster's version."""
    for namespace in LEVELS:
        for mode in ("enforce", "audit", "warn"):
            label = path_text("metadata", "labels", f"pod-security.kubernetes.io/{mode}-version")
            yield Resource("Namespace", namespace).effect("cluster.kubernetesVersion", label)
