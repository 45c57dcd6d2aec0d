"""Names of everything in Azure: pure functions of the settings, known before anything is created.

Names are plain strings because other things are rendered from them (image references, the Redis address in a config
file) and because a name that is an Output cannot be checked before a deployment. So nothing here asks Azure: names
that must be unique in all of Azure end in a short hash of prefix, stack and region rather than of the subscription.
Two subscriptions with the same three would collide, and Azure would say so ("already taken"); `azure.nameSuffix`
in the stack file replaces the hash then.

Rules: https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules
Abbreviations: https://learn.microsoft.com/azure/cloud-adoption-framework/ready/azure-best-practices/resource-abbreviations
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from settings.platform import Azure

POOL_NAME_LIMIT = 12
"""Linux node pools: lower-case alphanumerics that start with a letter. https://learn.microsoft.com/azure/aks/create-node-pools"""

# Any fixed UUID does; changing it would rename, that is re-create, every role assignment.
_ROLE_ASSIGNMENTS = uuid.UUID("5f3c1c0e-6f5b-5d53-9a0c-4b1c4f6a2f77")


def digest(*parts: str, length: int = 6) -> str:
    """The first hexadecimal digits of a hash over the parts; the same parts give the same digits for ever."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:length]


def fit(name: str, limit: int) -> str:
    """The name itself if it fits, otherwise cut and ended with a hash of the whole, so that two long names stay two names."""
    if len(name) <= limit:
        return name
    tail = digest(name)
    return f"{name[: limit - len(tail) - 1].rstrip('-')}-{tail}"


def slug(text: str) -> str:
    """Lower-case letters, digits and single hyphens, as Azure's strictest hyphenated names allow."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


@dataclass(frozen=True, kw_only=True)
class Names:
    """Every Azure name of one stack. `<abbreviation>-<prefix>-<stack>` where the rules allow hyphens."""

    prefix: str
    stack: str
    location: str
    suffix: str | None = None
    """Ends the names that are unique in all of Azure; left out, a hash of the other three."""

    @property
    def base(self) -> str:
        return slug(f"{self.prefix}-{self.stack}")

    def of(self, abbreviation: str, limit: int = 60) -> str:
        """A name that is unique within the resource group; 60 satisfies each type used here unless said otherwise."""
        return fit(f"{abbreviation}-{self.base}", limit)

    @property
    def unique(self) -> str:
        return self.suffix or digest(self.prefix, self.stack, self.location.lower())

    def _compact(self, abbreviation: str, limit: int) -> str:
        """Letters and digits only, ending in the unique part whatever has to be cut."""
        room = limit - len(abbreviation) - len(self.unique)
        return f"{abbreviation}{self.base.replace('-', '')[:room]}{self.unique}"

    @property
    def resource_group(self) -> str:
        return self.of("rg")

    @property
    def node_resource_group(self) -> str:
        """AKS makes this one; the API refuses more than 80 characters."""
        return fit(f"{self.resource_group}-nodes", 80)

    @property
    def kubelet_identity(self) -> str:
        return self.of("id-kubelet")

    @property
    def cluster(self) -> str:
        return self.of("aks")

    @property
    def dns_prefix(self) -> str:
        """1-54 alphanumerics and hyphens; AKS adds its own random part."""
        return self.of("aks", 54)

    @property
    def registry(self) -> str:
        """5-50 alphanumerics, unique in all of Azure."""
        return self._compact("cr", 50)

    @property
    def storage_account(self) -> str:
        """3-24 lower-case letters and digits, unique in all of Azure."""
        return self._compact("st", 24)

    @property
    def redis(self) -> str:
        """1-60 letters, digits and single hyphens, unique in its region."""
        return f"{self.of('amr', 60 - 1 - len(self.unique))}-{self.unique}"

    @property
    def registry_host(self) -> str:
        """Where images are pulled from, before there is a registry. Public cloud only."""
        return f"{self.registry}.azurecr.io"

    @property
    def redis_host(self) -> str:
        return redis_host(self.redis, self.location)


def names_of(azure: Azure, stack: str) -> Names:
    """The stack's names, also for what is rendered before anything is deployed."""
    return Names(prefix=azure.name_prefix, stack=stack, location=azure.location, suffix=azure.name_suffix)


def redis_host(name: str, location: str) -> str:
    """Azure Managed Redis answers at `<name>.<region>.redis.azure.net`, port 10000; a private endpoint keeps the name.

    Source: MicrosoftDocs/azure-docs articles/redis/how-to-redis-cli-tool.md (`yourcachename.region.redis.azure.net:10000`).
    """
    return f"{name}.{location.replace(' ', '').lower()}.redis.azure.net"


def pool_name(base: str, fixed: Mapping[str, Any]) -> str:
    """A node pool's name that changes exactly when something changes that a pool cannot change in place.

    `fixed` is everything AKS only takes at creation. A new name makes the replacement a second pool beside the first
    (blue/green) instead of two pools fighting for one name. Key order does not matter.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]{0,4}", base):
        raise ValueError(
            f"pool name {base!r} must be 1-5 lower-case letters or digits that start with a letter, to leave room for the hash"
        )
    return base + digest(json.dumps(fixed, sort_keys=True), length=min(8, POOL_NAME_LIMIT - len(base)))


def role_assignment_name(*parts: str) -> str:
    """The GUID that names a role assignment: the same assignee, role and scope always give the same one.

    Role assignment names are unique in the Entra tenant, so the parts start with the subscription.
    Source: https://learn.microsoft.com/azure/azure-resource-manager/bicep/scenarios-rbac#name
    """
    return str(uuid.uuid5(_ROLE_ASSIGNMENTS, "/".join(parts)))


def tags(*, project: str, stack: str, extra: Mapping[str, str]) -> dict[str, str]:
    """On everything that takes tags, so that a bill can be split; the user's own tags win."""
    return {"project": project, "stack": stack, "managed-by": "pulumi", **extra}
