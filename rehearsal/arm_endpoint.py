"""A small read-only part of Azure Resource Manager over HTTP: what a region offers, the quota in use, and what exists.

The program asks before it creates anything; in a rehearsal `ARM_ENDPOINT` points here. Paths and JSON shapes (Azure REST API reference):
Microsoft.Compute `skus` 2021-07-01 and `locations/{location}/usages` 2024-07-01, Microsoft.ContainerService
`locations/{location}/kubernetesVersions` 2025-09-01, Microsoft.Features `providers/{provider}/features/{feature}` 2021-07-01,
`resourceGroups/{group}/resources` 2021-04-01, and GET of a resource.
"""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlparse

from rehearsal.azure.diff import normal_location
from rehearsal.azure.pools import pools_of, vcpus_in_use
from rehearsal.azure.state import Cloud, StateFile
from rehearsal.azure.subscription import Size, Subscription, sizes


def skus(subscription: Subscription, location: str) -> dict[str, Any]:
    """Returns the VM sizes of a region as `az vm list-skus` gets them, without those that Azure no longer offers."""
    offered = [size for size in sizes().values() if subscription.offers(size, location)]
    return {"value": [_sku(size, location, subscription.zones(location)) for size in offered]}


def _sku(size: Size, location: str, zones: list[str]) -> dict[str, Any]:
    facts = {
        "vCPUs": size.vcpus,
        "MemoryGB": f"{size.memory_gib:g}",
        "MaxResourceVolumeMB": size.local_disk_gib * 1024,
        "EphemeralOSDiskSupported": size.local_disk_gib > 0,
        "RdmaEnabled": size.rdma,
        "LowPriorityCapable": True,
        "PremiumIO": True,
        "CpuArchitectureType": "x64",
        **({"GPUs": size.gpus} if size.gpus else {}),
    }
    return {
        "resourceType": "virtualMachines",
        "name": size.name,
        "tier": "Standard",
        "size": size.name.removeprefix("Standard_"),
        "family": size.family,
        "locations": [location],
        "locationInfo": [{"location": location, "zones": zones, "zoneDetails": []}],
        "capabilities": [{"name": name, "value": str(value)} for name, value in facts.items()],
        "restrictions": [],
    }


def usages(subscription: Subscription, cloud: Cloud, location: str) -> dict[str, Any]:
    """Returns the vCPUs used and allowed in a region: in total, for spot, and by family."""
    del location  # the rehearsed cloud has one cluster, hence one region
    rows = [
        ("cores", "Total Regional vCPUs", vcpus_in_use(cloud, None) + subscription.used_by_others("total"), subscription.quota["total"]),
        ("lowPriorityCores", "Total Regional Low-priority vCPUs", vcpus_in_use(cloud, None, spot=True), subscription.quota["spot"]),
    ]
    for family in sorted({size.family for size in sizes().values()}):
        used = vcpus_in_use(cloud, family) + subscription.used_by_others(family)
        rows.append((family, f"{family} vCPUs", used, subscription.family_limit(family)))
    return {
        "value": [
            {"unit": "Count", "currentValue": used, "limit": limit, "name": {"value": name, "localizedValue": words}}
            for name, words, used, limit in rows
        ]
    }


def kubernetes_versions(subscription: Subscription) -> dict[str, Any]:
    """Returns the versions of AKS in a region; all of them have both support plans here."""
    plans = {"supportPlan": ["KubernetesOfficial", "AKSLongTermSupport"]}
    return {"values": [{"version": version, "capabilities": plans, "isPreview": None} for version in subscription.kubernetes_versions]}


def feature(subscription: Subscription, name: str) -> dict[str, Any]:
    """Returns a feature of the subscription, such as `Microsoft.Compute/EncryptionAtHost`, in whatever case it was asked for."""
    registered = name.lower() in {one.lower() for one in subscription.features}
    return {"name": name, "properties": {"state": "Registered" if registered else "NotRegistered"}}


def resource(cloud: Cloud, identifier: str) -> dict[str, Any] | None:
    """Returns a resource as ARM does, with what is particular to its type under `properties`; None if there is none."""
    found = cloud.get(identifier)
    if found is None:
        return None
    flat = dict(found["outputs"])
    if found["token"].endswith(":ManagedCluster"):
        flat["agentPoolProfiles"] = [{**pool, "name": key.rsplit("/", 1)[1]} for key, pool in pools_of(cloud, found["id"])]
    if found["token"].endswith(":VirtualNetwork"):
        flat["subnets"] = [
            {"id": part["id"], "name": part["outputs"]["name"], "properties": part["outputs"]} for part in cloud.parts_of(found["id"])
        ]
    return {
        **{key: flat.pop(key) for key in ("id", "name", "type", "location", "tags", "sku", "identity", "kind", "zones") if key in flat},
        "properties": flat,
    }


def resources(cloud: Cloud, group: str, kind: str | None) -> dict[str, Any] | None:
    """Returns the resources of a group, all of them or those of one type; None if there is no such group."""
    if cloud.get(group) is None:
        return None
    found = [
        item["outputs"] for key, item in cloud.resources.items() if re.fullmatch(rf"{re.escape(group)}/providers/[^/]+/[^/]+/[^/]+", key)
    ]
    rows = [{key: one.get(key) for key in ("id", "name", "type", "location")} for one in found]
    return {"value": [row for row in rows if kind is None or row["type"].lower() == kind.lower()]}


class ArmEndpoint:
    """An HTTP server that runs until `stop`; `url` is its address."""

    def __init__(self, subscription: Subscription, state: StateFile) -> None:
        handler = _handler(subscription, state)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True, name="arm").start()

    def stop(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


def _handler(subscription: Subscription, state: StateFile) -> type[BaseHTTPRequestHandler]:
    here = f"/subscriptions/{subscription.subscription_id}"
    base = f"{here}/providers/microsoft.compute"

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parsed = urlparse(self.path)
            path, query = parsed.path.lower().rstrip("/"), {key.lower(): value[0] for key, value in parse_qs(parsed.query).items()}
            if "api-version" not in query:
                return self._answer(
                    400,
                    _error("MissingApiVersionParameter", "The api-version query parameter (?api-version=) is required for all requests."),
                )
            if path == f"{base}/skus":
                region_filter = re.search(r"location\s+eq\s+'([^']+)'", query.get("$filter", ""))
                location = normal_location(region_filter.group(1)) if region_filter else next(iter(subscription.regions))
                return self._answer(200, skus(subscription, location))
            usages_path = re.fullmatch(rf"{re.escape(base)}/locations/([^/]+)/usages", path)
            if usages_path:
                return self._answer(200, usages(subscription, state.read(), normal_location(usages_path.group(1))))
            if re.fullmatch(rf"{here}/providers/microsoft\.containerservice/locations/[^/]+/kubernetesversions", path):
                return self._answer(200, kubernetes_versions(subscription))
            if asked := re.fullmatch(rf"{here}/providers/microsoft\.features/providers/([^/]+)/features/([^/]+)", path):
                return self._answer(200, feature(subscription, f"{asked[1]}/{asked[2]}"))
            if path.startswith(f"{here}/resourcegroups/"):
                return self._existing(path, query)
            return self._answer(404, _error("InvalidResourceType", f"The rehearsal's Azure answers no GET {parsed.path}."))

        def _existing(self, path: str, query: dict[str, str]) -> None:
            cloud = state.read()
            if path.endswith("/resources"):
                kind = re.search(r"resourceType\s+eq\s+'([^']+)'", query.get("$filter", ""))
                found = resources(cloud, path.removesuffix("/resources"), kind.group(1) if kind else None)
            else:
                found = resource(cloud, path)
            return self._answer(200, found) if found else self._answer(404, _error("ResourceNotFound", f"{path} was not found."))

        def _answer(self, status: int, body: dict[str, Any]) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json; charset=utf-8")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    return Handler


def _error(code: str, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}
