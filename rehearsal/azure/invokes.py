"""The functions of azure-native that a program may call: credentials, the signed-in identity, and reading resources."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

from rehearsal.azure import computed, effects, schema
from rehearsal.azure.protocol import UNKNOWN, Secret, has_unknown
from rehearsal.azure.resources import RESOURCE_TYPES, resource_id
from rehearsal.azure.rules import Refused
from rehearsal.azure.state import Cloud
from rehearsal.azure.subscription import Subscription
from rehearsal.cluster import control_plane
from rehearsal.layout import Layout

TOKEN = "rehearsal-token"


def invoke(token: str, args: dict[str, Any], cloud: Cloud, subscription: Subscription, layout: Layout) -> dict[str, Any]:
    """Returns the answer of a function. Raises Refused as Azure would, and schema.UnknownType for what the stand-in lacks."""
    name = token.rsplit(":", 1)[1]
    if name == "getClientConfig":
        return {
            "clientId": subscription.object_id,
            "objectId": subscription.object_id,
            "subscriptionId": subscription.subscription_id,
            "tenantId": subscription.tenant_id,
        }
    if name == "getClientToken":
        return {"token": Secret(TOKEN)}
    if has_unknown(args):
        return {"kubeconfigs": UNKNOWN}
    if name in ("listManagedClusterUserCredentials", "listManagedClusterAdminCredentials", "listManagedClusterMonitoringUserCredentials"):
        return _credentials(name, args, cloud, subscription, layout)
    if name.startswith("get"):
        return _get(token, name, args, cloud, subscription)
    raise schema.UnknownType(f"the stand-in for Azure does not know the function {token} yet: add it to rehearsal/azure/invokes.py")


def _credentials(name: str, args: dict[str, Any], cloud: Cloud, subscription: Subscription, layout: Layout) -> dict[str, Any]:
    kind = RESOURCE_TYPES["azure-native:containerservice:ManagedCluster"]
    cluster = _must(cloud, resource_id(kind, args, subscription.subscription_id))
    if cluster["inputs"].get("disableLocalAccounts") and "Admin" in name:
        # text: MicrosoftDocs/azure-aks-docs manage-local-accounts-managed-azure-ad.md
        raise Refused("BadRequest", "Getting static credential is not allowed because this cluster is set to disable local accounts.")
    if (cluster["inputs"].get("apiServerAccessProfile") or {}).get("enablePrivateCluster") and not layout.inside.exists():
        return {"kubeconfigs": [{"name": "clusterUser", "value": Secret(_from_outside(cluster["outputs"]["privateFQDN"]))}]}
    if not control_plane.alive(layout):
        control_plane.start(
            layout,
            name=cluster["id"].rsplit("/", 1)[1],
            version=cluster["inputs"].get("kubernetesVersion"),
            addons=effects.addons(cluster["inputs"]),
        )
    return {"kubeconfigs": [{"name": item["name"], "value": Secret(item["value"])} for item in control_plane.credentials(layout)]}


def _from_outside(host: str) -> str:
    """Returns the kubeconfig of a private cluster, whose name nothing outside of its network resolves, in base64."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "aks", "cluster": {"server": f"https://{host}:443"}}],
        "users": [{"name": "user", "user": {"token": TOKEN}}],
        "contexts": [{"name": "aks", "context": {"cluster": "aks", "user": "user"}}],
        "current-context": "aks",
    }
    return base64.b64encode(json.dumps(config).encode()).decode()


def _get(token: str, name: str, args: dict[str, Any], cloud: Cloud, subscription: Subscription) -> dict[str, Any]:
    kind = RESOURCE_TYPES.get(token.rsplit(":", 1)[0] + ":" + name.removeprefix("get"))
    if kind is None:
        raise schema.UnknownType(f"the stand-in for Azure does not know the function {token} yet: add it to rehearsal/azure/resources.py")
    record = _must(cloud, resource_id(kind, args, subscription.subscription_id))
    return {**computed.current(record, cloud), "id": record["id"]}


def _must(cloud: Cloud, identifier: str) -> dict[str, Any]:
    record = cloud.get(identifier)
    if record is None:
        match = re.search(r"/resourceGroups/([^/]+)/providers/(.+)", identifier, re.I)
        what, group = (match.group(2), match.group(1)) if match else (identifier, "?")
        raise Refused(
            "ResourceNotFound",
            f"The Resource '{what}' under resource group '{group}' was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix",
        )
    return record
