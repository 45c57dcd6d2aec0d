"""The coordinator's readiness: its probe passes when clients can get in.

Envoy starts with a Secret that it cannot use, calls itself ready, and refuses every client: a rolling change would replace working
coordinators with such. So the probe's request passes, inside the process, through a listener with the front door's own certificates
and keys. A Secret that breaks later changes nothing: Envoy keeps what it has, for both.

https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/other_features/internal_listener
"""

from __future__ import annotations

from typing import Any

from engines.envoy import access
from engines.envoy.access import Guard
from engines.envoy.fields import EXTENSIONS, HCM, http_filter
from engines.flags import field

NAME = "ready"
"""The name of the listener that only this process reaches, and of the cluster that leads there."""

EXTENSION = {
    "name": "envoy.bootstrap.internal_listener",
    "typed_config": {"@type": f"{EXTENSIONS}.bootstrap.internal_listener.v3.InternalListener"},
}


def listener(guard: Guard) -> dict[str, Any]:
    chain: dict[str, Any] = {"filters": [{"name": "http_connection_manager", "typed_config": _connection_manager(guard)}]}
    if guard.tls:
        chain["transport_socket"] = access.transport_socket(guard.tls, of_clients=False)
    return {"name": NAME, "internal_listener": {}, "bypass_overload_manager": True, "filter_chains": [chain]}


def _connection_manager(guard: Guard) -> dict[str, Any]:
    let_in = {"match": {"prefix": "/"}, "direct_response": {"status": 200}}
    refused = {"op": "EQ", "value": {"default_value": 401, "runtime_key": "zig_ai.refused"}}
    return {
        "@type": HCM,
        "stat_prefix": NAME,
        "route_config": {"name": NAME, "virtual_hosts": [{"name": NAME, "domains": ["*"], "routes": [let_in]}]},
        "http_filters": [*access.key_filters(guard), http_filter("router", "router.v3.Router", {})],
        # A probe has no key, and an answer that says so is good news: without a file of keys that it can read, Envoy says 500.
        "local_reply_config": {"mappers": [{"filter": {"status_code_filter": {"comparison": refused}}, "status_code": 200}]},
    }


def cluster(guard: Guard) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": {"envoy_internal_address": {"server_listener_name": NAME}}}}
    tls = {"@type": f"{EXTENSIONS}.transport_sockets.tls.v3.UpstreamTlsContext"}
    return {
        "name": NAME,
        "type": "STATIC",
        "connect_timeout": "1s",
        # Any certificate will do: whose it is, clients check.
        **(
            {"transport_socket": field({"name": "envoy.transport_sockets.tls", "typed_config": tls}, access.CERTIFICATE)}
            if guard.tls
            else {}
        ),
        "load_assignment": {"cluster_name": NAME, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
