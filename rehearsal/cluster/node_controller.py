"""Nodes of the pools that exist in the stand-in's cloud, and what agents on them bring about.

A pool's nodes follow the state file: created, relabelled, retainted, drained and deleted. Where a kubelet or an agent with
root rights would change a node, its outcome is applied once the agent's pod is ready:
- NVIDIA's device plugin (an image named `k8s-device-plugin`): `nvidia.com/gpu` appears.
- our node tuning (label `app.kubernetes.io/name: node-tuning`, env HUGE_PAGES_2MI and NODE_LABEL): huge pages become
  allocatable, memory shrinks by as much, the node gets the label.
"""

from __future__ import annotations

import json
import time
from typing import Any

from rehearsal.azure.nodes import GPU_INSTANCES, desired_nodes, fingerprint
from rehearsal.azure.state import StateFile
from rehearsal.azure.subscription import sizes
from rehearsal.cluster.api import Api, Cache, Object, is_ready
from rehearsal.layout import Layout

_POOL = "rehearsal/pool"
_KEYS = "rehearsal/label-keys"  # labels that came from the pool, so that a removed one is taken away again
_OURS = ("node.kubernetes.io/",)  # taints that Kubernetes itself puts on nodes
HUGE_PAGE_MIB = 2
_PATIENCE_S = 5.0
_AGAIN = "rehearsal/again"  # a change of it makes kwok look at the node again


class NodeController:
    """Keeps the nodes in line with the stand-in's pools."""

    def __init__(self, layout: Layout, api: Api, nodes: Cache, pods: Cache) -> None:
        self._layout, self._api, self._nodes, self._pods = layout, api, nodes, pods
        self._state = StateFile(layout.azure)
        self._stamp: tuple[int, int, int] | None = None
        self._desired: dict[str, list[Object]] = {}
        self._observed: dict[str, str] | None = None
        self._touched: dict[str, float] = {}

    def step(self) -> None:
        """Does one pass."""
        self._read_pools()
        wanted = {node["metadata"]["name"]: (pool, node) for pool, nodes in self._desired.items() for node in nodes}
        for node in self._nodes.all():
            if _POOL in node["metadata"].get("annotations", {}) and node["metadata"]["name"] not in wanted:
                self._drain(node["metadata"]["name"])
        for name, (pool, manifest) in wanted.items():
            node_object = self._nodes.get(name)
            if node_object is None:
                self._create(pool, manifest)
            else:
                self._update(node_object, manifest)
                self._wake(node_object)
        self._outcomes()
        self._report(wanted)

    def _read_pools(self) -> None:
        try:
            status = self._layout.azure.stat()
        except FileNotFoundError:
            return
        stamp = (status.st_mtime_ns, status.st_ino, status.st_size)
        if stamp != self._stamp:
            self._desired = desired_nodes(self._state.read())
            # Last, so that a reading that failed is tried again.
            self._stamp = stamp

    def _create(self, pool: str, manifest: Object) -> None:
        metadata = manifest["metadata"]
        annotations = {**metadata["annotations"], _POOL: pool, _KEYS: json.dumps(sorted(metadata["labels"]))}
        self._api.quietly("POST", "/api/v1/nodes", {**manifest, "metadata": {**metadata, "annotations": annotations}})

    def _update(self, there: Object, manifest: Object) -> None:
        labels, wanted = there["metadata"].get("labels", {}), manifest["metadata"]["labels"]
        before = json.loads(there["metadata"].get("annotations", {}).get(_KEYS, "[]"))
        change: dict[str, Any] = {key: value for key, value in wanted.items() if labels.get(key) != value}
        change |= {key: None for key in before if key not in wanted and key in labels}
        kept = [t for t in there["spec"].get("taints") or [] if t["key"].startswith(_OURS)]
        have = [{k: v for k, v in t.items() if k != "timeAdded"} for t in there["spec"].get("taints") or [] if t not in kept]
        patch: dict[str, Any] = {}
        if change:
            patch["metadata"] = {"labels": change, "annotations": {_KEYS: json.dumps(sorted(wanted))}}
        if have != manifest["spec"]["taints"]:
            patch["spec"] = {"taints": manifest["spec"]["taints"] + kept}
        if patch:
            self._api.quietly("PATCH", f"/api/v1/nodes/{there['metadata']['name']}", patch)

    def _wake(self, node: Object) -> None:
        """Makes kwok look at a node again: one that it saw before it had read its stages would never become ready by itself."""
        name, now = node["metadata"]["name"], time.monotonic()
        if is_ready(node):
            self._touched.pop(name, None)
        elif now - self._touched.setdefault(name, now) > _PATIENCE_S:
            self._touched[name] = now
            self._api.quietly("PATCH", f"/api/v1/nodes/{name}", {"metadata": {"annotations": {_AGAIN: str(now)}}})

    def _drain(self, name: str) -> None:
        for pod in self._pods.all():
            if pod["spec"].get("nodeName") == name:
                where = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"
                self._api.quietly("DELETE", where, {"gracePeriodSeconds": 0})
        self._api.quietly("DELETE", f"/api/v1/nodes/{name}")

    def _outcomes(self) -> None:
        for pod in self._pods.all():
            node = self._nodes.get(pod["spec"].get("nodeName", ""))
            if node is None or not is_ready(pod) or "deletionTimestamp" in pod["metadata"]:
                continue
            if any("k8s-device-plugin" in container.get("image", "") for container in pod["spec"]["containers"]):
                self._add_gpus(node)
            if pod["metadata"].get("labels", {}).get("app.kubernetes.io/name") == "node-tuning":
                self._tune(node, pod)

    def _add_gpus(self, node: Object) -> None:
        size = sizes().get(node["metadata"]["labels"].get("node.kubernetes.io/instance-type", "").lower())
        if size and size.gpus and "nvidia.com/gpu" not in node["status"]["allocatable"]:
            gpus = {"nvidia.com/gpu": str(size.gpus * int(node["metadata"]["annotations"].get(GPU_INSTANCES, "1")))}
            self._set_status(node, gpus, gpus)

    def _tune(self, node: Object, pod: Object) -> None:
        environment = {item["name"]: item.get("value", "") for c in pod["spec"]["containers"] for item in c.get("env") or []}
        pages_mib = int(environment.get("HUGE_PAGES_2MI") or 0) * HUGE_PAGE_MIB
        have_mib = _mib(node["status"]["allocatable"].get("hugepages-2Mi", "0"))
        if pages_mib != have_mib:
            memory = _mib(node["status"]["allocatable"]["memory"]) + have_mib - pages_mib
            pages = f"{pages_mib}Mi"
            self._set_status(node, {"hugepages-2Mi": pages}, {"hugepages-2Mi": pages, "memory": f"{memory}Mi"})
        key, _, value = environment.get("NODE_LABEL", "").partition("=")
        if key and node["metadata"]["labels"].get(key) != value:
            self._api.quietly("PATCH", f"/api/v1/nodes/{node['metadata']['name']}", {"metadata": {"labels": {key: value}}})

    def _set_status(self, node: Object, capacity: dict[str, str], allocatable: dict[str, str]) -> None:
        patch = {"status": {"capacity": capacity, "allocatable": allocatable}}
        self._api.quietly("PATCH", f"/api/v1/nodes/{node['metadata']['name']}/status", patch)

    def _report(self, wanted: dict[str, tuple[str, Object]]) -> None:
        extra = {
            node["metadata"]["annotations"][_POOL]
            for node in self._nodes.all()
            if _POOL in node["metadata"].get("annotations", {}) and node["metadata"]["name"] not in wanted
        }
        observed = {pool: "draining" for pool in extra}
        for pool, manifests in self._desired.items():
            nodes = [self._nodes.get(manifest["metadata"]["name"]) for manifest in manifests]
            if pool not in extra and all(node and is_ready(node) and _as_wanted(node, m) for node, m in zip(nodes, manifests, strict=True)):
                observed[pool] = fingerprint(manifests)
        if observed != self._observed:
            self._observed = observed
            draft = self._layout.observed.with_suffix(".new")
            draft.write_text(json.dumps(observed, indent=1))
            draft.rename(self._layout.observed)


def _as_wanted(node: Object, manifest: Object) -> bool:
    """Whether the node has the labels and taints of its pool."""
    labels = node["metadata"].get("labels", {})
    keys = {taint["key"] for taint in node["spec"].get("taints") or []}
    return all(labels.get(key) == value for key, value in manifest["metadata"]["labels"].items()) and all(
        taint["key"] in keys for taint in manifest["spec"]["taints"]
    )


def _mib(quantity: str) -> int:
    units = {"Ki": 1 / 1024, "Mi": 1, "Gi": 1024, "Ti": 1024 * 1024}
    for unit, factor in units.items():
        if quantity.endswith(unit):
            return int(float(quantity.removesuffix(unit)) * factor)
    return int(int(quantity) / 1024 / 1024)
