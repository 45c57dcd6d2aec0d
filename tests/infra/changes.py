"""What a change of one setting changes in everything that a stack registers, without what `explain` names for it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import yaml

from infra.kubernetes import names
from infra.reading import ITEM_NAMES, MISSING, PATH_PART, at
from infra.registration import Registered, Registration
from settings.account import Place

_HASHES = re.compile(r"(-config-|zig-ai-weights-fetch-)[0-9a-f]{8}$|^(cache-).*i$")
"""What a name says of something else that is compared: a config's hash, a cache's size."""
_TEXTS = ("summary",)
"""What an alert says to people, beside the expression that is named."""


def unnamed(before: Registration, after: Registration, places: tuple[Sequence[Place], Sequence[Place]]) -> list[str]:
    """Every field that differs and is at none of the places, as `type name: path: before -> after`.

    `places`: those named for the stack before and after. What one of both leaves out is often named for the other alone, so each place
    counts for both, but for an item of a file's list that neither its name nor its number finds in the other stack.
    """
    own = [
        [_by_names(place, record) for place in there if place.kind != "plan"] for record, there in zip((before, after), places, strict=True)
    ]
    there = [[place for place, _ in named] + [place for place, anywhere in others if anywhere] for named, others in (own, own[::-1])]
    old, new = ({(one.type, one.name): one for one in record.resources} for record in (before, after))
    folders = [record.plan.weights.folder for record in (before, after)]
    found = []
    for key in dict.fromkeys((*old, *new)):
        one, other = old.get(key), new.get(key)
        if one is not None and other is not None and one.inputs == other.inputs and one.protect == other.protect:
            continue
        at = [[place for place in side if any(each is not None and each.is_at(place) for each in (one, other))] for side in there]
        if any(not place.path for side in at for place in side):
            continue
        name = f"{key[0].rsplit(':', 1)[1]} {key[1]}"
        if one is None or other is None:
            found.append(f"{name}: {'new' if one is None else 'gone'}")
        else:
            found += [f"{name}: {difference}" for difference in differences(_rest(one, at[0], folders[0]), _rest(other, at[1], folders[1]))]
    return found


def _by_names(place: Place, record: Registration) -> tuple[Place, bool]:
    """The place with the names of items in a file's lists instead of their numbers, and whether it is the same in any other stack: of two
    items with one name only the number is known.
    """
    found = record.find(place)
    value, path, in_file, anywhere = found[0] if found else MISSING, "", False, True
    for part in PATH_PART.finditer(place.path):
        written = part.group()
        if isinstance(value, str):
            value, in_file = yaml.load(value, Loader=yaml.CSafeLoader), True
        if in_file and isinstance(value, list) and part[3] is not None:
            names = [item.get("name") if isinstance(item, dict) else None for item in value]
            name = names[int(part[3])]
            unique = names.count(name) == 1
            written, anywhere = (f"[{name}]", anywhere) if name and unique else (written, anywhere and not name)
        value = MISSING if value is MISSING else at(value, part.group())
        path += written
    return replace(place, path=path), anywhere


def any_change(before: Registration, after: Registration, places: Iterable[Place]) -> bool:
    """Whether anything at one of the places differs."""
    return any(_at(before, place) != _at(after, place) for place in places if place.kind != "plan")


def _at(record: Registration, place: Place) -> list[Any]:
    if not place.path:
        return [(one.inputs, one.protect) for one in record.resources if one.is_at(place)]
    return [value for document in record.find(place) if (value := at(document, place.path)) is not MISSING]


def _rest(resource: Registered, places: list[Place], folder: str) -> Any:
    """What the resource has at none of the places. `folder`: of the weights, after which much is named."""
    document = _opened({**resource.inputs, "protect": resource.protect}, folder)
    for path in (path for place in places for path in (place.path, *_with_volume(place.path))):
        _remove(document, [match.groups() for match in PATH_PART.finditer(path)])
    return _pruned(document)


def _with_volume(path: str) -> list[str]:
    """A volume is named with its mount."""
    mounted = re.fullmatch(r"(.*)\.containers\[0\]\.volumeMounts(\[[^]]+\])\.mountPath", path)
    return [f"{mounted[1]}.containers[0].volumeMounts{mounted[2]}", f"{mounted[1]}.volumes{mounted[2]}"] if mounted else []


def _pruned(value: Any) -> Any:
    """Without what is empty once the places are taken out."""
    if isinstance(value, dict):
        kept = {key: _pruned(child) for key, child in value.items()}
        return {key: child for key, child in kept.items() if child not in ({}, [], None)}
    if isinstance(value, list):
        return [
            child
            for child in map(_pruned, value)
            if child not in ({}, [], None) and not (isinstance(child, dict) and child.keys() == {"name"})
        ]
    return value


def _opened(value: Any, folder: str, key: str = "") -> Any:
    """A copy in which files are nested values, and names say nothing of what is compared where it is itself."""
    if isinstance(value, dict):
        kept = {
            str(name): child for name, child in value.items() if not str(name).endswith("-hash") and name not in (*_TEXTS, "agentPoolName")
        }
        return {name: _opened(child, folder, name) for name, child in kept.items()}
    if isinstance(value, list):
        return [_opened(child, folder) for child in value]
    if isinstance(value, str) and key.endswith((".yaml", ".yml", ".json")):
        return _opened(yaml.load(value, Loader=yaml.CSafeLoader), folder)
    if not isinstance(value, str):
        return value
    # Without a source the folder has the model's name, which is also said where no folder is meant.
    named = re.sub(f"{re.escape(folder)}(?<=-[0-9a-f]{{8}})|(?<=/){re.escape(folder)}(?=/|$)", "FOLDER", value).replace(
        names.node_weights_claim(folder), "CLAIM"
    )
    return _HASHES.sub(lambda match: f"{match[1] or match[2]}*", named)


def _remove(document: Any, parts: list[tuple[str | None, ...]]) -> None:
    (word, quoted, index, item), *rest = parts
    key = word or quoted
    if isinstance(document, dict) and key in document:
        _remove(document[key], rest) if rest else document.pop(key)
    elif isinstance(document, list) and item and item.startswith("--") and item not in document:
        document[:] = [re.sub(rf"(^|\s){re.escape(item)}=\S+", "", word) if isinstance(word, str) else word for word in document]
    elif isinstance(document, list):
        for position in _positions(document, index, item):
            if rest:
                _remove(document[position], rest)
            else:
                document[position] = None


def _positions(items: list[Any], index: str | None, item: str | None) -> Iterator[int]:
    if index is not None:
        yield from [int(index)] if int(index) < len(items) else []
    elif item and item.startswith("--"):
        if item in items:
            at = items.index(item)
            yield from (at, at + 1) if at + 1 < len(items) and not str(items[at + 1]).startswith("--") else (at,)
    elif item:
        for position, one in enumerate(items):
            if item == "*" or (isinstance(one, dict) and any(fnmatchcase(str(one.get(name)), item) for name in ITEM_NAMES)):
                yield position


def differences(one: Any, other: Any, path: str = "") -> Iterator[str]:
    """Items of a list that have names are compared by name."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in dict.fromkeys((*one, *other)):
            yield from differences(one.get(key), other.get(key), f"{path}.{key}")
    elif isinstance(one, list) and isinstance(other, list):
        yield from differences(_by_name(one), _by_name(other), path)
    elif one != other and (one or other or one is False or other is False):
        yield f"{path.removeprefix('.')}: {str(one)[:60]} -> {str(other)[:60]}"


def _by_name(items: list[Any]) -> dict[str, Any]:
    return {
        next((f"[{item[name]}]" for name in ITEM_NAMES if isinstance(item, dict) and name in item), f"[{position}]"): item
        for position, item in enumerate(one for one in items if one is not None)
    }
