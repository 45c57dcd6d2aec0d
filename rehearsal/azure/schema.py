"""Reads Azure's types from the azure-native SDK: properties, which of them are required, enum values, and outputs.

Importing an SDK module takes 0.3 to 1.3 s and the engine starts a plugin for each operation, so each type is cached as a small JSON file
(in the folder `REHEARSAL_SCHEMA_CACHE`, by the SDK's version) and the SDK is imported only once.

A type is a dict: {"kind": "string" | "integer" | "number" | "boolean" | "any"}, {"kind": "list" | "map", "of": type},
{"kind": "enum", "name", "values"} (other strings may be valid too: see validate.py), or {"kind": "object", "ref": name in "objects"}.
Names are the wire's (camelCase).
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import inspect
import json
import os
import subprocess
import sys
import tempfile
import threading
from enum import Enum
from pathlib import Path
from types import FunctionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from rehearsal.azure.resources import RESOURCE_TYPES

FORMAT = 3  # raise it when what is kept changes shape


_T = TypeVar("_T")  # stands for the parameter of `pulumi.Input` where its forward reference is resolved


class UnknownType(Exception):
    """The SDK has no such resource."""


@functools.cache
def sdk_version() -> str:
    """Returns the version of the installed azure-native SDK."""
    return importlib.metadata.version("pulumi-azure-native")


@functools.cache
def schema(token: str) -> dict[str, Any]:
    """Returns the type of a resource `azure-native:module:Name`.

    Returns {"properties": {wire name: type}, "required": [...], "objects": {...}} of the inputs, and in "outputs" what the
    same keys without "required" say of the outputs.
    Raises UnknownType if the SDK has no such resource.
    """
    kept = _kept(token)
    if not kept.exists():
        with _READING:
            _read_in_another_process(token)
    if not kept.exists():
        raise UnknownType(f"azure-native {sdk_version()} has no resource type {token}")
    return json.loads(kept.read_text())


_READING = threading.Lock()


def _kept(token: str) -> Path:
    folder = Path(os.environ.get("REHEARSAL_SCHEMA_CACHE") or Path(tempfile.gettempdir()) / f"zig-ai-aks-azure-types-{os.getuid()}")
    return folder / f"{sdk_version()}-{FORMAT}" / f"{token.replace(':', '.').replace('/', '.')}.json"


def _read_in_another_process(token: str) -> None:
    """Reads the SDK in another process: this one may have the protocol's stubs in its place (see protocol.py) and should stay small."""
    if _kept(token).exists():
        return  # another thread was first
    package = str(Path(__file__).resolve().parent.parent.parent)
    done = subprocess.run(
        [sys.executable, "-m", "rehearsal.azure.schema", token],
        env={**os.environ, "PYTHONPATH": package},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"reading Azure's types from the SDK failed: {done.stderr[-2000:]}")


def keep(token: str) -> None:
    """Reads the SDK, and caches `token` and the other types of the same module that the stand-in knows."""
    module = token.rpartition(":")[0]
    for name in {token, *(known for known in RESOURCE_TYPES if known.rpartition(":")[0] == module)}:
        try:
            resource_type = _read_sdk(name)
        except UnknownType:
            continue
        kept = _kept(name)
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=kept.parent, delete=False) as file:
            json.dump(resource_type, file)
        os.replace(file.name, kept)  # two rehearsals may read the same type at once


def _read_sdk(token: str) -> dict[str, Any]:
    package, module_name, name = token.split(":")
    try:
        if package != "azure-native":
            raise ImportError
        module = importlib.import_module(f"pulumi_azure_native.{module_name.replace('/', '.')}")
        resource = getattr(module, name)
        args = next(getattr(module, name + suffix) for suffix in ("InitArgs", "Args") if hasattr(module, name + suffix))
    except (ImportError, AttributeError, StopIteration):
        raise UnknownType(f"azure-native {sdk_version()} has no resource type {token}") from None
    objects: dict[str, Any] = {}
    shape = _object(args, objects)
    output_objects: dict[str, Any] = {}
    outputs = {wire: _type(_hint(getter), output_objects) for wire, getter in _properties(resource)}
    return {**shape, "objects": objects, "outputs": {"properties": outputs, "objects": output_objects}}


def _properties(cls: type) -> list[tuple[str, property]]:
    getters = []
    for name, value in vars(cls).items():
        if isinstance(value, property) and value.fget is not None:
            getters.append((getattr(value.fget, "_pulumi_name", name), value))
    return getters


def _object(cls: type, objects: dict[str, Any]) -> dict[str, Any]:
    parameters = inspect.signature(cls.__init__).parameters
    properties, required = {}, []
    for wire, getter in _properties(cls):
        properties[wire] = _type(_hint(getter), objects)
        if parameters[_function(getter).__name__].default is inspect.Parameter.empty:
            required.append(wire)
    return {"properties": properties, "required": required}


def _hint(getter: property) -> Any:
    """Returns the type of a property, with the names that `pulumi.Input`'s forward reference needs."""
    import pulumi

    function = _function(getter)
    namespace = {**function.__globals__, "Output": pulumi.Output, "T": _T}
    return get_type_hints(function, globalns=namespace)["return"]


def _function(getter: property) -> FunctionType:
    assert isinstance(getter.fget, FunctionType), "the SDK's properties are plain functions"
    return getter.fget


def _type(hint: Any, objects: dict[str, Any]) -> dict[str, Any]:
    choices = _choices(hint)
    enums = [c for c in choices if isinstance(c, type) and issubclass(c, Enum)]
    if enums:  # azure-native writes extensible enums as Union[str, Enum]
        return {"kind": "enum", "name": enums[0].__name__, "values": [member.value for member in enums[0]]}
    classes = [c for c in choices if isinstance(c, type) and hasattr(c, "__module__") and c.__module__.startswith("pulumi_azure_native")]
    if classes:
        cls = classes[0]
        if cls.__name__ not in objects:
            objects[cls.__name__] = {}  # types may contain themselves
            objects[cls.__name__] = _object(cls, objects)
        return {"kind": "object", "ref": cls.__name__} if len(classes) == 1 else {"kind": "any"}
    for choice in choices:
        origin = get_origin(choice)
        if origin is not None and "Sequence" in str(origin):
            return {"kind": "list", "of": _type(get_args(choice)[0], objects)}
        if origin is not None and "Mapping" in str(origin):
            return {"kind": "map", "of": _type(get_args(choice)[1], objects)}
    kinds = {str: "string", bool: "boolean", int: "integer", float: "number"}
    scalar = [kinds[c] for c in choices if c in kinds]
    return {"kind": scalar[0] if len(scalar) == 1 else "any"}


def _choices(hint: Any) -> list[Any]:
    """The members of a Union without the wrappers that `pulumi.Input` adds (Awaitable, Output) and without None.

    A resource's own properties are Outputs; their content counts.
    """
    if str(get_origin(hint)).endswith(".Output'>"):
        return _choices(get_args(hint)[0])
    if get_origin(hint) is None or not str(get_origin(hint)).endswith("Union"):
        return [hint]
    flat = []
    for member in get_args(hint):
        text = str(get_origin(member) or member)
        if member is not type(None) and "Awaitable" not in text and "Output" not in text:
            flat.extend(_choices(member))
    return flat


if __name__ == "__main__":
    keep(sys.argv[1])
