"""The input of a rule, and its refusal."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any

from rehearsal.azure.diff import normal_location
from rehearsal.azure.resources import ResourceType, group_of, parent_of
from rehearsal.azure.state import Cloud
from rehearsal.azure.subscription import Subscription

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Refused(Exception):
    """A refusal in ARM's form: a code, a message and sometimes a target."""

    def __init__(self, code: str, message: str, target: str | None = None) -> None:
        self.code, self.message, self.target = code, message, target
        about = f' Target="{target}"' if target else ""
        super().__init__(f'Code="{code}" Message="{message}"{about}')


@dataclass(frozen=True)
class Request:
    """A request to create or update a resource, with all values known."""

    kind: ResourceType
    id: str
    inputs: dict[str, Any]
    cloud: Cloud
    subscription: Subscription
    old: dict[str, Any] | None = None  # the resource as it is, for an update

    @property
    def name(self) -> str:
        """The resource's own name."""
        return self.id.rsplit("/", 1)[1]

    @property
    def group_name(self) -> str:
        """The resource group's name."""
        return self.inputs.get("resourceGroupName", "")

    @property
    def location(self) -> str:
        """The region: the resource's own, its parent's, or its group's."""
        if self.inputs.get("location"):
            return normal_location(self.inputs["location"])
        identifier = self.id.lower()
        while "/" in identifier:
            identifier = identifier.rsplit("/", 1)[0]
            resource = self.cloud.get(identifier)
            if resource and resource["inputs"].get("location"):
                return normal_location(resource["inputs"]["location"])
        return ""

    def must_exist(self, reference: Any) -> dict[str, Any]:
        """The resource with this id.

        Refuses with InvalidResourceReference as Azure's network provider does (text: hashicorp/terraform-provider-azurerm
        issue 12187 and others).
        """
        resource = self.cloud.get(reference)
        if resource is None:
            raise Refused(
                "InvalidResourceReference",
                f"Resource {reference} referenced by resource {self.id} was not found. Please make sure that the "
                "referenced resource exists, and that both resources are in the same region.",
            )
        return resource


def group_exists(request: Request) -> None:
    """A resource group must exist first. Text: ARM's common error ResourceGroupNotFound (Azure docs, common-deployment-errors)."""
    group = group_of(request.id)
    if group and request.kind.short != "ResourceGroup" and request.cloud.get(group) is None:
        raise Refused("ResourceGroupNotFound", f"Resource group '{request.group_name}' could not be found.")


def parent_exists(request: Request) -> None:
    """A part needs its whole. Text: ARM's common error ParentResourceNotFound."""
    parent = parent_of(request.id)
    if parent is None or request.kind.id_template.startswith("{"):
        return  # it stands alone, or on a scope, which rules of its own check
    if parent.endswith("/blobservices/default"):
        parent = parent.rsplit("/", 2)[0]  # every storage account has its blob service from the start
    if request.cloud.get(parent) is None:
        what = request.kind.arm.split("/", 1)[1]
        raise Refused(
            "ParentResourceNotFound",
            f"Failed to perform 'write' on resource(s) of type '{what}', because the parent resource '{parent}' could not be found.",
        )


def region_exists(request: Request) -> None:
    """The region must be one of the subscription's. Text: ARM's LocationNotAvailableForResourceType."""
    location = request.inputs.get("location")
    if not location or normal_location(location) in ("global", *request.subscription.regions):
        return
    regions = ",".join(sorted(request.subscription.regions))
    raise Refused(
        "LocationNotAvailableForResourceType",
        f"The provided location '{location}' is not available for resource type '{request.kind.arm}'. List of available "
        f"regions for the resource type is '{regions}'.",
    )


def network(text: Any, where: str) -> Network:
    """A CIDR block with no bits set after the prefix, as Azure wants it."""
    try:
        return ipaddress.ip_network(str(text))
    except ValueError:
        raise Refused(
            "InvalidAddressPrefixFormat",
            f"Address prefix {text} of resource {where} is not formatted correctly. It should follow CIDR notation, for "
            "example 10.0.0.0/24.",
        ) from None


def overlap(one: Network, other: Network) -> bool:
    """Whether two blocks share an address."""
    return one.version == other.version and one.overlaps(other)
