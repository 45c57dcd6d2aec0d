"""What stands before the coordinator's service: TLS, API keys, a limit for each client. Each is left out when nobody asks for it.

Certificates and keys are files of mounted Secrets, which Envoy reads by itself and reads again when the kubelet changes them: the
configuration has their paths and nothing of their content. The kubelet swaps a link in the mounted folder, which is therefore what
Envoy watches: https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/security/secret#sds-config-source
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.envoy.fields import EXTENSIONS, http_filter, lua, seconds
from engines.flags import Field, field

CERTIFICATE_FILE, KEY_FILE, CA_FILE = "tls.crt", "tls.key", "ca.crt"
"""The names that Kubernetes and cert-manager give them in a Secret of type kubernetes.io/tls."""
API_KEYS_FILE = "api-keys.json"
"""The key of a Secret that `python -m stacks api-keys` writes."""

SERVER_SECRET, CLIENTS_SECRET = "server-certificate", "client-authority"
"""Secrets of Envoy's own kind; each has a file `NAME.yaml` beside the configuration."""

CERTIFICATE, CLIENT_CA, KEYS = "exposure.tls.secretName", "exposure.tls.clientCaSecretName", "exposure.apiKeys.secretName"
_ORIGINS, _PER_CLIENT = "exposure.allowedOrigins", "coordinator.limits.requestsPerMinutePerClient"
"""The settings that the fields below answer."""

_KEYS = Path(__file__).with_name("keys.lua").read_text()
_TLS = f"{EXTENSIONS}.transport_sockets.tls.v3"
_API_KEY_AUTH = f"{EXTENSIONS}.filters.http.api_key_auth.v3.ApiKeyAuth"
_API_KEYS = "envoy.filters.http.api_key_auth"
_CLIENT_HEADER = "x-zig-ai-client"
_MOST_CLIENTS = 10_000
"""How many clients are counted separately. Beyond them, the count of the one not seen for longest starts again."""


@dataclass(frozen=True, kw_only=True)
class Tls:
    """The folders of the certificates that Envoy presents and checks."""

    config_dir: str
    certificate_dir: str
    client_ca_dir: str | None
    """None when clients need no certificate."""


@dataclass(frozen=True, kw_only=True)
class Guard:
    """The conditions that a request must meet to be let in."""

    tls: Tls | None
    api_keys_dir: str | None
    """The folder of the file with the keys; None when no key is required."""
    requests_per_minute: int | None
    """The limit of one client at one coordinator; a client is a key, or an address when no key is required. None for no limit."""
    allowed_origins: tuple[str, ...] = ()
    """The origins of pages whose scripts may send requests; a browser's preflight request carries no key."""


def transport_socket(tls: Tls, *, of_clients: bool = True) -> Field:
    """The listener's TLS. `of_clients` is whether clients need a certificate too, where the settings ask for one."""
    common: dict[str, Any] = {
        "alpn_protocols": ["http/1.1"],
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
        "tls_certificate_sds_secret_configs": [_secret_from_file(SERVER_SECRET, tls.config_dir)],
    }
    fields: dict[str, Any] = {"@type": f"{_TLS}.DownstreamTlsContext", "common_tls_context": common}
    if tls.client_ca_dir:
        common["validation_context_sds_secret_config"] = field(_secret_from_file(CLIENTS_SECRET, tls.config_dir), CLIENT_CA)
        fields["require_client_certificate"] = field(of_clients, CLIENT_CA)
    return field({"name": "envoy.transport_sockets.tls", "typed_config": fields}, CERTIFICATE)


def _secret_from_file(name: str, folder: str) -> dict[str, Any]:
    return {"name": name, "sds_config": {"path_config_source": {"path": f"{folder}/{name}.yaml"}, "resource_api_version": "V3"}}


def secret_files(tls: Tls) -> dict[str, dict[str, Any]]:
    """Maps the names of the files beside the configuration, which hold the paths of certificates, to their content."""
    certificate = {
        "certificate_chain": {"filename": f"{tls.certificate_dir}/{CERTIFICATE_FILE}"},
        "private_key": {"filename": f"{tls.certificate_dir}/{KEY_FILE}"},
        "watched_directory": {"path": tls.certificate_dir},
    }
    secrets = {SERVER_SECRET: ({"tls_certificate": certificate}, CERTIFICATE)}
    if tls.client_ca_dir:
        authority = {"trusted_ca": {"filename": f"{tls.client_ca_dir}/{CA_FILE}"}, "watched_directory": {"path": tls.client_ca_dir}}
        secrets[CLIENTS_SECRET] = ({"validation_context": authority}, CLIENT_CA)
    return {
        f"{name}.yaml": {"resources": field([{"@type": f"{_TLS}.Secret", "name": name} | secret], key)}
        for name, (secret, key) in secrets.items()
    }


CORS = "envoy.filters.http.cors"


def cors_filters(guard: Guard) -> list[Any]:
    """The filter stands before all others, so that a page can read their refusals too."""
    return [http_filter("cors", "cors.v3.Cors", {}, _ORIGINS)] if guard.allowed_origins else []


def cors_fields(guard: Guard) -> dict[str, Any]:
    """Fields of the virtual host. A server's own header that lets in any page, with credentials, is removed."""
    own = {"response_headers_to_remove": [f"access-control-allow-{what}" for what in ("origin", "credentials", "methods", "headers")]}
    if not guard.allowed_origins:
        return own
    policy = {
        "@type": f"{EXTENSIONS}.filters.http.cors.v3.CorsPolicy",
        "allow_origin_string_match": [{"safe_regex": {"regex": field("|".join(map(re.escape, guard.allowed_origins)), _ORIGINS)}}],
        "allow_methods": "GET, POST, OPTIONS",
        # The star is for all but this one (fetch.spec.whatwg.org, CORS protocol): OpenAI's client for browsers sends a dozen of its own.
        "allow_headers": "authorization, *",
        "expose_headers": "retry-after, x-should-retry",
        "max_age": "3600",
    }
    return own | {"typed_per_filter_config": field({CORS: policy}, _ORIGINS)}


def filters(guard: Guard) -> list[Any]:
    """HTTP filters, in the order in which a request meets them."""
    chain = [lua(_KEYS, KEYS), *key_filters(guard)] if guard.api_keys_dir else []
    if guard.requests_per_minute:
        chain.append(_limit(guard.requests_per_minute, by_key=guard.api_keys_dir is not None))
    return chain


def key_filters(guard: Guard) -> list[Any]:
    """The filters that need a Secret."""
    return [_api_keys(guard.api_keys_dir)] if guard.api_keys_dir else []


def _api_keys(folder: str) -> Any:
    """The filter's configuration is the keys, and so comes from the Secret; without it nobody is let in."""
    source = {"path": f"{folder}/{API_KEYS_FILE}", "watched_directory": {"path": folder}}
    discovery = {"config_source": {"path_config_source": source, "resource_api_version": "V3"}, "type_urls": [_API_KEY_AUTH]}
    return field({"name": _API_KEYS, "config_discovery": discovery}, KEYS)


def api_keys_file(keys: Mapping[str, str]) -> str:
    """The content of the file with the keys; `keys` maps a client's name to its key."""
    return json.dumps(
        {
            "resources": [
                {
                    "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
                    "name": _API_KEYS,
                    "typed_config": {
                        "@type": _API_KEY_AUTH,
                        "credentials": [{"client": client, "key": key} for client, key in keys.items()],
                        # `Authorization: Bearer KEY`, as OpenAI's clients send it; other forms are made this one (keys.lua).
                        "key_sources": [{"header": "authorization"}],
                        "forwarding": {"header": _CLIENT_HEADER, "hide_credentials": True},
                    },
                }
            ]
        }
    )


def _limit(requests_per_minute: int, *, by_key: bool) -> Any:
    name = "client" if by_key else "remote_address"
    action = {"request_headers": {"header_name": _CLIENT_HEADER, "descriptor_key": name}} if by_key else {"remote_address": {}}
    every_request = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    limit = field(requests_per_minute, _PER_CLIENT)
    bucket = {"max_tokens": limit, "tokens_per_fill": limit, "fill_interval": seconds(60)}
    fields = {
        "stat_prefix": "client_limit",
        "filter_enabled": every_request,
        "filter_enforced": every_request,
        "rate_limits": [{"actions": field([action], KEYS)}],
        # Without a value: each value that comes has a bucket of its own.
        "descriptors": [{"entries": [{"key": field(name, KEYS)}], "token_bucket": bucket}],
        "max_dynamic_descriptors": _MOST_CLIENTS,
        "enable_retry_after_header": True,
    }
    return http_filter("local_ratelimit", "local_ratelimit.v3.LocalRateLimit", fields, _PER_CLIENT)
