"""Computes what Azure adds to a resource: ids, names, endpoints and states. All of it follows from the id and never changes by itself."""

from __future__ import annotations

import hashlib
import ipaddress
import uuid
from collections.abc import Callable
from typing import Any

from rehearsal.azure.diff import normal_location
from rehearsal.azure.pools import pools_of
from rehearsal.azure.rules import Request
from rehearsal.azure.state import Cloud

_NAMESPACE = uuid.UUID("5ab5c219-4e74-4e0a-9a5e-7f0f4b7a2d11")


def guid(*parts: str) -> str:
    """Returns a GUID that depends only on the parts."""
    return str(uuid.uuid5(_NAMESPACE, "/".join(part.lower() for part in parts)))


def digest(text: str, length: int = 8) -> str:
    """Returns a short hexadecimal digest of a text."""
    return hashlib.sha256(text.lower().encode()).hexdigest()[:length]


def outputs(request: Request, kubernetes_version: str = "") -> dict[str, Any]:
    """All outputs of a resource: its inputs, what every resource has, and what its type adds.

    `resourceGroupName` and the name inputs are no outputs of an azure-native resource, but the real provider keeps inputs
    in its state too (under `__inputs`), so they do no harm here.
    """
    merged: dict[str, Any] = {
        **request.inputs,
        "id": request.id,
        "name": request.name,
        "type": request.kind.arm,
        "provisioningState": "Succeeded",
        "azureApiVersion": "rehearsal",
        "systemData": {},
        "etag": digest(request.id),
        "eTag": digest(request.id),
    }
    if request.location and "location" not in merged and request.kind.short in _LOCATED:
        merged["location"] = request.location
    if isinstance(merged.get("identity"), dict):
        merged["identity"] = _identity(request, merged["identity"])
    add = _ADDED.get(request.kind.short)
    if add:
        merged.update(add(request))
    if request.kind.short == "ManagedCluster":
        asked = str(request.inputs.get("kubernetesVersion") or "")
        # A patch that was asked for is what runs; a minor version gets its latest patch (the model of ManagedCluster).
        merged["currentKubernetesVersion"] = asked if asked.count(".") == 2 else kubernetes_version or asked
    return merged


_LOCATED = {
    "VirtualNetwork", "NatGateway", "PublicIPAddress", "NetworkSecurityGroup", "PrivateEndpoint", "ManagedCluster",
    "UserAssignedIdentity", "Registry", "StorageAccount", "Vault", "RedisEnterprise", "AzureMonitorWorkspace",
    "DataCollectionEndpoint", "DataCollectionRule", "Workspace", "Grafana", "Component", "PrometheusRuleGroup",
}  # fmt: skip


def _identity(request: Request, identity: dict[str, Any]) -> dict[str, Any]:
    """Adds ids to a system identity, and turns a list of user identities into a map with their ids."""
    out = dict(identity)
    if "SystemAssigned" in str(identity.get("type", "")).replace(" ", ""):
        out["principalId"] = guid(request.id, "principal")
        out["tenantId"] = request.subscription.tenant_id
    users = identity.get("userAssignedIdentities")
    if users:
        out["userAssignedIdentities"] = {item: {"principalId": guid(item, "principal"), "clientId": guid(item, "client")} for item in users}
    return out


def _address(request: Request) -> dict[str, Any]:
    """Returns an address of a range of Azure's own, because rules ask whether an address is a public one."""
    number = int(digest(request.id, 2), 16)
    return {"ipAddress": str(ipaddress.ip_address("20.81.0.0") + number), "resourceGuid": guid(request.id)}


def _user_identity(request: Request) -> dict[str, Any]:
    return {
        "clientId": guid(request.id, "client"),
        "principalId": guid(request.id, "principal"),
        "tenantId": request.subscription.tenant_id,
    }


def _cluster(request: Request) -> dict[str, Any]:
    region, prefix = request.location, request.inputs.get("dnsPrefix", request.name)
    node_group = request.inputs.get("nodeResourceGroup") or f"MC_{request.group_name}_{request.name}_{region}"[:80]
    base = f"/subscriptions/{request.subscription.subscription_id}/resourceGroups/{node_group}"
    fqdn = f"{prefix}-{digest(request.id)}.hcp.{region}.azmk8s.io"
    private = (request.inputs.get("apiServerAccessProfile") or {}).get("enablePrivateCluster")
    issuer = dict(request.inputs.get("oidcIssuerProfile") or {})
    if issuer.get("enabled"):
        issuer["issuerURL"] = f"https://{region}.oic.prod-aks.azure.com/{request.subscription.tenant_id}/{guid(request.id, 'issuer')}/"
    addons = {}
    for name, addon in (request.inputs.get("addonProfiles") or {}).items():
        addons[name] = dict(addon)
        if addon.get("enabled"):
            addons[name]["identity"] = _managed(
                f"{base}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{name.lower()}-{request.name}"
            )
    kubelet = ((request.inputs.get("identityProfile") or {}).get("kubeletidentity") or {}).get("resourceId")
    kubelet = kubelet or f"{base}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{request.name}-agentpool"
    return {
        "nodeResourceGroup": node_group,
        "fqdn": fqdn,
        "privateFQDN": fqdn.replace(".hcp.", ".privatelink.") if private else None,
        "azurePortalFQDN": fqdn.replace(".hcp.", ".portal.hcp."),
        "maxAgentPools": 100,
        "powerState": {"code": "Running"},
        "resourceUID": digest(request.id, 24),
        "oidcIssuerProfile": issuer,
        "addonProfiles": addons,
        "identityProfile": {"kubeletidentity": _managed(kubelet)},
    }


def _managed(resource: str) -> dict[str, str]:
    return {"resourceId": resource, "clientId": guid(resource, "client"), "objectId": guid(resource, "principal")}


def current(record: dict[str, Any], cloud: Cloud) -> dict[str, Any]:
    """Returns the outputs of a resource with what changes by itself: a cluster lists all of its pools, by name, each with its nodes of now.

    Source of the order: pulumi/pulumi-azure-native issue 1298, where the pool that came first by name is the first of the list.
    """
    if record["token"].endswith(":ManagedCluster"):
        pools = [_pool(pool, record["outputs"]) for _, pool in pools_of(cloud, record["id"])]
        return {**record["outputs"], "agentPoolProfiles": pools}
    if record["token"].endswith(":AgentPool"):
        cluster = cloud.get(record["id"].rsplit("/agentPools/", 1)[0])
        return {**record["outputs"], **_pool(cloud.pools[record["id"].lower()], cluster["outputs"] if cluster else {})}
    return record["outputs"]


def _pool(pool: dict[str, Any], cluster: dict[str, Any]) -> dict[str, Any]:
    version = cluster.get("currentKubernetesVersion", "")
    return {
        "orchestratorVersion": version,
        **pool,
        "provisioningState": "Succeeded",
        "powerState": {"code": "Running"},
        "nodeImageVersion": "AKSUbuntu-2404gen2containerd-202611.10.0",
        "currentOrchestratorVersion": version,
    }


def _storage(request: Request) -> dict[str, Any]:
    ends = {kind: f"https://{request.name}.{kind}.core.windows.net/" for kind in ("blob", "dfs", "file", "queue", "table")}
    return {
        "primaryEndpoints": ends,
        "primaryLocation": request.location,
        "statusOfPrimary": "available",
        "creationTime": "2026-01-01T00:00:00Z",
    }


def _registry(request: Request) -> dict[str, Any]:
    return {"loginServer": f"{request.name.lower()}.azurecr.io", "creationDate": "2026-01-01T00:00:00Z"}


def _vault(request: Request) -> dict[str, Any]:
    properties = {**request.inputs["properties"], "vaultUri": f"https://{request.name}.vault.azure.net/", "provisioningState": "Succeeded"}
    return {"properties": properties}


def _redis(request: Request) -> dict[str, Any]:
    return {
        "hostName": f"{request.name}.{normal_location(request.location)}.redis.azure.net",
        "kind": "v2",
        "redisVersion": "7.4",
        "redundancyMode": "ZR" if request.inputs.get("highAvailability") != "Disabled" else "None",
        "resourceState": "Running",
    }


def _monitor_workspace(request: Request) -> dict[str, Any]:
    group = f"/subscriptions/{request.subscription.subscription_id}/resourceGroups/MA_{request.name}_{request.location}_managed"
    base = f"{group}/providers/Microsoft.Insights"
    return {
        "accountId": guid(request.id),
        "defaultIngestionSettings": {
            "dataCollectionEndpointResourceId": f"{base}/dataCollectionEndpoints/{request.name}",
            "dataCollectionRuleResourceId": f"{base}/dataCollectionRules/{request.name}",
        },
        "metrics": {
            "prometheusQueryEndpoint": f"https://{request.name}-{digest(request.id, 4)}.{request.location}.prometheus.monitor.azure.com",
            "internalId": f"mac_{guid(request.id)}",
        },
    }


def _collection_endpoint(request: Request) -> dict[str, Any]:
    host = f"{request.name}-{digest(request.id, 4)}.{request.location}-1"
    return {
        "immutableId": f"dce-{digest(request.id, 32)}",
        "metricsIngestion": {"endpoint": f"https://{host}.metrics.ingest.monitor.azure.com"},
        "logsIngestion": {"endpoint": f"https://{host}.ingest.monitor.azure.com"},
        "configurationAccess": {"endpoint": f"https://{host}.handler.control.monitor.azure.com"},
    }


def _application(request: Request) -> dict[str, Any]:
    key = guid(request.id, "key")
    return {"appId": guid(request.id, "app"), "instrumentationKey": key, "connectionString": f"InstrumentationKey={key}"}


def _grafana(request: Request) -> dict[str, Any]:
    properties = {
        **(request.inputs.get("properties") or {}),
        "endpoint": f"https://{request.name}-{digest(request.id, 4)}.grafana.azure.com",
    }
    return {"properties": {**properties, "provisioningState": "Succeeded"}}


def _private_endpoint(request: Request) -> dict[str, Any]:
    nic = f"{request.id.rsplit('/providers/', 1)[0]}/providers/Microsoft.Network/networkInterfaces/{request.name}.nic.{guid(request.id)}"
    return {"networkInterfaces": [{"id": nic}]}


def _dates(request: Request) -> dict[str, Any]:
    return {
        "createdOn": "2026-01-01T00:00:00Z",
        "updatedOn": "2026-01-01T00:00:00Z",
        "createdBy": request.subscription.object_id,
        "updatedBy": request.subscription.object_id,
    }


_ADDED: dict[str, Callable[[Request], dict[str, Any]]] = {
    "PublicIPAddress": _address,
    "VirtualNetwork": lambda request: {"resourceGuid": guid(request.id)},
    "NatGateway": lambda request: {"resourceGuid": guid(request.id)},
    "PrivateEndpoint": _private_endpoint,
    "ManagedCluster": _cluster,
    "UserAssignedIdentity": _user_identity,
    "RoleAssignment": _dates,
    "Registry": _registry,
    "StorageAccount": _storage,
    "Vault": _vault,
    "RedisEnterprise": _redis,
    "Database": lambda _: {"resourceState": "Running", "redisVersion": "7.4"},
    "AzureMonitorWorkspace": _monitor_workspace,
    "DataCollectionEndpoint": _collection_endpoint,
    "DataCollectionRule": lambda request: {"immutableId": f"dcr-{digest(request.id, 32)}"},
    "Workspace": lambda request: {"customerId": guid(request.id)},
    "Component": _application,
    "Grafana": _grafana,
    "PrivateZone": lambda _: {"numberOfRecordSets": 1, "maxNumberOfRecordSets": 25000},
    "VirtualNetworkLink": lambda _: {"virtualNetworkLinkState": "Completed"},
    "Budget": lambda _: {"currentSpend": {"amount": 0, "unit": "USD"}},
}  # fmt: skip
