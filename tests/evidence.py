"""Compares what `explain` says of a place with what is there: in what a program registers, or in a real cluster."""

from __future__ import annotations

import re
from typing import Any

from infra.reading import MISSING, Find, at, same, together
from settings.account import Place
from settings.flatten import text_of


def wrong(place: Place, find: Find) -> str | None:
    """Returns what is there instead of the expected value, or None if it is as expected."""
    documents = find(place)
    there = [at(document, place.path) for document in documents]
    if place.holds is None:
        left = [value for value in there if value is not MISSING and value is not None]
        return f"{place}, but there is {left}" if left else None
    if not there:
        return f"{place}: there is no such object"
    if place.file and not all(_is_on_its_line(document, place) for document in documents):
        return f"{place}: that is another line"
    value = together(there, place.path)
    if place.holds == "":
        return None if value is not MISSING else f"{place}: there is nothing"
    return None if _is(value, place.holds) else f"{place}: {'nothing' if value is MISSING else value!r} instead of {place.holds}"


def _is(value: Any, text: str) -> bool:
    """A list must have no more than the text says, either."""
    if isinstance(value, list):
        return same(value, text) and set(map(text_of, value)) == {item for item in text[1:-1].split(", ") if item}
    return value is not MISSING and same(value, text)


def _is_on_its_line(document: Any, place: Place) -> bool:
    """Whether the printed line of the file begins with the last key of the path, or the item of a list with its first key."""
    [name] = re.findall(r'^data\["([^"]+)"\]', place.path)
    line = document["data"][name].splitlines()[int(place.file.rpartition(":")[2]) - 1]
    key = line.removeprefix("- ").split(":")[0].strip(" -")
    if place.path.endswith("]") and isinstance(item := at(document, place.path), dict):
        return line.lstrip().startswith("- ") and key == next(iter(item))
    return key == place.path.rpartition(".")[2]
