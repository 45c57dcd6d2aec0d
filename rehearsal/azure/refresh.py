"""What a refresh makes of a resource's inputs, as the real provider does it.

The inputs that a program gave are kept. Where the part of the outputs that could have been inputs differs from what the provider saw the
last time, that difference is applied to them: by name in an object, by place in a list.
Source: pulumi/pulumi-azure-native provider/pkg/provider/provider.go (Read) and diff.go (applyDiff).
"""

from __future__ import annotations

from typing import Any


def refreshed(inputs: dict[str, Any], seen: dict[str, Any], now: dict[str, Any], shape: dict[str, Any]) -> dict[str, Any]:
    """Returns the inputs after a refresh; `seen` and `now` are the outputs of the last time and of this one."""
    before, after = (_as_inputs(outputs, shape, shape["objects"]) for outputs in (seen, now))
    return _applied(inputs, before, after)


def _as_inputs(value: Any, kind: dict[str, Any], objects: dict[str, Any]) -> Any:
    """Leaves out of an output what is no input."""
    properties = kind.get("properties")
    if kind.get("kind") == "object":
        properties = objects[kind["ref"]]["properties"]
    if properties is not None and isinstance(value, dict):
        return {key: _as_inputs(item, properties[key], objects) for key, item in value.items() if key in properties}
    if kind.get("kind") == "list" and isinstance(value, list):
        return [_as_inputs(item, kind["of"], objects) for item in value]
    return value


def _applied(inputs: Any, before: Any, after: Any) -> Any:
    if before == after:
        return inputs
    if all(isinstance(value, dict) for value in (inputs, before, after)):
        result = dict(inputs)
        for key in before.keys() | after.keys():
            if key not in after:
                result.pop(key, None)
            elif before.get(key) != after[key]:
                result[key] = _applied(result.get(key), before.get(key), after[key])
        return result
    if all(isinstance(value, list) for value in (inputs, before, after)):
        kept = [_applied(*items) for items in zip(inputs, before, after, strict=False)]
        return [*kept, *after[len(kept) :]]
    return after
