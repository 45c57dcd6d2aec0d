"""Computes what an update would change: property paths as Pulumi shows them, and which of them force a replacement."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from rehearsal.azure.protocol import Unknown
from rehearsal.azure.replacements import replacing
from rehearsal.azure.resources import ResourceType


@dataclass(frozen=True)
class Change:
    """A changed property."""

    path: str  # camelCase, e.g. kubeletConfig.cpuManagerPolicy, nodeTaints[0]
    kind: str  # ADD, DELETE or UPDATE
    replaces: bool


def changes(kind: ResourceType, old: dict[str, Any], new: dict[str, Any]) -> list[Change]:
    """Returns the differences between two sets of inputs. An unknown new value counts as a change, because it may be one."""
    found: list[tuple[str, str]] = []
    _compare(old, new, "", found)
    return [Change(path, how, _replaces(kind, path)) for path, how in found if not path.startswith("__")]


def _replaces(kind: ResourceType, path: str) -> bool:
    plain = re.sub(r"\[\d+\]", "", path)
    return any(plain == name or plain.startswith(name + ".") for name in (*kind.id_parts, *replacing(kind.token)))


def _compare(old: Any, new: Any, path: str, found: list[tuple[str, str]]) -> None:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            here = f"{path}.{key}" if path else key
            if old.get(key) is None and new.get(key) is None:
                continue
            if old.get(key) is None:
                found.append((here, "ADD"))
            elif new.get(key) is None:
                found.append((here, "DELETE"))
            else:
                _compare(old[key], new[key], here, found)
    elif isinstance(old, list) and isinstance(new, list):
        for index in range(max(len(old), len(new))):
            here = f"{path}[{index}]"
            if index >= len(old):
                found.append((here, "ADD"))
            elif index >= len(new):
                found.append((here, "DELETE"))
            else:
                _compare(old[index], new[index], here, found)
    elif isinstance(new, Unknown) or not _same(path, old, new):
        found.append((path, "UPDATE"))


def _same(path: str, old: Any, new: Any) -> bool:
    if path == "location" and isinstance(old, str) and isinstance(new, str):
        return normal_location(old) == normal_location(new)
    return (type(old) is type(new) and old == new) or (_number(old) and _number(new) and old == new)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def normal_location(name: str) -> str:
    """Returns the name of a region in lower case without spaces, because Azure accepts both `East US` and `eastus`."""
    return name.replace(" ", "").lower()
