"""Service accounts of pods that Azure knows by a managed identity (`infra/azure/workload_identity.py` has the other half)."""

from __future__ import annotations

import pulumi
import pulumi_kubernetes as k8s

from infra.kubernetes.pods import Manifest, manifest


def of_identity(name: str, metadata: Manifest, client_id: pulumi.Input[str], opts: pulumi.ResourceOptions) -> k8s.core.v1.ServiceAccount:
    """Without a token for the API server, to which such pods do not talk: Azure's is another one, projected by the workload identity
    webhook."""
    return k8s.core.v1.ServiceAccount(
        f"{name}-account",
        metadata=manifest(metadata | {"annotations": {"azure.workload.identity/client-id": client_id}}),
        automount_service_account_token=False,
        opts=opts,
    )
