"""Turns a validation error into a `Problem` that says what to write instead."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticUndefined

from settings.base import Otherwise, Section
from settings.formats import Form
from settings.problems import Problem
from settings.quantities import Quantity
from settings.secrets import HIDDEN, is_secret, looks_secret

SettingPath = tuple[int | str, ...]
"""The keys and list positions that lead to a setting: `("shard", "env", 3, "value")`."""


@dataclass(frozen=True)
class Spot:
    """The type, constraints and default of one place in the stack file."""

    type: Any
    metadata: tuple[Any, ...] = ()
    default: Any = None

    def child(self, part: int | str) -> Spot | None:
        """Returns the place of a key or list item below this one, or None if there is none."""
        if isinstance(self.type, type) and issubclass(self.type, Section):
            field = field_named(self.type, str(part))
            return field and _spot(field.annotation, tuple(field.metadata), field.default)
        if get_origin(self.type) in (tuple, dict):
            return _spot(get_args(self.type)[1 if get_origin(self.type) is dict else 0])
        return None

    @property
    def otherwise(self) -> str | None:
        """The consequence of a value outside the constraints, if the model states one."""
        return next((m.text for m in self.metadata if isinstance(m, Otherwise)), None)


def _spot(annotation: Any, metadata: tuple[Any, ...] = (), default: Any = None) -> Spot:
    """Unwraps `Annotated`, `| None`, and constraints inside a FieldInfo."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation, *more = get_args(annotation)
            metadata = (*metadata, *more)
        elif get_origin(annotation) in (UnionType, Union) and type(None) in get_args(annotation):
            annotation = next(arm for arm in get_args(annotation) if arm is not type(None))
        else:
            break
    flat = tuple(part for m in metadata for part in (m.metadata if isinstance(m, FieldInfo) else [m]))
    return Spot(annotation, flat, None if default is PydanticUndefined else default)


def field_named(model: type[Section], key: str) -> FieldInfo | None:
    """Returns the field of a model with this key in the stack file."""
    return next((field for field in model.model_fields.values() if field.alias == key), None)


def keys_of(model: type[Section]) -> list[str]:
    """Returns the keys of a model as the stack file spells them."""
    return [str(field.alias) for field in model.model_fields.values()]


def key_text(path: SettingPath) -> str:
    """Writes a path as users do: `shard.env[3].value`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{_name_text(part)}" for part in path).removeprefix(".")


def _name_text(name: str) -> str:
    shown = name if len(name) <= 80 else f"{name[:77]}..."
    return shown if shown and shown.isprintable() else json.dumps(shown)


def value_text(path: SettingPath, value: Any) -> str:
    """Returns the value as YAML spells it, shortened, and never a secret."""
    if value is None:
        return "null"
    if isinstance(value, bool | int | float):
        text = json.dumps(value).replace("NaN", ".nan").replace("Infinity", ".inf")
        return text if len(text) <= 60 else f"{text[:57]}..."
    if isinstance(value, list | dict):
        return ("[...]" if value else "[]") if isinstance(value, list) else "{...}" if value else "{}"
    if _may_be_secret(path, value):
        return HIDDEN
    text = value if len(value) <= 60 else f"{value[:57]}..."
    # Text that YAML would read as something else is shown in quotes.
    plain = re.fullmatch(r"[A-Za-z/~_][^\n#:{}\[\]\"'\x00-\x1f]*", text) and text.lower() not in ("true", "false", "null", "~")
    return text if plain else json.dumps(text, ensure_ascii=False)


# Known keys whose names end like those of credentials.
_HARMLESS = frozenset({"key", "topologyKey"})


def _may_be_secret(path: SettingPath, value: str) -> bool:
    if path[:2] == ("shard", "env"):
        # The name of the variable is beside the value, not in the path.
        return path[-1] != "name" or is_secret(value)
    return looks_secret(value, *(part for part in path if isinstance(part, str) and part not in _HARMLESS))


def kind_text(value: Any) -> str:
    """Returns the type of a value in words, such as `a list` or `text`."""
    if value is None:
        return "empty"
    for kind, name in ((bool, "true or false"), (str, "text"), (int | float, "a number"), (list, "a list"), (dict, "a block of keys")):
        if isinstance(value, kind):
            return name
    return type(value).__name__


def closest(name: str, known: Iterable[str]) -> str | None:
    """Returns the known name that is most like this one, ignoring case and punctuation, or None."""
    by_fold = {re.sub(r"[^a-z0-9/]", "", k.lower()): k for k in known}
    close = difflib.get_close_matches(re.sub(r"[^a-z0-9/]", "", name.lower()), by_fold, n=1, cutoff=0.7)
    return by_fold[close[0]] if close else None


def places_of(key: str, model: type[Section], path: SettingPath = ()) -> Iterator[SettingPath]:
    """Yields the paths of all keys with this name in a model."""
    for field in model.model_fields.values():
        here = (*path, str(field.alias))
        if field.alias == key:
            yield here
        spot = _spot(field.annotation)
        if isinstance(spot.type, type) and issubclass(spot.type, Section):
            yield from places_of(key, spot.type, here)


def expected(spot: Spot) -> str:
    """Returns in words what is expected at a place."""
    kind = spot.type
    if get_origin(kind) is Literal:
        choices = list(map(str, get_args(kind)))
        return f"one of {', '.join(choices)}" if len(choices) > 1 else f"{choices[0]}, the only choice"
    if get_origin(kind) is tuple:
        return 'a list: lines below it that start with "- "'
    if get_origin(kind) is dict or issubclass(kind, Section):
        keys = [] if get_origin(kind) is dict else keys_of(kind)
        return "keys below it" + (f": {_listing(keys)}" if keys else "")
    if issubclass(kind, Quantity):
        return kind.expected
    if kind is bool:
        return "true or false, without quotes"
    if kind is str:
        return next((m.fix for m in spot.metadata if isinstance(m, Form)), "text in quotes")
    bounds = _bounds(spot, "a whole number" if kind is int else "a number")
    return bounds if spot.default is None else f"{bounds}, such as {value_text((), spot.default)}"


def _bounds(spot: Spot, noun: str) -> str:
    def bound(kind: type, name: str) -> str | None:
        return next((f"{getattr(m, name):.15g}" for m in spot.metadata if isinstance(m, kind)), None)

    low, above, high = bound(annotated_types.Ge, "ge"), bound(annotated_types.Gt, "gt"), bound(annotated_types.Le, "le")
    if low and high:
        return f"{noun} from {low} to {high}"
    parts = [f"above {above}" if above else None, f"at least {low}" if low else None, f"at most {high}" if high else None]
    return f"{noun} {' and '.join(filter(None, parts))}".strip()


def _listing(names: list[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def explain(error: ErrorDetails, root: type[Section]) -> Problem:
    """Turns a validation error of a document of `root` into a problem."""
    of_key = error["loc"][-1] == "[key]"
    path = error["loc"][:-1] if of_key else error["loc"]
    parent = Spot(root)
    known: Spot | None = parent
    for part in path:
        if known is not None:
            parent, known = known, known.child(part)
    value = "" if error["type"] == "missing" else value_text(path, error["input"])
    consequence, fix = _consequence_and_fix(error, path, parent, known)
    return Problem(key=key_text(path), value=value, consequence=consequence, fix=fix)


_FORMER: dict[SettingPath, tuple[str, str]] = {
    ("autoscaling", "waitingRequestsPerPipeline"): (
        "is no longer a setting: it was compared with all requests, including those already running, so a GPU that can answer a hundred "
        "requests at once in time got a second pipeline at the sixth request",
        "remove the line to use the plan's own number; or write autoscaling: {requestsPerPipeline: 100} with the number of requests, "
        "running "
        "or waiting, that you measured one pipeline to answer in time",
    ),
}
"""Settings of earlier releases: consequence and fix."""


def _consequence_and_fix(error: ErrorDetails, path: SettingPath, parent: Spot, spot: Spot | None) -> tuple[str, str]:
    kind, given, context = error["type"], error["input"], error.get("ctx", {})
    if kind == "problem":
        return context["consequence"], context["fix"]
    if kind == "extra_forbidden" and path in _FORMER:
        return _FORMER[path]
    if kind == "extra_forbidden":
        return "there is no such setting, so it would have no effect", _instead(path, parent.type)
    assert spot, f"the models do not know this place: {error}"
    wanted = expected(spot)
    if kind == "missing":
        return "is required and has no default", wanted
    if kind == "literal_error":
        near = closest(str(given), map(str, get_args(spot.type)))
        return "is not one of the choices", f"did you mean {near}? ({wanted})" if near else wanted
    if kind == "finite_number":
        return "is not a finite number", wanted
    if kind in ("greater_than", "greater_than_equal", "string_too_short"):
        return f"is too small: {spot.otherwise or 'it is out of range'}", wanted if spot.type is not str else "at least one character"
    if kind in ("less_than", "less_than_equal"):
        return f"is too large: {spot.otherwise or 'it is out of range'}", wanted
    if kind in ("too_long", "string_too_long"):
        return f"is too long: {spot.otherwise or 'it is out of range'}", f"at most {context['max_length']}"
    return _wrong_type(given, spot, wanted)


def _wrong_type(given: Any, spot: Spot, wanted: str) -> tuple[str, str]:
    if given is None:
        return "is empty, so it is unclear what is meant", f"{wanted}; or remove the key to get the default"
    noun = _NOUNS.get(get_origin(spot.type) or spot.type)
    if noun is None:
        noun = "a block of keys" if issubclass(spot.type, Section) else "text with a unit"
    consequence = f"is {kind_text(given)} where {noun} is expected"
    if spot.type is str and isinstance(given, bool | int | float):
        return consequence, f"{json.dumps(json.dumps(given))}, in quotes"
    if isinstance(given, str) and spot.type in (int, float, bool) and re.fullmatch(r"true|false|[0-9.]{1,20}", given):
        return consequence, f"{given} without quotes"
    if isinstance(given, float) and spot.type is int:
        # A number beyond 64 bits arrives as a fraction.
        return "is too large" if given.is_integer() else "is not a whole number", wanted
    return consequence, wanted


_NOUNS = {
    tuple: "a list",
    dict: "a block of keys",
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    Literal: "a name",
}


def _instead(path: SettingPath, model: Any) -> str:
    """Returns the fix for an unknown key: where it belongs, or the key that was most likely meant."""
    from settings.stack import StackSettings

    name = str(path[-1])
    section = field_named(StackSettings, str(path[0]))
    for root, start in (((section.annotation, path[:1]),) if section else ()) + ((StackSettings, ()),):
        places = list(places_of(name, root, start)) if isinstance(root, type) and issubclass(root, Section) else []
        if len(places) == 1:
            return f"it belongs at {key_text(places[0])}"
    known = keys_of(model)
    near = closest(name, known)
    return f"did you mean {near}?" if near else f"one of {_listing(known, 20)}"
