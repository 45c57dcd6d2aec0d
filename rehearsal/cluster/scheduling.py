"""Finds the pods that the scheduler cannot place, and since when no change could have helped them."""

from __future__ import annotations

import json
import time

from rehearsal.cluster.api import Cache, Object
from rehearsal.layout import Layout


class PendingReport:
    """Writes `pending.json`: [{"namespace", "name", "message", "since"}], `since` in seconds of the epoch."""

    def __init__(self, layout: Layout, pods: Cache, nodes: Cache) -> None:
        self._layout, self._pods, self._nodes = layout, pods, nodes
        self._since: dict[str, float] = {}
        self._nodes_were = ""
        self._written: list[Object] | None = None

    def step(self) -> None:
        """Does one pass."""
        now = time.time()
        nodes = json.dumps(sorted((_placement(node) for node in self._nodes.all()), key=str))
        if nodes != self._nodes_were:  # a new node, a new label, GPUs that appeared: everything may fit now
            self._nodes_were = nodes
            self._since = {key: now for key in self._since}
        report, still = [], {}
        for pod in self._pods.all():
            message = unschedulable(pod)
            if message is not None:
                key = pod["metadata"]["uid"]
                still[key] = self._since.get(key, now)
                report.append(
                    {"namespace": pod["metadata"]["namespace"], "name": pod["metadata"]["name"], "message": message, "since": still[key]}
                )
        self._since = still
        report.sort(key=lambda item: (item["namespace"], item["name"]))
        if report != self._written:
            self._written = report
            draft = self._layout.pending.with_suffix(".new")
            draft.write_text(json.dumps(report))
            draft.rename(self._layout.pending)


def unschedulable(pod: Object) -> str | None:
    """Returns the scheduler's message for a pod that it cannot place, or None."""
    if "deletionTimestamp" in pod["metadata"]:
        return None
    for condition in pod.get("status", {}).get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] == "False" and condition.get("reason") == "Unschedulable":
            return condition.get("message", "no message")
    return None


def _placement(node: Object) -> list[object]:
    taints = [(taint["key"], taint.get("value"), taint["effect"]) for taint in node["spec"].get("taints") or []]
    return [node["metadata"]["name"], node["metadata"].get("labels"), taints, node["status"].get("allocatable")]
