"""Does what Azure does after it has accepted a resource: starts clusters, and adds and removes nodes."""

from __future__ import annotations

import json
import time
from typing import Any

from rehearsal.azure.nodes import desired_nodes, fingerprint
from rehearsal.azure.state import StateFile
from rehearsal.cluster import control_plane
from rehearsal.layout import Layout

NODES_TIMEOUT_S = 90  # they take 2 s, but not on a machine that is busy with other things


def addons(inputs: dict[str, Any]) -> frozenset[str]:
    """Returns the enabled add-ons of a cluster that bring their own Kubernetes types."""
    enabled = set()
    if ((inputs.get("workloadAutoScalerProfile") or {}).get("keda") or {}).get("enabled"):
        enabled.add("keda")
    if ((inputs.get("addonProfiles") or {}).get("azureKeyvaultSecretsProvider") or {}).get("enabled"):
        enabled.add("key-vault")
    return frozenset(enabled)


def written(short: str, record: dict[str, Any], layout: Layout, state: StateFile) -> None:
    """Applies the creation or update of a resource. Raises control_plane.ControlPlaneError."""
    if short == "ManagedCluster":
        control_plane.start(
            layout,
            name=record["id"].rsplit("/", 1)[1],
            version=record["inputs"].get("kubernetesVersion"),
            addons=addons(record["inputs"]),
        )
        _wait_for_nodes(record["id"], layout, state)
    elif short == "AgentPool":
        _wait_for_nodes(record["id"], layout, state)


def deleted(short: str, identifier: str, gone: list[str], layout: Layout, state: StateFile) -> None:
    """Applies the removal of a resource and its parts."""
    if any("/managedclusters/" in key and key.count("/") == 8 for key in gone):
        control_plane.stop(layout)
    elif short == "AgentPool" and layout.cluster.exists():
        _wait_for_nodes(identifier, layout, state)


def _wait_for_nodes(identifier: str, layout: Layout, state: StateFile) -> None:
    """Waits until the supervisor has seen the pools below this id as the state file has them."""
    deadline = time.monotonic() + NODES_TIMEOUT_S
    while True:
        wanted = {pool: fingerprint(nodes) for pool, nodes in desired_nodes(state.read()).items() if pool.startswith(identifier.lower())}
        try:
            seen = json.loads(layout.observed.read_text())
        except FileNotFoundError:
            seen = {}
        if wanted == {pool: value for pool, value in seen.items() if pool.startswith(identifier.lower())}:
            return
        if time.monotonic() > deadline:
            raise control_plane.ControlPlaneError(
                f"the nodes of {identifier.rsplit('/', 1)[1]} did not come up in {NODES_TIMEOUT_S} s: {len(wanted)} pools wanted, "
                f"{len(seen)} seen; {control_plane.nodes_text(layout)}"
            )
        time.sleep(0.05)
