"""Asks Azure before anything is registered whether it would refuse VM sizes, zones or quota.

It makes two read-only calls to Azure Resource Manager with Pulumi's own credentials:
Resource SKUs (`Microsoft.Compute/skus`) and compute usages (`Microsoft.Compute/locations/{location}/usages`).
It checks neither prices nor capacity, which Azure does not promise before a machine starts.
"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from planner.fit.plan import Plan
from planner.rules.service import CURRENT_SIZE
from settings import Problem, StackSettings

_PUBLIC_CLOUD = "https://management.azure.com"
_API_VERSION = "2021-07-01"


@dataclass(frozen=True, kw_only=True)
class Need:
    """Nodes of one VM size that the stack is about to create."""

    key: str
    """The setting of the size in the stack file."""
    zones_key: str
    """The setting of the zones in the stack file."""
    size: str
    nodes: int
    zones: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What a subscription can get of a VM size in a region."""

    available: bool
    reason: str
    """Azure's reason code if the size is not available."""
    zones: frozenset[str]
    vcpus: int
    family: str
    """The quota family as Azure spells it; compare it by `_family`."""


def needs(settings: StackSettings, plan: Plan) -> tuple[Need, ...]:
    """Returns what the stack needs for its GPU pools and its system pool."""
    return (
        Need(
            key="gpuPool.vmSize",
            zones_key="gpuPool.zones",
            size=plan.size.name,
            nodes=sum(max(pool.nodes, pool.min_nodes) for pool in plan.gpu_pools),
            zones=tuple(zone for pool in plan.gpu_pools for zone in pool.zones),
        ),
        Need(
            key="cluster.systemPool.vmSize",
            zones_key="cluster.zones",
            size=settings.cluster.system_pool.vm_size,
            nodes=settings.cluster.system_pool.min_nodes,
            zones=settings.cluster.zones,
        ),
    )


class Arm:
    """A subscription's view of one region, read from Azure Resource Manager."""

    def __init__(self, *, subscription_id: str, token: str, endpoint: str | None = None) -> None:
        self._base = (
            f"{endpoint or os.environ.get('ARM_ENDPOINT') or _PUBLIC_CLOUD}/subscriptions/{subscription_id}/providers/Microsoft.Compute"
        )
        self._token = token

    def _pages(self, path: str, query: dict[str, str]) -> Iterator[dict[str, Any]]:
        url: str | None = f"{self._base}/{path}?{urllib.parse.urlencode(query)}"
        while url:
            request = urllib.request.Request(url, headers={"Authorization": f"Bearer {self._token}"})
            with urllib.request.urlopen(request, timeout=60) as response:
                page = json.load(response)
            yield from page["value"]
            url = page.get("nextLink")

    def offers(self, location: str) -> dict[str, Offer]:
        """Returns every VM size of a region by name. Raises OSError (urllib.error.HTTPError if Azure answers)."""
        query = {"api-version": _API_VERSION, "$filter": f"location eq '{location}'"}
        return {sku["name"]: _offer(sku) for sku in self._pages("skus", query) if sku["resourceType"] == "virtualMachines"}

    def vcpu_limits(self, location: str) -> dict[str, int]:
        """Returns the limit of vCPUs of each quota family. Raises urllib.error.HTTPError.

        The families are in lower case without spaces, because Azure spells them in several ways. The limit does not say how many are free:
        at a second update, the stack's own nodes are among those in use.
        """
        usages = self._pages(f"locations/{location}/usages", {"api-version": _API_VERSION})
        return {_family(usage["name"]["value"]): usage["limit"] for usage in usages}


def _family(name: str) -> str:
    return name.lower().replace(" ", "")


def _offer(sku: dict[str, Any]) -> Offer:
    whole_region = [r for r in sku.get("restrictions", []) if r["type"] == "Location"]
    closed_zones = {zone for r in sku.get("restrictions", []) if r["type"] == "Zone" for zone in r["restrictionInfo"].get("zones", [])}
    zones = {zone for info in sku.get("locationInfo", []) for zone in info.get("zones", [])}
    capabilities = {c["name"]: c["value"] for c in sku.get("capabilities", [])}
    return Offer(
        available=not whole_region,
        reason=whole_region[0].get("reasonCode", "") if whole_region else "",
        zones=frozenset(zones - closed_zones),
        vcpus=int(capabilities.get("vCPUs", 0)),
        family=sku.get("family", ""),
    )


def problems(settings: StackSettings, plan: Plan, arm: Arm) -> list[Problem]:
    """Returns what Azure would refuse of this plan; empty if it can proceed. Raises urllib.error.HTTPError."""
    location = settings.azure.location
    offers = arm.offers(location)
    limits = arm.vcpu_limits(location)
    found: list[Problem] = []
    for need in needs(settings, plan):
        offer = offers.get(need.size)
        if offer is None or not offer.available:
            found.append(_not_sold(need, offer, location, offers))
            continue
        missing = [zone for zone in need.zones if zone not in offer.zones]
        if missing:
            found.append(
                Problem(
                    key=need.zones_key,
                    value=", ".join(need.zones),
                    consequence=f"{need.size} is not offered in zone {', '.join(missing)} of {location}, so the pool would be refused",
                    fix=f"zones: {json.dumps(sorted(offer.zones))}",
                )
            )
        limit = limits.get(_family(offer.family), 0)
        if need.nodes * offer.vcpus > limit:
            found.append(
                Problem(
                    key=need.key,
                    value=need.size,
                    consequence=f"{need.nodes} nodes need {need.nodes * offer.vcpus} vCPUs of quota {offer.family} in {location}; "
                    f"the subscription has {limit}",
                    fix="request more quota, or plan fewer nodes",
                )
            )
    return found


def _not_sold(need: Need, offer: Offer | None, location: str, offers: dict[str, Offer]) -> Problem:
    why = f" ({offer.reason})" if offer and offer.reason else ""
    current = offers.get(CURRENT_SIZE)
    switch = need.key == "gpuPool.vmSize" and current is not None and current.available
    return Problem(
        key=need.key,
        value=need.size,
        # These are the words with which AKS would refuse the pool after the cluster is created.
        consequence=f"the VM size of {need.size} is not allowed in your subscription in location '{location}'{why}",
        fix=f"gpuPool: {{vmSize: {CURRENT_SIZE}}}" if switch else "a size that `az vm list-skus --location` lists without restrictions",
    )


def live_problems(settings: StackSettings, plan: Plan) -> list[Problem]:
    """Returns `problems` by the running program's credentials. Where Azure gives no answer it logs a warning and returns none."""
    import pulumi
    from pulumi_azure_native import authorization

    client = authorization.get_client_config()
    token = authorization.get_client_token().token
    try:
        return problems(settings, plan, Arm(subscription_id=client.subscription_id, token=token))
    except OSError as error:
        pulumi.log.warn(f"VM sizes, zones and quota were not checked before the deployment, because {_why_unanswered(error)}")
        return []


def _why_unanswered(error: OSError) -> str:
    """Says why Azure Resource Manager gave no answer, and what helps."""
    if not isinstance(error, urllib.error.HTTPError):
        return f"Azure Resource Manager could not be reached: {error}"
    said = error.read().decode(errors="replace")
    fix = ""
    if "MissingSubscriptionRegistration" in said:
        # Azure refuses all of a provider's paths until it is registered; azure-native registers it when it creates a resource.
        fix = "; `az provider register --namespace Microsoft.Compute --wait` makes it possible"
    elif error.code in (401, 403):
        fix = "; whoever deploys needs at least the role Reader on the subscription"
    return f"Azure Resource Manager answered {error.code}{fix}"
