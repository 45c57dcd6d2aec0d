"""Reads the cluster of a rehearsal: where its pods are and how many GPUs they use."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from rehearsal.cluster.control_plane import program
from rehearsal.layout import Layout


@dataclass
class NodeView:
    """One node and its pods."""

    name: str
    size: str
    zone: str
    gpus: int
    gpus_used: int = 0
    pods: Counter[str] = field(default_factory=Counter)  # owner -> pods


@dataclass
class ClusterView:
    """All nodes, and pods that are not running."""

    nodes: list[NodeView]
    not_running: list[str]


def look(layout: Layout) -> ClusterView | None:
    """Returns the cluster's present state, or None if there is no cluster."""
    if not layout.kubeconfig.exists():
        return None
    nodes = {item["metadata"]["name"]: _node(item) for item in _get(layout, "nodes")}
    missing = []
    for pod in _get(layout, "pods"):
        name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
        node = nodes.get(pod["spec"].get("nodeName", ""))
        phase = pod["status"].get("phase", "Unknown")
        if node is None or phase not in ("Running", "Succeeded"):
            missing.append(f"{name} ({phase})")
            continue
        node.pods[f"{pod['metadata']['namespace']}/{_owner(pod)}"] += 1
        node.gpus_used += sum(int(c.get("resources", {}).get("requests", {}).get("nvidia.com/gpu", 0)) for c in pod["spec"]["containers"])
    return ClusterView(sorted(nodes.values(), key=lambda node: node.name), missing)


def _node(item: dict[str, Any]) -> NodeView:
    labels = item["metadata"]["labels"]
    return NodeView(
        name=item["metadata"]["name"],
        size=labels.get("node.kubernetes.io/instance-type", ""),
        zone=labels.get("topology.kubernetes.io/zone", ""),
        gpus=int(item["status"]["allocatable"].get("nvidia.com/gpu", 0)),
    )


def _owner(pod: dict[str, Any]) -> str:
    labels = pod["metadata"].get("labels", {})
    if "leaderworkerset.sigs.k8s.io/name" in labels:
        return labels["leaderworkerset.sigs.k8s.io/name"]
    owners = pod["metadata"].get("ownerReferences") or []
    name = owners[0]["name"] if owners else pod["metadata"]["name"]
    if owners and owners[0]["kind"] == "ReplicaSet":
        return name.rsplit("-", 1)[0]
    return name


def _get(layout: Layout, kind: str) -> list[dict[str, Any]]:
    command = [program("kubectl"), "--kubeconfig", str(layout.kubeconfig), "get", kind, "-A", "-o", "json"]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["items"]
