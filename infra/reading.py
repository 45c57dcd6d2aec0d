"""Reads the value at a place: the path is taken as it is printed, and followed through objects, lists and files inside ConfigMaps."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

import yaml

from infra.kubernetes.quantities import canonical
from infra.registration import UNKNOWN
from settings.account import Place
from settings.flatten import text_of

Find = Callable[[Place], list[Any]]
"""Gives all objects of a place's kind and name, as nested values."""

MISSING = object()
"""What is at a path that does not exist."""
PATH_PART = re.compile(r'\.?([\w-]+)|\["([^"]+)"\]|\[(\d+)\]|\[([^\]"]+)\]')
"""One part of a printed path: a word, a quoted key, an index, or an item's name."""
_NUMBER = re.compile(r"\d+(\.\d+)?")
ITEM_NAMES = ("name", "job_name", "alert", "record")
"""Keys by one of which the items of a list are told apart."""


def read(place: Place, find: Find) -> Place:
    """The same place with the value that is there, and with the line of the file that has it."""
    documents = find(place)
    value = together([at(document, place.path) for document in documents], place.path)
    if value is MISSING or value is None:
        return replace(place, holds=None)
    file = f"{place.file}:{line_of(documents[0], place.path)}" if place.file else ""
    return replace(place, holds="" if not place.path else _text(value), file=file)


def _text(value: Any) -> str:
    """Empty for what says nothing on one line: a section, a list of them, or what only the cloud knows."""
    items = value if isinstance(value, list) else [value]
    if any(isinstance(item, dict | list) or item == UNKNOWN for item in items):
        return ""
    return text_of(value)


def together(values: Sequence[Any], path: str) -> Any:
    """One value for several objects: counts are added up, lists united, anything else must be the same; MISSING where none has one."""
    there = [value for value in values if value is not MISSING and value is not None]
    if not there:
        return MISSING
    if path.lower().endswith("count"):
        return sum(there)
    if all(isinstance(value, list) for value in there):
        items = [item for value in there for item in value]
        return [item for index, item in enumerate(items) if item not in items[:index]]
    return there[0] if all(value == there[0] for value in there) else there


def at(document: Any, path: str) -> Any:
    """The value at a printed path; MISSING when there is none. Raises ValueError for what is no path."""
    position = 0
    while position < len(path):
        part = PATH_PART.match(path, position)
        if part is None:
            raise ValueError(f"not a path: {path}")
        position = part.end()
        word, quoted, index, item = part.groups()
        if isinstance(document, str):
            document = _file(document)
        if item == "*":
            found = [at(one, path[position:].removeprefix(".")) for one in document]
            return [value for value in found if value is not MISSING]
        document = _step(document, word or quoted, index, item)
        if document is MISSING:
            return MISSING
    return document


@lru_cache(maxsize=64)
def _file(content: str) -> Any:
    """The content of a YAML or JSON file; whoever gets it must not change it."""
    return yaml.load(content, Loader=yaml.CSafeLoader)


def _step(document: Any, key: str | None, index: str | None, item: str | None) -> Any:
    if index is not None:
        return document[int(index)] if isinstance(document, list) and int(index) < len(document) else MISSING
    if item is not None and item.startswith("--"):
        return _after(document, item)
    if item is not None:
        return next((one for one in document if any(fnmatchcase(str(one.get(name)), item) for name in ITEM_NAMES)), MISSING)
    if isinstance(document, dict):
        return document.get(key, MISSING)
    return getattr(document, str(key), MISSING)


def _after(arguments: list[str], flag: str) -> Any:
    """The word after a flag, or the flag itself where it stands alone; of `--flag=value`, also inside a shell's command, the value."""
    if flag in arguments:
        following = arguments[arguments.index(flag) + 1 :][:1]
        return following[0] if following and not following[0].startswith("--") else flag
    joined = re.search(rf"(?:^|\s){re.escape(flag)}=(\S+)", "\n".join(arguments))
    return joined[1] if joined else MISSING


def line_of(document: Any, path: str) -> int:
    """The line, from 1, of the key that a path ends with, in the file that the path goes through: `data["shard.yaml"].model.name`."""
    name, rest = re.findall(r'^data\["([^"]+)"\](.*)$', path)[0]
    node, line = _nodes(document["data"][name]), 1
    for key in _keys(rest):
        if isinstance(node, yaml.SequenceNode):
            node = node.value[int(key)]
            line = node.start_mark.line + 1
        else:
            line, node = next((at_key.start_mark.line + 1, child) for at_key, child in node.value if at_key.value == key)
    return line


def _keys(path: str) -> Iterator[str]:
    for part in PATH_PART.finditer(path):
        yield next(group for group in part.groups() if group is not None)


@lru_cache(maxsize=64)
def _nodes(content: str) -> yaml.Node:
    return yaml.compose(content, Loader=yaml.CSafeLoader)


def same(value: Any, text: str) -> bool:
    """Whether a value is what a text says, however a quantity is spelt (`2048Mi`, `2Gi`); of a list, whether it has all that the text has.

    Nothing at all is an empty list or section.
    """
    if value is MISSING or value is None:
        return text in ("[]", "{}")
    if isinstance(value, list):
        asked = [item for item in text.removeprefix("[").removesuffix("]").split(", ") if item]
        return set(asked) <= set(map(text_of, value))
    if isinstance(value, dict):
        return text == "{}"
    written = text_of(value)
    if written == text:
        return True
    if _NUMBER.fullmatch(text) and _NUMBER.fullmatch(written):
        return float(text) == float(written)
    return _amount(written) == _amount(text)


def _amount(text: str) -> str:
    return canonical(text) if re.fullmatch(r"\d+(\.\d+)?([mkMGTP]|[KMGTP]i)?", text) else text
