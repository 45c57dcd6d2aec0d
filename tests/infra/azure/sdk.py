"""What the installed SDK itself says about a resource: its class, whether it takes tags, which values its enums have."""

import enum
import functools
import importlib
import importlib.util
import inspect
import re
import typing
from typing import Any

import pulumi
from pulumi._types import input_type_py_to_pulumi_names, is_input_type


def resource_class(token: str) -> type[pulumi.CustomResource]:
    """`azure-native:network:Subnet` to its class."""
    _, module, name = token.split(":")
    return getattr(importlib.import_module(f"pulumi_azure_native.{module}"), name)


def takes_tags(token: str) -> bool:
    return "tags" in inspect.signature(vars(resource_class(token))["_internal_init"]).parameters


def wrong_values(token: str, inputs: dict[str, Any]) -> list[str]:
    """Inputs that no enum of the SDK knows, as `path: value`."""
    module = importlib.import_module(resource_class(token).__module__)
    args = next(c for n, c in vars(module).items() if n in (f"{resource_class(token).__name__}{end}" for end in ("InitArgs", "Args")))
    return list(_walk(args, inputs, ""))


@functools.cache
def _hints(args: type) -> dict[str, Any]:
    """Types of an argument class, whose annotations are text. Some modules of the SDK have no argument classes of their own."""
    package = args.__module__.rsplit(".", 1)[0]
    names: dict[str, Any] = dict(vars(pulumi.output))
    for module in (args.__module__, f"{package}._inputs", f"{package}._enums"):
        if importlib.util.find_spec(module):
            names |= vars(importlib.import_module(module))
    # Typing keeps what it once made of 'SkuName', whichever module that was in, unless the two namespaces are different objects.
    return typing.get_type_hints(args.__init__, names, {})


def _walk(args: type, inputs: dict[str, Any], path: str) -> typing.Iterator[str]:
    hints = _hints(args)
    for python, wire in input_type_py_to_pulumi_names(args).items():
        if inputs.get(wire) is not None:
            yield from _check(hints[python], inputs[wire], f"{path}.{wire}".lstrip("."))


def _check(hint: Any, value: Any, path: str) -> typing.Iterator[str]:
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _check(hint, item, f"{path}[{index}]")
        return
    classes = _classes(hint)
    if isinstance(value, dict):
        for args in (c for c in classes if is_input_type(c)):
            maps = re.search(r"Mapping\[str, ", str(hint)) is not None
            for key, item in value.items() if maps else [("", value)]:
                yield from _walk(args, item, f"{path}.{key}".rstrip("."))
        return
    known = {member.value for c in classes if issubclass(c, enum.Enum) for member in c}
    if known and value not in known:
        yield f"{path}: {value!r} is not one of {sorted(map(str, known))}"


def _classes(hint: Any) -> set[type]:
    """Every class inside nested unions, sequences, mappings and Inputs."""
    if isinstance(hint, type) and not typing.get_args(hint):
        return {hint}
    return {found for part in typing.get_args(hint) for found in _classes(part)}
