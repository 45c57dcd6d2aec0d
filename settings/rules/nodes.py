"""Rules about the nodes: `cluster` and `gpuPool`."""

from __future__ import annotations

import re
from collections.abc import Iterator

from settings import sysctls
from settings.error_messages import closest
from settings.problems import Problem
from settings.rules.rule import rule
from settings.stack import StackSettings


@rule("gpuPool")
def gpu_pool_bounds(settings: StackSettings) -> Iterator[Problem]:
    """The GPU pool's minNodes is at most its maxNodes."""
    pool = settings.gpu_pool
    if pool.min_nodes is not None and pool.max_nodes is not None and pool.min_nodes > pool.max_nodes:
        yield _above("gpuPool", pool.min_nodes, pool.max_nodes)


@rule("cluster")
def system_pool_bounds(settings: StackSettings) -> Iterator[Problem]:
    """The system pool's minNodes is at most its maxNodes."""
    pool = settings.cluster.system_pool
    if pool.min_nodes > pool.max_nodes:
        yield _above("cluster.systemPool", pool.min_nodes, pool.max_nodes)


def _above(key: str, low: int, high: int) -> Problem:
    return Problem(
        key=f"{key}.minNodes",
        value=str(low),
        consequence=f"is above {key}.maxNodes ({high}), so Azure would refuse the pool",
        fix=f"at most {high}, or a higher maxNodes",
    )


SYSTEM_POOL_VCPUS = 4
"""AKS refuses a system pool of smaller nodes. Source: MicrosoftDocs/azure-aks-docs articles/aks/use-system-pools.md"""


@rule("cluster")
def system_pool_is_large_enough(settings: StackSettings) -> Iterator[Problem]:
    """The system pool's nodes have at least four vCPUs, as far as the size's name says how many it has."""
    size = settings.cluster.system_pool.vm_size
    # From v3 on the number is that of the vCPUs, and a number behind a hyphen is that of those left. Older names only count sizes.
    # Source: https://learn.microsoft.com/azure/virtual-machines/vm-naming-conventions
    named = re.fullmatch(r"Standard_[A-Z]+([0-9]+)(?:-([0-9]+))?[a-z]*(?:_[A-Za-z0-9]+)*_v(?:[3-9]|[1-9][0-9])", size)
    vcpus = int(named[2] or named[1]) if named else SYSTEM_POOL_VCPUS
    if vcpus < SYSTEM_POOL_VCPUS:
        yield too_small_for_a_system_pool(size, vcpus)


def too_small_for_a_system_pool(size: str, vcpus: int) -> Problem:
    """The problem of a VM size with so few vCPUs."""
    return Problem(
        key="cluster.systemPool.vmSize",
        value=size,
        consequence=f"has {vcpus} vCPUs, and AKS refuses a system pool of nodes with fewer than {SYSTEM_POOL_VCPUS}",
        fix='a larger size, such as "Standard_D4ds_v5"',
    )


@rule("gpuPool", "cluster")
def zones_are_unique(settings: StackSettings) -> Iterator[Problem]:
    """No pool lists a zone twice."""
    for key, zones in (("gpuPool.zones", settings.gpu_pool.zones), ("cluster.zones", settings.cluster.zones)):
        if len(set(zones)) < len(zones):
            yield Problem(
                key=key, value=", ".join(zones), consequence="lists a zone twice, so Azure would refuse the pool", fix="each zone once"
            )


@rule("gpuPool")
def sysctls_are_allowed(settings: StackSettings) -> Iterator[Problem]:
    """AKS accepts the kernel settings of the GPU pool."""
    for name, value in settings.gpu_pool.sysctls.items():
        wrong = _sysctl(name, value)
        if wrong:
            yield Problem(key=f"gpuPool.sysctls.{name}", value=str(value), consequence=wrong[0], fix=wrong[1])


def _sysctl(name: str, value: int | str) -> tuple[str, str] | None:
    if name == sysctls.PORT_RANGE:
        if sysctls.port_range_is_allowed(str(value)):
            return None
        return "is not a range of ports that AKS accepts", 'two ports in quotes, from 1024-60999 to 32768-65535, such as "32768 60999"'
    if name in sysctls.ELSEWHERE:
        return "AKS does not allow a node pool to set it", f"use {sysctls.ELSEWHERE[name]}, which the node agent applies"
    if name not in sysctls.RANGES and name not in sysctls.WITHOUT_RANGE:
        near = closest(name, [*sysctls.RANGES, *sysctls.WITHOUT_RANGE, sysctls.PORT_RANGE])
        return (
            "AKS does not allow a node pool to set it",
            f"did you mean {near}?" if near else "one of the settings that AKS documents for linuxOSConfig",
        )
    if isinstance(value, str):
        return "is text where a whole number is expected", "the number without quotes"
    low, high = sysctls.RANGES.get(name, (value, value))
    return None if low <= value <= high else ("is outside the range that AKS accepts", f"from {low} to {high}")


RULES = (gpu_pool_bounds, system_pool_bounds, system_pool_is_large_enough, zones_are_unique, sysctls_are_allowed)
