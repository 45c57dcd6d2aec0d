"""Holds a body against Microsoft's published models: every name, type, value, pattern and bound, what is required and what is read-only."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from typing import Any

from infra.registration import UNKNOWN
from tests.azure_reference.sources import MODELS, SOURCES, Source

KINDS: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "bool": (bool,),
    "int": (int, float),
    "long": (int, float),
    "float": (int, float),
    "decimal.Decimal": (int, float),
    "iso-8601": (str,),
    "date": (str,),
    "time": (str,),
    "duration": (str,),
    "bytearray": (str,),
    "object": (object,),
}
Fields = dict[str, dict[str, Any]]


@functools.cache
def published() -> dict[str, Any]:
    """What `models.json` has: `wheels`, and the models of each source."""
    return json.loads(MODELS.read_text())


@functools.cache
def sources() -> dict[str, Source]:
    """azure-native's type, with the package, to its source."""
    return {f"azure-native:{name}": source for source in SOURCES for name in source.bodies}


def problems(type_: str, body: dict[str, Any]) -> list[str]:
    """What the published model of an azure-native type says against a body, each with its path."""
    source = sources()[type_]
    models = published()[f"{source.package} {source.module}"]
    model = source.bodies[type_.removeprefix("azure-native:")]
    return list(_object(body, model, models, ""))


def _object(body: Any, model: str, models: dict[str, Fields], path: str) -> Iterator[str]:
    if not isinstance(body, dict):
        yield f"{path}: {body!r} is no {model}"
        return
    fields = models[model]
    if "properties" not in fields and isinstance(body.get("properties"), dict):
        body = {name: value for name, value in body.items() if name != "properties"} | body["properties"]
    # Their letters' case is each client's own: iPAddressOrRange.
    wire = {facts["client"].lower(): name for name, facts in fields.items() if "client" in facts}
    body = {wire.get(name.lower(), name): value for name, value in body.items()}
    for name, facts in fields.items():
        if facts.get("required") and not facts.get("readonly") and name not in body:
            yield f"{path}.{name} is required by {model}"
    for name, value in body.items():
        here = f"{path}.{name}"
        if name not in fields:
            yield f"{here}: {model} has no such property"
        elif fields[name].get("readonly"):
            yield f"{here} is read-only in {model}"
        else:
            yield from _value(value, fields[name]["type"], fields[name], models, here)


def _value(value: Any, kind: str, facts: dict[str, Any], models: dict[str, Fields], path: str) -> Iterator[str]:
    if value == UNKNOWN:
        return
    if kind.startswith("["):
        yield from _list(value, kind, facts, models, path)
    elif kind.startswith("{"):
        yield from _map(value, kind, facts, models, path)
    elif kind in models:
        yield from _object(value, kind, models, path)
    elif kind not in KINDS:
        yield f"{path}: the models have no {kind}"
    elif not isinstance(value, KINDS[kind]) or (isinstance(value, bool) and kind not in ("bool", "object")):
        yield f"{path}: {value!r} is no {kind}"
    else:
        yield from _scalar(value, facts, path)


def _list(value: Any, kind: str, facts: dict[str, Any], models: dict[str, Fields], path: str) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"{path}: {value!r} is no list"
        return
    if not facts.get("min_items", 0) <= len(value) <= facts.get("max_items", len(value)):
        yield f"{path} has {len(value)} items, out of the published bounds"
    for index, item in enumerate(value):
        yield from _value(item, kind[1:-1], _of_items(facts), models, f"{path}[{index}]")


def _map(value: Any, kind: str, facts: dict[str, Any], models: dict[str, Fields], path: str) -> Iterator[str]:
    if isinstance(value, list):
        # azure-native takes the keys of a map whose values are empty or read-only, such as user-assigned identities, as a list.
        value = {key: {} for key in value}
    if not isinstance(value, dict):
        yield f"{path}: {value!r} is no map"
        return
    for name, item in value.items():
        yield from _value(item, kind[1:-1], _of_items(facts), models, f"{path}[{name}]")


def _of_items(facts: dict[str, Any]) -> dict[str, Any]:
    """A list's allowed values are its items'; its other facts are its own."""
    return {"values": facts["values"]} if "values" in facts else {}


def _scalar(value: Any, facts: dict[str, Any], path: str) -> Iterator[str]:
    if "values" in facts and value not in facts["values"]:
        yield f"{path}: {value!r} is none of {', '.join(map(str, facts['values']))}"
    if "pattern" in facts and not re.search(facts["pattern"], value):
        yield f"{path}: {value!r} does not match {facts['pattern']}"
    if isinstance(value, str) and not facts.get("min_length", 0) <= len(value) <= facts.get("max_length", len(value)):
        yield f"{path}: {value!r} has {len(value)} characters, out of the published bounds"
    if isinstance(value, int | float) and not facts.get("minimum", value) <= value <= facts.get("maximum", value):
        yield f"{path}: {value!r} is out of the published bounds"
