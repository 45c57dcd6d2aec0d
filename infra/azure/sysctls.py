"""Kernel settings by the names that Azure's API has for them. What may be set, and to what, is in settings/sysctls.py.

Names: azure-native 3.29.0 `containerservice.SysctlConfigArgs` (container service API 2025-09-01).
"""

from __future__ import annotations

from collections.abc import Mapping

from settings import sysctls

ARGUMENTS: dict[str, str] = {
    name: name.replace(".", "_").replace("-", "_") for name in (*sysctls.RANGES, *sysctls.WITHOUT_RANGE, sysctls.PORT_RANGE)
} | {
    # The one name without its underscore: netIpv4TcpkeepaliveIntvl in the API.
    "net.ipv4.tcp_keepalive_intvl": "net_ipv4_tcpkeepalive_intvl",
}
"""The 28 that AKS takes: kernel name to argument of `SysctlConfigArgs`."""

_BOOLEAN = "net.ipv4.tcp_tw_reuse"


def to_azure(values: Mapping[str, int | str]) -> dict[str, int | str | bool]:
    """Kernel names and values to arguments of `SysctlConfigArgs`. Raises KeyError for a name that settings would have refused."""
    return {ARGUMENTS[name]: _value(name, value) for name, value in values.items()}


def _value(name: str, value: int | str) -> int | str | bool:
    if name == _BOOLEAN:  # 0 and 1 to the kernel
        return bool(value)
    if name == sysctls.PORT_RANGE:
        return " ".join(str(value).split())
    return value
