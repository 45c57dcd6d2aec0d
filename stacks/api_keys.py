"""The Secret of a stack's API keys: new ones for the clients named, those of a Secret that is there for the others.

It holds each client's key under the client's name, so that it can be handed out, and the file that the coordinator reads. It is
printed for `kubectl apply` and written nowhere.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterable, Mapping
from typing import Any

from engines.envoy_guard import API_KEYS_FILE, api_keys_file
from infra.kubernetes import names

CLIENT = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
"""A client's name: a key of a Secret, and a header's value."""


def manifest(secret: str, clients: Iterable[str], existing: Mapping[str, Any]) -> dict[str, Any]:
    """A Secret that lets in exactly these clients and the load test; `existing` is the one in the cluster, or empty."""
    kept = {name: base64.b64decode(value).decode() for name, value in existing.get("data", {}).items()}
    wanted = dict.fromkeys((names.LOAD_TEST, *clients))
    keys = {client: kept.get(client) or secrets.token_urlsafe(32) for client in wanted}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": secret, "namespace": names.SERVICE_NAMESPACE},
        "type": "Opaque",
        # Not `stringData`, whose keys kubectl would leave in the Secret when they are gone from here.
        "data": {name: base64.b64encode(text.encode()).decode() for name, text in {**keys, API_KEYS_FILE: api_keys_file(keys)}.items()},
    }


def read(text: str) -> Mapping[str, Any]:
    """What `kubectl get secret -o json` printed. Raises ValueError for anything else."""
    found = json.loads(text)
    if not isinstance(found, dict) or found.get("kind") != "Secret":
        raise ValueError("not a Secret")
    return found
