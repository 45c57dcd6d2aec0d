"""A rehearsed subscription: its regions, zones, sizes on offer and quota, from `rehearsal/subscriptions/<name>.yaml`."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rehearsal.azure.diff import normal_location

FOLDER = Path(__file__).resolve().parent.parent / "subscriptions"
_DATA = Path(__file__).resolve().parent / "data"
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, kw_only=True)
class Size:
    """A VM size. `local_disk_gib` is the largest local disk, which an ephemeral OS disk must fit."""

    name: str
    vcpus: int
    memory_gib: float
    local_disk_gib: int
    family: str
    gpus: int = 0
    gpu: str = ""
    rdma: bool = False


@functools.cache
def sizes() -> dict[str, Size]:
    """Returns all VM sizes that the stand-in knows, by name in lower case."""
    raw = yaml.load((_DATA / "sizes.yaml").read_text(), _Loader)
    return {
        name.lower(): Size(
            name=name,
            vcpus=row["vcpus"],
            memory_gib=row["memoryGiB"],
            local_disk_gib=row["tempDiskGiB"],
            family=row["family"],
            gpus=row.get("gpus", 0),
            gpu=row.get("gpu", ""),
            rdma=row.get("rdma", False),
        )
        for name, row in raw.items()
    }


@functools.cache
def built_in_roles() -> dict[str, str]:
    """Returns the names of Azure's built-in roles, by GUID."""
    return yaml.load((_DATA / "roles.yaml").read_text(), _Loader)


@dataclass(frozen=True, kw_only=True)
class Subscription:
    """A subscription: its regions, zones, VM sizes and quota."""

    name: str
    description: str
    subscription_id: str
    tenant_id: str
    object_id: str
    regions: dict[str, list[str]]  # region -> zones
    kubernetes_versions: list[str]
    not_offered: frozenset[str]  # lower case
    quota: dict[str, Any]
    features: frozenset[str] = frozenset()
    """What is registered beyond the defaults, such as `Microsoft.Compute/EncryptionAtHost`."""

    def zones(self, location: str) -> list[str]:
        """Returns the zones of a region, which may be none."""
        return self.regions.get(normal_location(location), [])

    def size(self, name: str, location: str) -> Size | None:
        """Returns the size, or None if this region does not offer it."""
        size = sizes().get(name.lower())
        return size if size and self.offers(size, location) else None

    def offers(self, size: Size, location: str) -> bool:
        """Whether a node of this size can be created in this region."""
        return size.name.lower() not in self.not_offered and normal_location(location) in self.regions

    def family_limit(self, family: str) -> int:
        """Returns the quota of a family in vCPUs. Azure's lists differ in case and spaces, so both are ignored."""
        limits = {_plain(name): limit for name, limit in self.quota.get("families", {}).items()}
        return limits.get(_plain(family), self.quota["family"])

    def used_by_others(self, family: str) -> int:
        """Returns the vCPUs that others use; the family `total` is the sum of the region."""
        return {_plain(name): used for name, used in self.quota.get("used", {}).items()}.get(_plain(family), 0)


def _plain(family: str) -> str:
    return family.replace(" ", "").lower()


def same_family(one: str, other: str) -> bool:
    """Whether two quota family names mean the same."""
    return _plain(one) == _plain(other)


def names() -> list[str]:
    """Returns the names of all subscriptions that can be rehearsed."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load(name: str) -> Subscription:
    """Reads a subscription. Raises KeyError for an unknown name."""
    if name not in names():
        raise KeyError(f"no rehearsed subscription '{name}'; there are: {', '.join(names())}")
    raw = yaml.load((FOLDER / f"{name}.yaml").read_text(), _Loader)
    if "extends" in raw:
        base = yaml.load((FOLDER / f"{raw['extends']}.yaml").read_text(), _Loader)
        raw = {**base, **raw}
    regions = {region: [str(z) for z in raw.get("zones", facts["zones"])] for region, facts in raw["regions"].items()}
    return Subscription(
        name=name,
        description=raw["description"],
        subscription_id=raw["subscriptionId"],
        tenant_id=raw["tenantId"],
        object_id=raw["objectId"],
        regions=regions,
        kubernetes_versions=[str(version) for version in raw["kubernetesVersions"]],
        not_offered=frozenset(size.lower() for size in raw.get("notOffered", [])),
        quota=raw["quota"],
        features=frozenset(raw.get("features", [])),
    )
