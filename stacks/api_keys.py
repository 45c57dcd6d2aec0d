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

from engines.envoy.access import API_KEYS_FILE, api_keys_file
from infra.kubernetes import names

CLIENT = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
"""A client's name: a key of a Secret, and a header's value."""


def manifest(secret: str, clients: Iterable[str], existing: Mapping[str, str]) -> dict[str, Any]:
    """A Secret that lets in exactly these clients and the load test; `existing` has the keys of the one in the cluster, or none."""
    wanted = dict.fromkeys((names.LOAD_TEST, *clients))
    keys = {client: existing.get(client) or secrets.token_urlsafe(32) for client in wanted}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": secret, "namespace": names.SERVICE_NAMESPACE},
        "type": "Opaque",
        # Not `stringData`, whose keys kubectl would leave in the Secret when they are gone from here.
        "data": {name: base64.b64encode(text.encode()).decode() for name, text in {**keys, API_KEYS_FILE: api_keys_file(keys)}.items()},
    }


def read(text: str) -> Mapping[str, str]:
    """The keys in what `kubectl get secret -o json` printed. Raises ValueError for anything else."""
    found = json.loads(text)
    if not isinstance(found, dict) or found.get("kind") != "Secret":
        raise ValueError("not a Secret")
    data = found.get("data") or {}  # a Secret without keys has null there
    if not isinstance(data, dict) or not all(isinstance(value, str) for value in data.values()):
        raise ValueError("not a Secret's data")
    return {name: base64.b64decode(value, validate=True).decode() for name, value in data.items()}
