"""Chooses the Azure Managed Redis SKU for a cache of a given size. The figures are data; nothing here asks Azure."""

from __future__ import annotations

PORT = 10000
"""The only TCP port of Azure Managed Redis. Source: MicrosoftDocs/azure-docs articles/redis/how-to-redis-cli-tool.md."""

# Nominal sizes in GB. Source: MicrosoftDocs/azure-docs articles/redis/overview.md at 08e4e73e and
# articles/redis/architecture.md at 08965de3 (both dated 2025-05-18), sizes in the order of the SKU names that the API knows
# (azure-native 3.29.0 redisenterprise.SkuName). Compute Optimized and Flash Optimized cost more or are slower and are only used by name.
_BALANCED_GB = {
    "B0": 0.5, "B1": 1, "B3": 3, "B5": 6, "B10": 12, "B20": 24, "B50": 60, "B100": 120, "B150": 180, "B250": 240,
    "B350": 360, "B500": 480, "B700": 720, "B1000": 960,
}  # fmt: skip
_MEMORY_OPTIMIZED_GB = {
    "M10": 12, "M20": 24, "M50": 60, "M100": 120, "M150": 180, "M250": 240, "M350": 360, "M500": 480, "M700": 720, "M1000": 960,
    "M1500": 1440, "M2000": 1920,
}  # fmt: skip

NOMINAL_GB: dict[str, float] = {f"MemoryOptimized_{name}": size for name, size in _MEMORY_OPTIMIZED_GB.items()} | {
    f"Balanced_{name}": size for name, size in _BALANCED_GB.items()
}
"""The size of each SKU by its API name. Of two SKUs of one size, the first is preferred: Memory Optimized has half the vCPUs of Balanced
and the lower price, and a cache of answers needs memory."""

_USABLE = 0.8
"""The usable share: about a fifth is reserved for replication and failover, with or without high availability (architecture.md,
Reserved memory)."""

_GIB_PER_GB = 1e9 / 2**30
"""The pages say GB, which is taken as decimal, the smaller meaning."""


def usable_gib(sku: str) -> float:
    """Returns the GiB that a SKU has for data. Raises KeyError for a SKU that is not in `NOMINAL_GB`."""
    return NOMINAL_GB[sku] * _GIB_PER_GB * _USABLE


def can_become(now: str, asked: str) -> bool:
    """Whether a running cache can be scaled to another SKU for certain: within its line to more memory, or at its size to more vCPUs.

    Smaller SKUs Azure allows case by case (`az redisenterprise list-skus-for-scaling`). Source: MicrosoftDocs/azure-docs
    articles/redis/how-to-scale.md.
    """
    (line, size), (other, other_size) = _parts(now), _parts(asked)
    return size <= other_size if line == other else size == other_size and _VCPUS.get(line, 0) < _VCPUS.get(other, 0)


_VCPUS = {"MemoryOptimized": 1, "Balanced": 2, "ComputeOptimized": 4}
"""vCPUs in proportion, of SKUs of one size (how-to-scale.md, tiers). Flash Optimized is left out: no line becomes it, nor the reverse."""


def _parts(sku: str) -> tuple[str, int]:
    line, _, size = sku.partition("_")
    return line, int(size[1:] or 0)


def smallest_sku(size_gib: float) -> str:
    """Returns the smallest SKU whose usable memory holds `size_gib`. Raises ValueError when none does.

    128 GiB needs MemoryOptimized_M150 (134 GiB), as M100 holds 89.
    """
    fitting = [sku for sku in NOMINAL_GB if usable_gib(sku) >= size_gib]
    if not fitting:
        raise ValueError(
            f"no Azure Managed Redis holds {size_gib:g} GiB: the largest has {max(map(usable_gib, NOMINAL_GB)):.0f} GiB of usable memory"
        )
    return min(fitting, key=lambda sku: NOMINAL_GB[sku])
