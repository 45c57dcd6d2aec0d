"""Compares inputs with the SDK's types, and reports failures in the words that Azure uses for a bad request body."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

from rehearsal.azure.protocol import Unknown


@dataclass(frozen=True)
class Failure:
    """A fault of the inputs: its path in camelCase, and the reason."""

    path: str
    reason: str
    of_a_list: bool = False
    """Whether the value is only missing from the list of values that the SDK names."""


def failures(inputs: dict[str, Any], schema: dict[str, Any], *, closed: bool) -> list[Failure]:
    """Returns everything in `inputs` that the type does not allow. Unknown values are accepted anywhere.

    The SDK's lists of values are open: a service may take more than they name (a data collection rule's streams, for example), and
    azure-native sends whatever it is given. With `closed` a value outside of its list is a failure.
    """
    found: list[Failure] = []
    _check_object(inputs, schema, "", "request", schema["objects"], found)
    return [failure for failure in found if closed or not failure.of_a_list]


def _check_object(
    value: dict[str, Any], shape: dict[str, Any], path: str, name: str, objects: dict[str, Any], found: list[Failure]
) -> None:
    known = shape["properties"]
    for key, item in value.items():
        here = f"{path}.{key}" if path else key
        if key.startswith("__"):
            continue  # the engine's own (__defaults)
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f" Did you mean '{close[0]}'?" if close else ""
            found.append(Failure(here, f"Could not find member '{key}' on object of type '{name}'.{hint}"))
            continue
        _check(item, known[key], here, objects, found)
    for key in shape["required"]:
        if value.get(key) is None:
            here = f"{path}.{key}" if path else key
            found.append(Failure(here, f"missing required property '{key}'"))


def _check(value: Any, kind: dict[str, Any], path: str, objects: dict[str, Any], found: list[Failure]) -> None:
    if value is None or isinstance(value, Unknown) or kind["kind"] == "any":
        return
    expected = kind["kind"]
    if expected == "object":
        if not isinstance(value, dict):
            found.append(_wrong_type(path, value, "an object"))
            return
        _check_object(value, objects[kind["ref"]], path, kind["ref"].removesuffix("Args"), objects, found)
    elif expected == "list":
        if not isinstance(value, list):
            found.append(_wrong_type(path, value, "an array"))
            return
        for index, item in enumerate(value):
            _check(item, kind["of"], f"{path}[{index}]", objects, found)
    elif expected == "map":
        if not isinstance(value, dict):
            found.append(_wrong_type(path, value, "an object"))
            return
        for key, item in value.items():
            _check(item, kind["of"], f"{path}.{key}", objects, found)
    elif expected == "enum":
        if not isinstance(value, str):
            found.append(_wrong_type(path, value, "a string"))
        elif value not in kind["values"]:
            allowed = ", ".join(str(item) for item in kind["values"])
            reason = f"The value of parameter {path} is invalid. Error details: '{value}' is not one of: {allowed}."
            found.append(Failure(path, reason, of_a_list=True))
    elif not _scalar_fits(value, expected):
        found.append(_wrong_type(path, value, {"integer": "an integer"}.get(expected, f"a {expected}")))


def _scalar_fits(value: Any, expected: str) -> bool:
    if expected == "boolean":
        return isinstance(value, bool)
    if expected == "string":
        return isinstance(value, str)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and (expected == "number" or isinstance(value, int) or value.is_integer())


def _wrong_type(path: str, value: Any, wanted: str) -> Failure:
    shown = repr(value) if not isinstance(value, (dict, list)) else type(value).__name__
    return Failure(path, f"Error converting value {shown} at '{path}': {wanted} is expected.")
