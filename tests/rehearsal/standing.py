"""Looks up objects after an `up`, by the names in `explain`: in the real cluster, in the stand-in for Azure, and in Pulumi's state."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from typing import Any

from planner.fit.plan import Plan
from settings.account import Place

_WITHOUT_NAMESPACE = ("Namespace", "PersistentVolume")


class Standing:
    """Finds all objects of a place's kind and name. `rehearsed` is a stack after its up."""

    def __init__(self, rehearsed: Any, plan: Plan) -> None:
        self._rehearsed, self._plan = rehearsed, plan
        self._azure = list(json.loads(rehearsed.layout.azure.read_text())["resources"].values())
        self._state = rehearsed.engine.resources()
        self._lists: dict[str, list[Any]] = {}

    def find(self, place: Place) -> list[Any]:
        if place.kind == "plan":
            return [self._plan]
        if place.kind == "Pulumi resource" and place.name == "lws":
            # The engine keeps no inputs of a chart. Which chart it was is not to be seen any more; which controller is.
            [controller] = [item for item in self._objects("Deployment") if _name(item["metadata"]) == "lws-system/lws-controller-manager"]
            pod = controller["spec"]["template"]["spec"]
            tag = pod["containers"][0]["image"].rpartition(":")[2]
            return [{"values": {"image": {"manager": {"tag": tag}}, "affinity": pod.get("affinity")}}]
        if place.kind == "Pulumi resource":
            named = [item for item in self._state if fnmatchcase(item["urn"].rsplit("::", 1)[-1], place.name)]
            # A component has no fields of its own.
            named = [item for item in named if not (place.path and item["type"].startswith("zig-ai-aks:"))]
            return [item.get("inputs", {}) | {"protect": item.get("protect", False)} for item in named]
        if "/" in place.name or place.kind in _WITHOUT_NAMESPACE:
            return [item for item in self._objects(place.kind) if fnmatchcase(_name(item["metadata"]), place.name)]
        of_kind = [item for item in self._azure if item["token"].rsplit(":", 1)[-1] == place.kind]
        return [item["inputs"] for item in of_kind if fnmatchcase(item["id"].rsplit("/", 1)[-1], place.name)]

    def _objects(self, kind: str) -> list[Any]:
        if kind not in self._lists:
            self._lists[kind] = self._rehearsed.get(kind)
        return self._lists[kind]


def _name(metadata: dict[str, Any]) -> str:
    return "/".join(filter(None, (metadata.get("namespace"), metadata["name"])))
