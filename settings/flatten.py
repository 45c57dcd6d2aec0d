"""Lists the settings of a stack by key, as text, and changes some of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter

from settings.error_messages import SettingPath, key_text
from settings.stack import StackSettings

_Path = TypeVar("_Path", bound=SettingPath)


def document(settings: StackSettings) -> dict[str, Any]:
    """Returns the stack as nested keys: quantities as written, without settings that have neither a value nor a default."""
    return settings.model_dump(mode="json", by_alias=True, exclude_none=True)


def leaves(settings: StackSettings) -> dict[str, str]:
    """Returns the values of all settings, with defaults, by key: `shard.config.workerThreads` is `24`, `shard.env.GC_THREADS` is `8`.

    A named item of a list has its name in the key. A list of plain values is one setting, and so is an empty section.
    """
    return {key_text(path): text_of(value) for path, value in _walk(document(settings))}


def paths(settings: StackSettings) -> Iterator[tuple[SettingPath, Any]]:
    """Path and value of every leaf, as `with_values` takes them."""
    for path, value in _walk(document(settings)):
        # The guide's metrics have one value beside their name.
        yield ((*path, "interval") if path[:2] == ("monitoring", "metrics") and len(path) == 3 else path), value


def written(settings: StackSettings) -> dict[str, str]:
    """Returns the values of the settings that the stack file itself has, by key."""
    return {key_text(path): text_of(value) for path, value in _walk(settings.model_dump(mode="json", by_alias=True, exclude_unset=True))}


def text_of(value: Any) -> str:
    """Returns a value as YAML spells it on one line."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return f"[{', '.join(map(text_of, value))}]"
    return json.dumps(value)


def with_values(settings: StackSettings, values: Mapping[_Path, Any]) -> StackSettings:
    """Returns the stack with other values at these paths, which name an item of a list by its name.

    Raises pydantic's ValidationError for values that the models refuse.
    """
    if not values:
        return settings
    sections = {path[0] for path in values}
    # Only the changed sections have to be validated again.
    fields = {name: str(field.alias) for name, field in StackSettings.model_fields.items() if field.alias in sections}
    changed = settings.model_dump(mode="json", by_alias=True, exclude_none=True, include=set(fields))
    for path, value in values.items():
        _put(changed, path, value)
    return settings.model_copy(update={name: _reader(name).validate_json(json.dumps(changed[key])) for name, key in fields.items()})


@cache
def _reader(field: str) -> TypeAdapter[Any]:
    annotation = StackSettings.model_fields[field].annotation
    assert annotation is not None, "each section has a type"
    return TypeAdapter(annotation)


def _put(place: Any, path: SettingPath, value: Any) -> None:
    *parents, last = path
    for part in parents:
        place = _named(place)[part] if isinstance(place, list) and isinstance(part, str) else _child(place, part)
    if isinstance(place, list) and isinstance(last, str):
        place, last = _named(place)[last], "value"
    place[last] = value


def _child(place: Any, part: int | str) -> Any:
    return place[part] if isinstance(place, list) else place.setdefault(part, {})


def _named(items: list[dict[str, Any]]) -> dict[str, Any]:
    return {item["name"]: item for item in items}


def _walk(value: Any, path: SettingPath = ()) -> Iterator[tuple[SettingPath, Any]]:
    if isinstance(value, dict) and value:
        for key, child in value.items():
            yield from _walk(child, (*path, key))
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for index, item in enumerate(value):
            if "name" not in item:
                yield from _walk(item, (*path, index))
                continue
            rest = {key: child for key, child in item.items() if key != "name"}
            only = next(iter(rest.values())) if len(rest) == 1 else rest
            yield from _walk(rest if isinstance(only, dict) else only, (*path, item["name"]))
    else:
        yield path, value
