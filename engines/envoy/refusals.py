"""What clients read where Envoy itself answers: an error in the form of OpenAI's API, with words that say what to do.

Envoy's own words are often none at all (a path with `%2F`) or its status alone ("Bad Request"). What happened it knows as a flag or as
the details of the response, which are the error's `type`.
https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/http/http_conn_man/local_reply
"""

from __future__ import annotations

from typing import Any

from engines.envoy.fields import EXTENSIONS
from engines.flags import Field, field

_REFUSAL = {
    "json_format": {"error": {"message": "%LOCAL_REPLY_BODY%", "type": "%RESPONSE_CODE_DETAILS%", "code": "%RESPONSE_CODE%"}},
    "content_type": "application/json",
}
_ONCE = {"x-should-retry": "false"}
"""Read by OpenAI's clients, which would otherwise send the request twice more: openai/openai-python src/openai/_base_client.py."""
_SOON = {"Retry-After": "1"}


def local_replies(*, headers_s: float, request_s: float, request_bytes: int) -> dict[str, Any]:
    """`local_reply_config` of the clients' listener: a request's headers and all of it may take so many seconds and have so many bytes."""
    by_flag = [_mapped(_has_flag(flag), message, status, headers) for flag, (message, status, headers) in _BY_FLAG.items()]
    late = (
        f"The request did not arrive whole in time: its headers may take {headers_s:g} s, and all of it {request_s:g} s. A tunnel "
        "(CONNECT) never ends, and there is none here."
    )
    bounds = {
        "request_payload_too_large": field(
            f"The request is larger than {request_bytes:,} bytes, which is the most that is taken here.", "coordinator.limits.requestSize"
        ),
        "request_overall_timeout": late,
        "request_header_timeout": late,
    }
    by_details = [_mapped(_has_details(f"== '{details}'"), message) for details, message in (_BY_DETAILS | bounds).items()]
    no_http = _mapped(_has_details(".startsWith('http')"), _NO_HTTP)
    return {"mappers": [*by_flag, *by_details, no_http, _healthy()], "body_format": _REFUSAL}


_UNREADY = "No pipeline is ready to answer: all of them are starting, or were lost. Please try again in a moment."
_BY_FLAG: dict[str, tuple[str, int | None, dict[str, str]]] = {
    "UO": ("As many requests wait as the pipelines can answer soon. Please try again in a moment.", 503, _SOON),
    "UC": (
        "The pipeline that had this request ended before it answered. The request was not sent to another one, since it may be what ended "
        "it. The service is still there for other requests.",
        502,
        _ONCE,
    ),
    "UT": (
        "The pipeline that had this request sent nothing for too long, so it was given up. A streamed answer is silent for less time.",
        504,
        _ONCE,
    ),
    "UF": ("No connection to a pipeline could be opened, so none began this request. Please try again in a moment.", None, {}),
    "UH": (_UNREADY, None, {}),
    "LH": (_UNREADY, None, {}),
    "NR": ("There is no such path here.", 404, {}),
}
"""Message, status (None: Envoy's own) and headers, by the response's flag."""

_HEADERS = "The path or the headers of the request are too large: up to 60 KiB and 100 headers are taken."
"""Envoy's defaults: https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/config/core/v3/protocol.proto, max_headers_count, and the
connection manager's max_request_headers_kb."""
_BY_DETAILS = {
    "path_normalization_failed": "The path has a character that no path here has: an encoded slash or backslash (%2F, %5C), an encoded "
    "zero (%00), or a fragment (#). Names in a path are sent without them.",
    "absolute_path_rejected": "There is no such path here.",
    "missing_host_header": "The request has no Host header, which HTTP/1.1 asks for.",
    "upgrade_failed": "There are no WebSockets or other upgrades here. An answer is streamed as server-sent events with `stream: true`.",
    "low_version": "Only HTTP/1.1 is spoken here, and the request is of an earlier version or names none.",
    "http1.headers_too_large": _HEADERS,
    "http1.too_many_headers": _HEADERS,
    "local_rate_limited": "This client has sent as many requests as it may in a minute. Retry-After says when it may send the next.",
    "overload": "The coordinator is near the end of its memory. Please try again in a moment.",
}
_NO_HTTP = (
    "The request could not be read as HTTP/1.1: a method, path, header, length or chunk of it is malformed, or it was sent with TLS to a "
    "port without. `type` says what the parser met."
)


def _mapped(
    condition: dict[str, Any], message: str | Field, status: int | None = None, headers: dict[str, str] | None = None
) -> dict[str, Any]:
    return {
        "filter": condition,
        **({"status_code": status} if status else {}),
        "body": {"inline_string": message},
        "headers_to_add": [
            {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
            for name, value in (headers or {}).items()
        ],
    }


def _has_flag(flag: str) -> dict[str, Any]:
    return {"response_flag_filter": {"flags": [flag]}}


def _has_details(test: str) -> dict[str, Any]:
    """`test`: the rest of an expression in CEL, after the details."""
    name = "envoy.access_loggers.extension_filters.cel"
    message = f"{EXTENSIONS}.access_loggers.filters.cel.v3.ExpressionFilter"
    space = "" if test.startswith(".") else " "
    return {"extension_filter": {"name": name, "typed_config": {"@type": message, "expression": f"response.code_details{space}{test}"}}}


def _healthy() -> dict[str, Any]:
    """The one answer of Envoy's own that is no refusal: the health filter's."""
    ok = {"op": "EQ", "value": {"default_value": 200, "runtime_key": "zig_ai.healthy"}}
    return {
        "filter": {"status_code_filter": {"comparison": ok}},
        "body_format_override": {"json_format": {"status": "healthy"}, "content_type": "application/json"},
    }
