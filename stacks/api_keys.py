"""Builds the Secret with a stack's API keys, for exactly the clients that are named and the load test.

A named client that is in the existing Secret keeps its key, and any other named client gets a new one. A client that is not named
loses its key: `removed` lists those, so that the command can warn about them.

The Secret holds each client's key under the client's name, so that it can be handed out, and the file that the coordinator reads. It is
printed for `kubectl apply` and stored nowhere else.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterable, Mapping
from typing import Any

from engines.envoy.access import API_KEYS_FILE, api_keys_file
from infra.kubernetes import names

CLIENT = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
"""What a client's name may be, as it becomes both a key of a Secret and the value of an HTTP header."""


def manifest(secret: str, clients: Iterable[str], existing: Mapping[str, str]) -> dict[str, Any]:
    """Returns the Kubernetes Secret that lets in exactly these clients and the load test.

    `existing` maps the clients of the Secret in the cluster to their keys; it is empty when there is no such Secret.
    """
    keys = {client: existing.get(client) or secrets.token_urlsafe(32) for client in (names.LOAD_TEST, *clients)}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": secret, "namespace": names.SERVICE_NAMESPACE},
        "type": "Opaque",
        # Not `stringData`, whose keys kubectl would leave in the Secret when they are gone from here.
        "data": {name: base64.b64encode(text.encode()).decode() for name, text in {**keys, API_KEYS_FILE: api_keys_file(keys)}.items()},
    }


def removed(clients: Iterable[str], existing: Mapping[str, str]) -> list[str]:
    """Returns the clients of the existing Secret that `manifest` leaves out, sorted by name."""
    return sorted(existing.keys() - {API_KEYS_FILE, names.LOAD_TEST, *clients})


def read(text: str) -> Mapping[str, str]:
    """Returns the entries of the Secret that `kubectl get secret -o json` printed. Raises ValueError for any other text."""
    secret = json.loads(text)
    if not isinstance(secret, dict) or secret.get("kind") != "Secret":
        raise ValueError("not a Secret")
    data = secret.get("data") or {}  # null in a Secret without entries
    if not isinstance(data, dict) or not all(isinstance(value, str) for value in data.values()):
        raise ValueError("not a Secret's data")
    return {name: base64.b64decode(value, validate=True).decode() for name, value in data.items()}
