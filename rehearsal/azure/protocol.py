"""Pulumi's wire format: protobuf structs to plain values and back.

Unknown values (known only after an update) arrive as sentinel strings and are `UNKNOWN` here; secrets arrive wrapped and
are unwrapped, because the stand-in's cloud keeps plain values (the engine wraps them again, as `Configure` refuses secrets).
Source of the markers: pulumi/pulumi sdk/python/lib/pulumi/runtime/rpc.py.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path
from typing import Any


def load_stubs() -> None:
    """Make `pulumi.runtime.proto` importable without the SDK around it.

    `import pulumi` takes 0.8 s and the engine starts a new plugin for each operation; the stubs alone take 0.1 s. Where
    the SDK is already imported (tests), nothing is done.
    """
    if "pulumi" in sys.modules:
        return
    spec = importlib.util.find_spec("pulumi")
    if spec is None or spec.origin is None:
        raise SystemExit("the Python package 'pulumi' is not installed in this environment: run `make environment`")
    root = Path(spec.origin).parent
    for name, path in {
        "pulumi": root,
        "pulumi.runtime": root / "runtime",
        "pulumi.runtime.proto": root / "runtime" / "proto",
    }.items():
        module = types.ModuleType(name)
        module.__path__ = [str(path)]
        sys.modules[name] = module


class Unknown:
    """The type of `UNKNOWN`, its only instance: a value that is not known yet."""

    def __repr__(self) -> str:
        return "<known after the update>"


UNKNOWN = Unknown()

_UNKNOWN_STRING = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
_UNKNOWN_SENTINELS = {
    _UNKNOWN_STRING,
    "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",  # bool
    "3eeb2bf0-c639-47a8-9e75-3b44932eb421",  # number
    "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",  # array
    "030794c1-ac77-496b-92df-f27374a8bd58",  # asset
    "e48ece36-62e2-4504-bad9-02848725956a",  # archive
    "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",  # object
}
_SIGNATURE = "4dabf18193072939515e22adb298388d"
_SECRET = "1b47061264138c4ac30d75fd1eb44270"
_OUTPUT = "d0e6a833031e9bbcd3f4e8bde6ca49a4"


class Secret:
    """A value that is sent back as a secret."""

    def __init__(self, value: Any) -> None:
        self.value = value


def from_struct(struct: Any) -> dict[str, Any]:
    """Converts a protobuf Struct into plain values, with `UNKNOWN` for values that are not known."""
    return {key: _from_value(value) for key, value in struct.fields.items()}


def _from_value(value: Any) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        fields = value.struct_value.fields
        signature = fields[_SIGNATURE].string_value if _SIGNATURE in fields else None
        if signature == _SECRET:
            return _from_value(fields["value"])
        if signature == _OUTPUT:
            return _from_value(fields["value"]) if "value" in fields else UNKNOWN
        return from_struct(value.struct_value)
    if kind == "list_value":
        return [_from_value(item) for item in value.list_value.values]
    if kind == "string_value":
        return UNKNOWN if value.string_value in _UNKNOWN_SENTINELS else value.string_value
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() else number
    if kind == "bool_value":
        return value.bool_value
    return None


def to_struct(values: dict[str, Any]) -> Any:
    """Converts plain values into a protobuf Struct, with `UNKNOWN` and `Secret` as the engine marks them."""
    from google.protobuf import struct_pb2

    struct = struct_pb2.Struct()
    struct.update(_mark(values))
    return struct


def _mark(value: Any) -> Any:
    if isinstance(value, Secret):
        return {_SIGNATURE: _SECRET, "value": _mark(value.value)}
    if isinstance(value, Unknown):
        return _UNKNOWN_STRING
    if isinstance(value, dict):
        return {key: _mark(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_mark(item) for item in value]
    return value


def has_unknown(value: Any) -> bool:
    """Whether anything in `value` is not known yet."""
    if isinstance(value, Unknown):
        return True
    if isinstance(value, dict):
        return any(has_unknown(item) for item in value.values())
    if isinstance(value, list):
        return any(has_unknown(item) for item in value)
    return False
