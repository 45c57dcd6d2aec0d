"""The supervisor `python -m rehearsal.cluster`, which runs beside a control plane as long as the cluster exists."""

from __future__ import annotations

import threading
import time
import traceback

from rehearsal.cluster.egress import EgressProxy
from rehearsal.layout import Layout


def main() -> None:
    """Serves the egress proxy, waits for the API server, and then keeps nodes, volumes and controllers up to date."""
    layout = Layout.from_environment()
    egress = EgressProxy(layout.socket)
    egress.start()  # before the slow imports: the API server needs it first
    from kubernetes.client import ApiException

    from rehearsal.cluster.api import Api, Cache
    from rehearsal.cluster.leader_worker_set import LeaderWorkerSetController
    from rehearsal.cluster.node_controller import NodeController
    from rehearsal.cluster.scheduling import PendingReport
    from rehearsal.cluster.volumes import Provisioner

    while not layout.kubeconfig.exists():
        time.sleep(0.1)
    api, changed = Api(layout), threading.Event()
    nodes, pods, claims, volumes = (
        Cache(api, f"/api/v1/{kind}", changed) for kind in ("nodes", "pods", "persistentvolumeclaims", "persistentvolumes")
    )
    for cache in (nodes, pods, claims, volumes):
        cache.filled.wait()
    parts = [
        NodeController(layout, api, nodes, pods),
        Provisioner(api, claims, volumes, nodes),
        PendingReport(layout, pods, nodes),
        LeaderWorkerSetController(layout, api, pods, egress),
    ]
    while layout.cluster.exists():  # gone with the cluster
        for part in parts:
            try:
                part.step()
            except (ApiException, OSError) as error:
                print(f"{type(part).__name__}: {error}", flush=True)
            except Exception:
                traceback.print_exc()
        changed.wait(0.2)  # the state file changes without an event
        changed.clear()
        time.sleep(0.05)


if __name__ == "__main__":
    main()
