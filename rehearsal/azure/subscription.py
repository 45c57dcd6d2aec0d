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
    """All sizes the stand-in knows, by lower-case name."""
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
    """Azure's built-in roles, GUID to name."""
    return yaml.load((_DATA / "roles.yaml").read_text(), _Loader)


@dataclass(frozen=True, kw_only=True)
class Subscription:
    """What one subscription may use."""

    name: str
    description: str
    subscription_id: str
    tenant_id: str
    object_id: str
    regions: dict[str, list[str]]  # region -> zones
    kubernetes_versions: list[str]
    not_offered: frozenset[str]  # lower case
    quota: dict[str, Any]

    def zones(self, location: str) -> list[str]:
        """The zones of a region; empty if it has none."""
        return self.regions.get(normal_location(location), [])

    def size(self, name: str, location: str) -> Size | None:
        """The size, or None if this region does not offer it."""
        size = sizes().get(name.lower())
        return size if size and self.offers(size, location) else None

    def offers(self, size: Size, location: str) -> bool:
        """Whether a node of this size can be made there."""
        return size.name.lower() not in self.not_offered and normal_location(location) in self.regions

    def family_limit(self, family: str) -> int:
        """Quota of a family in vCPUs. Azure's lists differ in case and spaces, so both are ignored."""
        limits = {_plain(name): limit for name, limit in self.quota.get("families", {}).items()}
        return limits.get(_plain(family), self.quota["family"])

    def used_by_others(self, family: str) -> int:
        """vCPUs that something outside the rehearsal uses; family `total` is the region's sum."""
        return {_plain(name): used for name, used in self.quota.get("used", {}).items()}.get(_plain(family), 0)


def _plain(family: str) -> str:
    return family.replace(" ", "").lower()


def same_family(one: str, other: str) -> bool:
    """Whether two quota family names mean the same."""
    return _plain(one) == _plain(other)


def names() -> list[str]:
    """The subscriptions one can rehearse with."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load(name: str) -> Subscription:
    """Read a subscription. Raises KeyError for a name that is none."""
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
    )
