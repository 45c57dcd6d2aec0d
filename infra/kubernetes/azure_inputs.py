"""What the Kubernetes side needs to know of the Azure side."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi


@dataclass(frozen=True, kw_only=True)
class AzureInputs:
    """Identities that pods act as, and where the weights are. Federated with the service accounts `names.py` lists."""

    coordinator_client_id: pulumi.Input[str]
    """Client id of the user-assigned identity behind `zig-ai/zig-ai-coordinator`."""
    shard_client_id: pulumi.Input[str]
    """Client id of the user-assigned identity behind `zig-ai/zig-ai-shard`; it may read the weights."""
    fetch_client_id: pulumi.Input[str] | None
    """Client id of the user-assigned identity behind `zig-ai/zig-ai-weights-fetch`, which may write the weights; None without a source."""
    copy_client_id: pulumi.Input[str] | None
    """The same behind `zig-ai-node-agents/zig-ai-weights-copy`, which may read them; None when no node keeps a copy."""
    weights_account: pulumi.Input[str]
    weights_container: pulumi.Input[str]
    weights_resource_group: pulumi.Input[str]
    gpu_nodes: tuple[pulumi.Resource, ...] = ()
    """The GPU pools. On a cluster without nodes a DaemonSet is complete at once, and waiting for it would prove nothing."""
    needed_to_serve: tuple[pulumi.Resource, ...] = ()
    """Redis, the weights, the registry, and the rights to them. A pod that starts before these fails until they are there, and the
    wait for it may end first; identities and names reach the pods as text, so nothing else orders them."""
