"""Finds the value that `explain` names a place for: the place is read as it is printed, and looked up in whatever is given."""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

import yaml

from infra.kubernetes.quantities import canonical
from infra.place import Place
from settings.flatten import text_of

Find = Callable[[Place], list[Any]]
"""All objects of a place's kind and name, as nested values."""

MISSING = object()
_PART = re.compile(r'\.?([\w-]+)|\["([^"]+)"\]|\[(\d+)\]|\[([^\]"]+)\]')
_NAMES = ("name", "job_name", "alert", "record")


def wrong(place: Place, find: Find) -> str | None:
    """What is there instead of what should be; None when all is well."""
    documents = find(place)
    there = [at(document, place.path) for document in documents]
    if place.holds is None:
        left = [value for value in there if value is not MISSING and value is not None]
        return f"{place}, but there is {left}" if left else None
    if not there:
        return f"{place}: there is no such object"
    if place.file and not all(_is_on_its_line(document, place) for document in documents):
        return f"{place}: that is another line"
    value = sum(there) if place.path.endswith("Count") else _together(there)
    return None if _equal(value, place.holds) else f"{place}: {'nothing' if value is MISSING else value!r} instead of {place.holds}"


def _is_on_its_line(document: Any, place: Place) -> bool:
    """Whether the printed line of the file begins with the last key of the path."""
    [name] = re.findall(r'^data\["([^"]+)"\]', place.path)
    line = document["data"][name].splitlines()[int(place.file.rpartition(":")[2]) - 1]
    return line.removeprefix("- ").split(":")[0].strip(" -") == place.path.rpartition(".")[2]


def _together(there: list[Any]) -> Any:
    """Of several objects: lists are united, all else must be the same."""
    if all(isinstance(value, list) for value in there):
        return [item for value in there for item in value]
    return there[0] if all(value == there[0] for value in there) else there


def at(document: Any, path: str) -> Any:
    """The value at a printed path; MISSING when there is none."""
    position = 0
    while position < len(path):
        part = _PART.match(path, position)
        assert part, f"not a path: {path}"
        position = part.end()
        word, quoted, index, item = part.groups()
        if isinstance(document, str):
            document = yaml.load(document, Loader=yaml.CSafeLoader)
        if item == "*":
            found = [at(one, path[position:].removeprefix(".")) for one in document]
            return [value for value in found if value is not MISSING]
        document = _step(document, word or quoted, index, item)
        if document is MISSING:
            return MISSING
    return document


def _step(document: Any, key: str | None, index: str | None, item: str | None) -> Any:
    if index is not None:
        return document[int(index)] if isinstance(document, list) and int(index) < len(document) else MISSING
    if item is not None and item.startswith("--"):
        return _after(document, item)
    if item is not None:
        return next((one for one in document if any(fnmatchcase(str(one.get(name)), item) for name in _NAMES)), MISSING)
    if isinstance(document, dict):
        return document.get(key, MISSING)
    return getattr(document, str(key), MISSING)


def _after(arguments: list[str], flag: str) -> Any:
    if flag not in arguments:
        return MISSING
    following = arguments[arguments.index(flag) + 1 :][:1]
    return following[0] if following and not following[0].startswith("--") else flag


def _equal(value: Any, holds: str) -> bool:
    if value is MISSING or value is None:
        return holds in ("[]", "{}")
    if isinstance(value, list):
        asked = [text for text in holds.removeprefix("[").removesuffix("]").split(", ") if text]
        return set(asked) <= set(map(text_of, value))
    if isinstance(value, dict):
        return holds == "{}"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return text_of(value) == holds or (re.fullmatch(r"[0-9.]+", holds) is not None and float(holds) == value)
    return text_of(value) == holds or _amount(text_of(value)) == _amount(holds)


def _amount(text: str) -> str:
    return canonical(text) if re.fullmatch(r"[0-9.]+([mkMGTP]|[KMGTP]i)?", text) else text
