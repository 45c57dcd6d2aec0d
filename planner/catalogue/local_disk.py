"""The disks inside a GPU node: which one the operating system uses, and what is left for weights.

Sources: MicrosoftDocs/azure-aks-docs articles/aks/best-practices-storage-nvme.md@0543df94 (2025-10-17): local NVMe disks come raw, one for
each GPU of the sizes that have them beside a temporary disk; an ephemeral OS disk on a size's only NVMe disk leaves the rest of it
out of reach. The series pages in data/gpu_sizes.csv. Unverified: that what an ephemeral OS disk leaves of a temporary disk stays mounted
at /mnt; the node's agent looks, and says so when it does not.
"""

from __future__ import annotations

from typing import Literal

from planner.catalogue.hardware import GpuSize


def os_disk_type(size: GpuSize, os_disk_gib: int, *, for_weights: bool) -> Literal["Ephemeral", "Managed"]:
    """Returns `Ephemeral` where the machine's own disk is large enough for the operating system: it is faster and free.

    It is lost with the node, which does no harm. Where it would take the only NVMe disk away from the weights, the result is `Managed`.
    """
    if for_weights and size.temp_disk_kind == "nvme":
        return "Managed"
    return "Ephemeral" if size.temp_disk_gib is not None and size.temp_disk_gib >= os_disk_gib else "Managed"


def room_for_weights_gib(size: GpuSize, os_disk_gib: int) -> float | None:
    """Returns the GiB for weights on a node's local disk; None when the size has no known local disk."""
    if size.nvme_disk_gib is not None:
        return size.nvme_disk_gib
    return _beside_the_system_gib(size, os_disk_gib, for_weights=True)


def cache_gib(size: GpuSize, os_disk_gib: int) -> float:
    """Returns the GiB of the disk at /mnt, where drivers keep what they fetch: the temporary disk, or what the system leaves of it.

    Without either, /mnt is a folder of the system's own disk.
    """
    return _beside_the_system_gib(size, os_disk_gib, for_weights=False) or os_disk_gib


def _beside_the_system_gib(size: GpuSize, os_disk_gib: int, *, for_weights: bool) -> float | None:
    """Returns the GiB of the temporary disk that the operating system does not take; None when the size has no such disk."""
    if size.temp_disk_gib is None:
        return None
    return size.temp_disk_gib - (os_disk_gib if os_disk_type(size, os_disk_gib, for_weights=for_weights) == "Ephemeral" else 0)
