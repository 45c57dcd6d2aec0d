"""The stand-in's cloud: one JSON file, written atomically under a lock, so that a killed run leaves a whole file.

The file is meant to be read and edited by hand (`refresh` shows an edit as drift). Layout:
{"resources": {lower-case id: {"id", "token", "inputs", "outputs"}},
 "pools": {lower-case id: properties of a node pool, with the count of now}, "fired": [faults that have happened],
"operations": {cluster: what is done to one of its pools now},
 "refusals": [{"resource", "code", "message"}]}
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

from rehearsal.azure.resources import parent_of

EMPTY: dict[str, Any] = {"resources": {}, "pools": {}, "operations": {}, "fired": [], "refusals": []}


class Cloud:
    """The resources at one moment. Ids are compared without case, as Azure does."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.content = content

    @property
    def resources(self) -> dict[str, dict[str, Any]]:
        """All resources, by id in lower case."""
        return self.content["resources"]

    @property
    def pools(self) -> dict[str, dict[str, Any]]:
        """All node pools as they are now, by id in lower case (rehearsal/azure/pools.py)."""
        return self.content["pools"]

    def get(self, resource: str | None) -> dict[str, Any] | None:
        """Returns the resource with this id, or None."""
        return self.resources.get(resource.lower()) if isinstance(resource, str) else None

    def put(self, record: dict[str, Any]) -> None:
        """Adds or overwrites a resource."""
        self.resources[record["id"].lower()] = record

    def remove(self, resource: str) -> list[str]:
        """Removes a resource with all its parts, and returns their ids."""
        gone = [key for key in self.resources if key == resource.lower() or key.startswith(resource.lower() + "/")]
        for key in gone:
            del self.resources[key]
        for key in [key for key in self.pools if any(key == one or key.startswith(one + "/") for one in gone)]:
            del self.pools[key]
        return gone

    def of_type(self, short: str) -> list[dict[str, Any]]:
        """Returns all resources of a type, such as `AgentPool`."""
        return [item for item in self.resources.values() if item["token"].endswith(":" + short)]

    def parts_of(self, resource: str) -> list[dict[str, Any]]:
        """Returns the direct parts of a resource, such as the subnets of a network."""
        return [item for item in self.resources.values() if parent_of(item["id"]) == resource.lower()]

    def users_of(self, resource: str) -> list[dict[str, Any]]:
        """Returns the resources whose inputs name this one, without its own parts."""
        wanted = resource.lower()
        return [
            item
            for key, item in self.resources.items()
            if key != wanted and not key.startswith(wanted + "/") and wanted in {text.lower() for text in strings_in(item["inputs"])}
        ]


def strings_in(value: Any) -> Iterator[str]:
    """Yields every string in nested values, and the keys of maps, which can be ids in ARM."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from strings_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings_in(item)


class StateFile:
    """The stand-in's file with its lock."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Cloud:
        """Returns the present resources. No lock is needed, because a write replaces the whole file at once."""
        try:
            return Cloud({**EMPTY, **json.loads(self.path.read_text())})
        except FileNotFoundError:
            return Cloud(json.loads(json.dumps(EMPTY)))

    @contextlib.contextmanager
    def change(self) -> Generator[Cloud]:
        """Reads the file under a lock, yields it to be changed, and writes it. Nothing is written if the body raises."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path.with_suffix(".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            cloud = self.read()
            yield cloud
            with tempfile.NamedTemporaryFile("w", dir=self.path.parent, delete=False) as file:
                json.dump(cloud.content, file, indent=1, sort_keys=True)
            os.replace(file.name, self.path)
