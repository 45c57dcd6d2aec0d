"""The cluster's API as the supervisor sees it: caches kept up to date by watches, and a few writes.

Objects stay plain dicts: the official client turns each into nested models, which is slow and of no use here.
"""

from __future__ import annotations

import json
import threading
import time
from typing import Any

from kubernetes import client, config

from rehearsal.layout import Layout

Object = dict[str, Any]


class Api:
    """A connection to the API server."""

    def __init__(self, layout: Layout) -> None:
        # kwokctl's own names its certificates by their files; of those inside a kubeconfig the client would make temporary ones.
        self._client = config.new_client_from_config(str(layout.cluster / "kwok-kubeconfig"))

    def call(self, method: str, path: str, body: Any = None, *, timeout: Any = 10) -> Any:
        """Sends a request and returns the JSON of the answer. Raises client.ApiException."""
        return json.loads(self.stream(method, path, body, timeout=timeout).data or b"{}")

    def stream(self, method: str, path: str, body: Any = None, *, timeout: Any = None) -> Any:
        """Sends a request and returns its urllib3 response, which is read as it arrives. Raises client.ApiException."""
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        headers = {"Accept": "application/json", "Content-Type": kind}
        url = self._client.configuration.host + path
        answer = self._client.call_api(method, url, header_params=headers, body=body, _request_timeout=timeout).response
        if answer.status >= 400:
            raise client.ApiException(status=answer.status, reason=answer.data.decode(errors="replace")[:500])
        return answer

    def quietly(self, method: str, path: str, body: Any = None, *, ignore: tuple[int, ...] = (404, 409)) -> Any:
        """Sends a request like `call`, but returns None if the object is gone or exists already."""
        try:
            return self.call(method, path, body)
        except client.ApiException as error:
            if error.status in ignore:
                return None
            raise


class Cache:
    """A cache of all objects of a kind, by namespace and name."""

    def __init__(self, api: Api, path: str, changed: threading.Event) -> None:
        self._api, self._path, self._changed = api, path, changed
        self._objects: dict[tuple[str, str], Object] = {}
        self._lock = threading.Lock()
        self.filled = threading.Event()
        threading.Thread(target=self._follow, daemon=True, name=path).start()

    def all(self) -> list[Object]:
        """Returns all objects at this moment."""
        with self._lock:
            return list(self._objects.values())

    def get(self, name: str, namespace: str = "") -> Object | None:
        """Returns an object, or None."""
        with self._lock:
            return self._objects.get((namespace, name))

    def _follow(self) -> None:
        while True:
            try:
                version = self._list()
                self._watch(version)
            except Exception as error:
                print(f"watch {self._path}: {type(error).__name__}: {str(error)[:200]}", flush=True)
                time.sleep(0.3)

    def _list(self) -> str:
        answer = self._api.call("GET", self._path)
        with self._lock:
            self._objects = {_key(item): item for item in answer["items"]}
        self.filled.set()
        self._changed.set()
        return answer["metadata"]["resourceVersion"]

    def _watch(self, version: str) -> None:
        answer = self._api.stream("GET", f"{self._path}?watch=true&resourceVersion={version}&timeoutSeconds=600", timeout=(10, 620))
        rest = b""
        for chunk in answer.stream(amt=None, decode_content=False):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    return
                self._apply(event)
            self._changed.set()

    def _apply(self, event: dict[str, Any]) -> None:
        item = event["object"]
        with self._lock:
            if event["type"] == "DELETED":
                self._objects.pop(_key(item), None)
            elif event["type"] in ("ADDED", "MODIFIED"):
                self._objects[_key(item)] = item


def _key(item: Object) -> tuple[str, str]:
    return item["metadata"].get("namespace", ""), item["metadata"]["name"]


def is_ready(item: Object) -> bool:
    """Whether a pod or node reports the condition Ready."""
    return any(c["type"] == "Ready" and c["status"] == "True" for c in item.get("status", {}).get("conditions") or [])
