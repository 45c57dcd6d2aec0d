"""The kernel settings that AKS allows a node pool to set, with the ranges that it accepts.

Source: MicrosoftDocs/azure-aks-docs articles/aks/custom-node-configuration-reference.md @7f0624a8 (2026-08-19). Ranges that this page no
longer has are from custom-node-configuration.md @38ccd8e4 (2025-09-24).
"""

from __future__ import annotations

import re

RANGES: dict[str, tuple[int, int]] = {
    "fs.aio-max-nr": (65536, 6553500),
    "fs.file-max": (8192, 9223372036854775807),
    "fs.inotify.max_user_watches": (781250, 2097152),
    "fs.nr_open": (8192, 20000500),
    "kernel.threads-max": (20, 513785),
    "net.core.netdev_max_backlog": (1000, 3240000),
    "net.core.optmem_max": (20480, 4194304),
    "net.core.rmem_max": (212992, 134217728),
    "net.core.somaxconn": (4096, 3240000),
    "net.core.wmem_max": (212992, 134217728),
    "net.ipv4.neigh.default.gc_thresh1": (128, 80000),
    "net.ipv4.neigh.default.gc_thresh2": (512, 90000),
    "net.ipv4.neigh.default.gc_thresh3": (1024, 100000),
    "net.ipv4.tcp_fin_timeout": (5, 120),
    "net.ipv4.tcp_keepalive_intvl": (10, 90),
    "net.ipv4.tcp_keepalive_probes": (1, 15),
    "net.ipv4.tcp_keepalive_time": (30, 432000),
    "net.ipv4.tcp_max_syn_backlog": (128, 3240000),
    "net.ipv4.tcp_max_tw_buckets": (8000, 1440000),
    "net.ipv4.tcp_tw_reuse": (0, 1),
    "net.netfilter.nf_conntrack_buckets": (65536, 524288),
    "net.netfilter.nf_conntrack_max": (131072, 2097152),
    "vm.max_map_count": (65530, 262144),
    "vm.swappiness": (0, 100),
    "vm.vfs_cache_pressure": (1, 100),
}
WITHOUT_RANGE = ("net.core.rmem_default", "net.core.wmem_default")
"""Settings that the API accepts without a documented range."""

PORT_RANGE = "net.ipv4.ip_local_port_range"
"""The only setting that is a pair, as text: `32768 60999`."""

ELSEWHERE = {
    "vm.nr_hugepages": "nodeTuning.hugePages2Mi",
    "vm.overcommit_memory": "nodeTuning.overcommitMemory",
    "vm.overcommit_ratio": "nodeTuning.overcommitRatio",
}
"""Kernel settings that AKS does not accept and this project's node agent applies, with the setting of the stack file for each."""


def port_range_is_allowed(text: str) -> bool:
    """Whether AKS accepts this text as `PORT_RANGE`: two ports, the first from 1024 to 60999 and the second from 32768 to 65535."""
    match = re.fullmatch(r"([0-9]{4,5})[ \t]+([0-9]{5})", text)
    return bool(match) and 1024 <= int(match[1]) <= 60999 and 32768 <= int(match[2]) <= 65535 and int(match[1]) < int(match[2])
