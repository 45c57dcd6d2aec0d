"""The settings that AKS allows a pool to make on its nodes, with their ranges.

Source: MicrosoftDocs/azure-aks-docs articles/aks/custom-node-configuration-reference.md @7f0624a8 (2026-08-19); ranges of
rows whose range that page dropped from custom-node-configuration.md @38ccd8e4 (2025-09-24).
"""

from __future__ import annotations

import re
from typing import Any

from rehearsal.azure.rules.base import Refused

SYSCTL_RANGES: dict[str, tuple[int, int]] = {
    "fsFileMax": (8192, 9223372036854775807),
    "fsInotifyMaxUserWatches": (781250, 2097152),
    "fsAioMaxNr": (65536, 6553500),
    "fsNrOpen": (8192, 20000500),
    "netCoreSomaxconn": (4096, 3240000),
    "netCoreNetdevMaxBacklog": (1000, 3240000),
    "netCoreRmemMax": (212992, 134217728),
    "netCoreRmemDefault": (212992, 134217728),
    "netCoreWmemMax": (212992, 134217728),
    "netCoreWmemDefault": (212992, 134217728),
    "netCoreOptmemMax": (20480, 4194304),
    "netIpv4TcpMaxSynBacklog": (128, 3240000),
    "netIpv4TcpMaxTwBuckets": (8000, 1440000),
    "netIpv4TcpFinTimeout": (5, 120),
    "netIpv4TcpKeepaliveTime": (30, 432000),
    "netIpv4TcpKeepaliveProbes": (1, 15),
    "netIpv4TcpkeepaliveIntvl": (10, 90),
    "netIpv4NeighDefaultGcThresh1": (128, 80000),
    "netIpv4NeighDefaultGcThresh2": (512, 90000),
    "netIpv4NeighDefaultGcThresh3": (1024, 100000),
    "netNetfilterNfConntrackMax": (131072, 2097152),
    "netNetfilterNfConntrackBuckets": (65536, 524288),
    "kernelThreadsMax": (20, 513785),
    "vmMaxMapCount": (65530, 1048576),  # the page gives no range now; 1048576 is the newer images' default
    "vmVfsCachePressure": (1, 100),
    "vmSwappiness": (0, 100),
}
_CHOICES = {
    "kubeletConfig.cpuManagerPolicy": ("none", "static"),
    "kubeletConfig.topologyManagerPolicy": ("none", "best-effort", "restricted", "single-numa-node"),
    "linuxOSConfig.transparentHugePageEnabled": ("always", "madvise", "never"),
    "linuxOSConfig.transparentHugePageDefrag": ("always", "defer", "defer+madvise", "madvise", "never"),
}


def _refuse(name: str, value: Any, allowed: str) -> Refused:
    """Text: Azure/AKS issues on CustomKubeletConfig/CustomLinuxOSConfig validation."""
    section = "CustomKubeletConfig" if name.startswith("kubelet") else "CustomLinuxOSConfig"
    return Refused(
        f"Invalid{section}",
        f"{section} validation failed. Invalid value '{value}' for {name.split('.', 1)[1]}. Allowed: {allowed}.",
        f"properties.{name}",
    )


def node_configuration(pool: dict[str, Any], local_disk_gib: int) -> None:
    """kubeletConfig and linuxOSConfig of a pool; `local_disk_gib` bounds the swap file."""
    kubelet, linux = pool.get("kubeletConfig") or {}, pool.get("linuxOSConfig") or {}
    if (kubelet or linux) and pool.get("osType", "Linux") != "Linux" and linux:
        raise _refuse("linuxOSConfig.sysctls", "", "Linux pools only")
    for path, allowed in _CHOICES.items():
        section, key = path.split(".")
        value = (pool.get(section) or {}).get(key)
        if value is not None and value not in allowed:
            raise _refuse(path, value, ", ".join(allowed))
    _kubelet(kubelet)
    _sysctls(linux.get("sysctls") or {})
    swap = linux.get("swapFileSizeMB")
    if swap is not None and not 1 <= swap <= local_disk_gib * 1024:
        raise _refuse("linuxOSConfig.swapFileSizeMB", swap, f"1 to the size of the temp disk, {local_disk_gib * 1024} MB")
    if swap and kubelet.get("failSwapOn") is not False:
        raise _refuse("kubeletConfig.failSwapOn", kubelet.get("failSwapOn"), "false, when swapFileSizeMB is set")


def _kubelet(kubelet: dict[str, Any]) -> None:
    for key in ("imageGcHighThreshold", "imageGcLowThreshold"):
        if key in kubelet and not 0 <= kubelet[key] <= 100:
            raise _refuse(f"kubeletConfig.{key}", kubelet[key], "0 to 100")
    if kubelet.get("imageGcLowThreshold", 80) > kubelet.get("imageGcHighThreshold", 85):
        raise _refuse("kubeletConfig.imageGcLowThreshold", kubelet.get("imageGcLowThreshold", 80), "at most imageGcHighThreshold")
    if kubelet.get("containerLogMaxFiles", 5) < 2:
        raise _refuse("kubeletConfig.containerLogMaxFiles", kubelet["containerLogMaxFiles"], "2 or more")
    period = kubelet.get("cpuCfsQuotaPeriod")
    if period is not None and not re.fullmatch(r"(\d+(\.\d+)?(ns|us|ms|s|m|h))+", period):
        raise _refuse("kubeletConfig.cpuCfsQuotaPeriod", period, "a duration such as 100ms")
    for sysctl in kubelet.get("allowedUnsafeSysctls") or []:
        if not re.match(r"kernel\.shm|kernel\.msg|kernel\.sem$|fs\.mqueue\.|net\.", sysctl):
            raise _refuse("kubeletConfig.allowedUnsafeSysctls", sysctl, "kernel.shm*, kernel.msg*, kernel.sem, fs.mqueue.*, net.*")


def _sysctls(sysctls: dict[str, Any]) -> None:
    for name, (low, high) in SYSCTL_RANGES.items():
        value = sysctls.get(name)
        if value is not None and not low <= value <= high:
            raise _refuse(f"linuxOSConfig.sysctls.{name}", value, f"{low} to {high}")
    ports = sysctls.get("netIpv4IpLocalPortRange")
    if ports is not None:
        parts = [int(part) for part in ports.split() if part.isdigit()]
        if len(parts) != 2 or not 1024 <= parts[0] <= 60999 or not 32768 <= parts[1] <= 65535 or parts[0] >= parts[1]:
            raise _refuse("linuxOSConfig.sysctls.netIpv4IpLocalPortRange", ports, "'first last', first 1024 to 60999, last 32768 to 65535")
