"""What AKS reserves of a node for itself, and what is left for pods.

Source: MicrosoftDocs/azure-aks-docs, articles/aks/node-resource-reservations.md (2026-07-02), Kubernetes 1.29 and later. The
page gives CPU as a table to 64 cores; its figures are exactly 60 m for the first core, 40 m for the second, 20 m each for the
third and fourth and 10 m for every further one, as Azure/karpenter-provider-azure's instancetype.go also has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

MAX_PODS_PER_NODE = 250
"""Azure CNI Overlay's default and maximum."""

_EVICTION_MIB = 100


@dataclass(frozen=True, kw_only=True)
class Allocatable:
    """What the scheduler may place on one node."""

    cpu_millicores: int
    memory_mib: int
    gpus: int
    huge_pages_mib: int


@cache
def reserved_cpu_millicores(vcpus: int) -> int:
    """Returns the kube-reserved CPU of a node in millicores."""
    return sum(60 if core == 1 else 40 if core == 2 else 20 if core <= 4 else 10 for core in range(1, vcpus + 1))


def reserved_memory_mib(ram_gib: float, max_pods: int = MAX_PODS_PER_NODE) -> int:
    """Returns the kube-reserved memory of a node plus its hard eviction threshold, in MiB."""
    return int(min(20 * max_pods + 50, ram_gib * 1024 * 0.25)) + _EVICTION_MIB


def allocatable(*, vcpus: int, ram_gib: float, gpus: int, huge_pages_mib: int) -> Allocatable:
    """Returns what is left of a node for pods. Huge pages come out of its memory."""
    return Allocatable(
        cpu_millicores=vcpus * 1000 - reserved_cpu_millicores(vcpus),
        memory_mib=int(ram_gib * 1024) - reserved_memory_mib(ram_gib) - huge_pages_mib,
        gpus=gpus,
        huge_pages_mib=huge_pages_mib,
    )
