"""Reads YAML as Pulumi does (by Go's yaml.v3), with line numbers and duplicate keys, and without recursion.

PyYAML's own loader follows YAML 1.1 (`yes` is true, `12:30` is 750), silently keeps the last of two equal keys, and overflows the stack on
deep input, so only its parser is used here.
"""

from __future__ import annotations

import datetime
import math
import re
from dataclasses import dataclass, field
from typing import Any

import yaml

YamlPath = tuple[int | str, ...]
"""The keys and list positions that lead to a node of a YAML document."""

# A stack file has about 300 values on at most 8 levels.
MOST_VALUES = 20_000
MOST_LEVELS = 64

_WORDS: dict[str, Any] = {word: None for word in ("", "~", "null", "Null", "NULL")}
_WORDS |= {word: True for word in ("true", "True", "TRUE")} | {word: False for word in ("false", "False", "FALSE")}
_WORDS |= {word: float("nan") for word in (".nan", ".NaN", ".NAN")}
_WORDS |= {sign + word: float(f"{sign}inf") for sign in ("", "+", "-") for word in (".inf", ".Inf", ".INF")}
_INT = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_ALLOWED = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_DATE = re.compile(r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})(?:[Tt ].*)?")


class YamlError(Exception):
    """A file cannot be read; the text says why in one line."""

    def __init__(self, text: str, line: int, fix: str = "correct that line; until then nothing in the file can be read") -> None:
        super().__init__(text)
        self.line = line
        self.fix = fix


@dataclass(frozen=True)
class Duplicate:
    """A key that occurs twice in the same block."""

    path: YamlPath
    first_line: int
    second_line: int


@dataclass
class Tree:
    """A YAML document with the lines of its keys."""

    value: Any = None
    lines: dict[YamlPath, int] = field(default_factory=dict)
    """The line at which each key or list item starts, counted from 1."""
    duplicates: list[Duplicate] = field(default_factory=list)
    dates: list[YamlPath] = field(default_factory=list)
    """Paths of text without quotes that Pulumi would turn into a point in time."""


@dataclass
class _Open:
    """A list or block that has not ended yet."""

    value: list[Any] | dict[str, Any]
    path: YamlPath
    anchor: str | None
    size: int = 1
    key: str | None = None
    merged: dict[str, Any] = field(default_factory=dict)


def scalar(text: str) -> Any:
    """Returns the value of text without quotes, by the rules of Go's yaml.v3."""
    if text in _WORDS:
        return _WORDS[text]
    if text[:1] not in "+-.0123456789":
        return text
    plain = text.replace("_", "")
    if _INT.fullmatch(plain) and len(plain) < 70:
        digits = plain.lstrip("+-")
        octal = digits[0] == "0" and digits[1:].isdigit()
        number = (int(digits, 8) if octal else int(digits, 0)) * (-1 if plain[0] == "-" else 1)
        if -(2**63) <= number < 2**64:
            return number
    if _FLOAT.fullmatch(plain):
        number = float(plain)
        if math.isinf(number):
            return text
        # Go writes 8.0 into JSON as 8.
        return int(number) if number.is_integer() and abs(number) < 1e21 else number
    return text


def _is_date(text: str) -> bool:
    match = _DATE.fullmatch(text)
    try:
        return bool(match and datetime.date(*map(int, match.groups())))
    except ValueError:
        return False


def read(text: str) -> Tree:
    """Reads the file's only document. Raises YamlError."""
    if odd := _NOT_ALLOWED.search(text):
        raise YamlError(f"contains a character that YAML does not allow: {odd[0]!a}", text.count("\n", 0, odd.start()) + 1)
    reader = _Reader()
    try:
        for event in yaml.parse(text, Loader=getattr(yaml, "CLoader", yaml.Loader)):
            reader.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _plainly(error, text, mark.line + 1 if mark else 1) from None
    return reader.tree


def _plainly(error: yaml.MarkedYAMLError, text: str, line: int) -> YamlError:
    here = [*text.splitlines(), ""][line - 1 : line][0]
    if "\t" in here[: len(here) - len(here.lstrip())] or "'\\t'" in str(error.problem):
        return YamlError("is indented with a tab, which YAML does not allow", line, "indent with spaces")
    if "nesting depth" in str(error.problem):
        return _too_deep(line)
    begun = error.context_mark.line + 1 if error.context and error.context_mark else line
    where = f" (started on line {begun})" if begun != line else ""
    return YamlError(f"is not YAML: {' '.join(filter(None, [error.context, error.problem]))}{where}", line)


def _too_deep(line: int) -> YamlError:
    return YamlError(f"is nested more than {MOST_LEVELS} levels deep, which no setting is", line)


def _both(first: Any, second: Any) -> Any:
    """Merges the contents of two equal keys, so that the problems of both are found."""
    if not (isinstance(first, dict) and isinstance(second, dict)):
        return second
    return first | {key: _both(first[key], value) if key in first else value for key, value in second.items()}


class _Reader:
    def __init__(self) -> None:
        self.tree = Tree()
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._values = 0
        self._documents = 0

    def take(self, event: yaml.Event) -> None:
        """Adds one event of the parser. Raises YamlError."""
        assert event.start_mark is not None, "PyYAML marks where each event of a text starts"
        line = event.start_mark.line + 1
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise YamlError("starts a second document: Pulumi would ignore everything below", line)
        elif isinstance(event, yaml.ScalarEvent):
            if not self._takes_key(event, line):
                self._add(self._scalar(event), 1, line, event.anchor)
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise YamlError(f"refers to &{event.anchor}, which is not defined above", line)
            self._add(*self._anchors[event.anchor], line, None)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._start(event, line)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._end(line)

    def _scalar(self, event: yaml.ScalarEvent) -> Any:
        if not event.implicit[0] or event.tag not in (None, "!"):
            return event.value
        if _is_date(event.value):
            self.tree.dates.append(self._here())
        return scalar(event.value)

    def _takes_key(self, event: yaml.ScalarEvent, line: int) -> bool:
        top = self._open[-1] if self._open else None
        if top is None or not isinstance(top.value, dict) or top.key is not None:
            return False
        top.key = event.value
        path = (*top.path, event.value)
        if event.value in top.value:
            self.tree.duplicates.append(Duplicate(path, self.tree.lines[path], line))
        else:
            self.tree.lines[path] = line
        return True

    def _here(self) -> YamlPath:
        if not self._open:
            return ()
        top = self._open[-1]
        return (*top.path, len(top.value) if isinstance(top.value, list) else str(top.key))

    def _start(self, event: yaml.CollectionStartEvent, line: int) -> None:
        if self._open and isinstance(self._open[-1].value, dict) and self._open[-1].key is None:
            raise YamlError("has a list or a block where a key's name is expected", line)
        if len(self._open) >= MOST_LEVELS:
            raise _too_deep(line)
        path = self._here()
        self.tree.lines.setdefault(path, line)
        self._open.append(_Open([] if isinstance(event, yaml.SequenceStartEvent) else {}, path, event.anchor))

    def _end(self, line: int) -> None:
        done = self._open.pop()
        if isinstance(done.value, dict):
            done.value = {**done.merged, **done.value}
        self._add(done.value, done.size, line, done.anchor)

    def _add(self, value: Any, size: int, line: int, anchor: str | None) -> None:
        if anchor:
            self._anchors[anchor] = (value, size)
        self._values += size
        if self._values > MOST_VALUES * MOST_LEVELS or size > MOST_VALUES:
            raise YamlError(f"contains more than {MOST_VALUES} values", line)
        if not self._open:
            self.tree.value = value
            return
        top = self._open[-1]
        top.size += size
        if isinstance(top.value, list):
            self.tree.lines.setdefault((*top.path, len(top.value)), line)
            top.value.append(value)
        elif top.key == "<<" and isinstance(value, dict):
            top.merged |= value
        else:
            key = str(top.key)
            top.value[key] = _both(top.value[key], value) if key in top.value else value
        top.key = None
