"""Addresses, times and HTTP filters as Envoy's API spells them."""

from __future__ import annotations

from typing import Any

from engines.flags import field

EXTENSIONS = "type.googleapis.com/envoy.extensions"
HCM = f"{EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager"
COORDINATOR = "coordinator"
"""The name of the clients' listener in Envoy's statistics."""


def address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def seconds(count: float) -> str:
    return f"{count:g}s"


def http_filter(name: str, message: str, fields: dict[str, Any], *settings: str) -> Any:
    """An HTTP filter; `settings` are the keys of those that it is there for."""
    there = {"name": f"envoy.filters.http.{name}", "typed_config": {"@type": f"{EXTENSIONS}.filters.http.{message}", **fields}}
    return field(there, *settings) if settings else there


def lua(source: str, *settings: str) -> Any:
    """A filter that runs a program in Lua."""
    return http_filter("lua", "lua.v3.Lua", {"default_source_code": {"inline_string": source}}, *settings)
