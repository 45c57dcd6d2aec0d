"""Reads what Microsoft's generated models say of a body: names, types, required, read-only, values, patterns and bounds.

Parsed, never imported. There are two generations: msrest's (`_attribute_map` and `_validation`, types and values in the docstring) and
TypeSpec's (`rest_field`).
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

from pydantic.alias_generators import to_camel

Facts = dict[str, Any]
"""What a body's field must be: `type` and, where they are said, `required`, `readonly`, `values` and msrest's validation. `client` is the
field's name in clients where it has another one there."""
_KEPT = ("required", "readonly", "pattern", "minimum", "maximum", "min_length", "max_length", "min_items", "max_items")


def models(folder: Path) -> dict[str, dict[str, Facts]]:
    """Model name to field name to facts. The fields of a `properties` object are those of the model, as azure-native has them."""
    classes = {}
    for file in sorted(folder.glob("_models*.py")):
        classes |= {node.name: node for node in ast.parse(file.read_text()).body if isinstance(node, ast.ClassDef)}
    values = _enums(folder)
    read = {name: _fields(node, classes, values) for name, node in classes.items()}
    return {name: _flat(fields, read) for name, fields in read.items()}


def _flat(fields: dict[str, Facts], read: dict[str, dict[str, Facts]]) -> dict[str, Facts]:
    inner = fields.get("properties", {}).get("type", "")
    if inner not in read:
        return fields
    return {name: facts for name, facts in fields.items() if name != "properties"} | read[inner]


def _enums(folder: Path) -> dict[str, list[str]]:
    found = {}
    for file in sorted(folder.glob("*_enums.py")):
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.ClassDef):
                found[node.name] = [ast.literal_eval(item.value) for item in node.body if isinstance(item, ast.Assign)]
    return found


def _fields(node: ast.ClassDef, classes: dict[str, ast.ClassDef], values: dict[str, list[str]]) -> dict[str, Facts]:
    inherited: dict[str, Facts] = {}
    for base in node.bases:
        name = base.id if isinstance(base, ast.Name) else base.attr if isinstance(base, ast.Attribute) else ""
        if name in classes:
            inherited |= _fields(classes[name], classes, values)
    assigned = {
        item.targets[0].id: item.value for item in node.body if isinstance(item, ast.Assign) and isinstance(item.targets[0], ast.Name)
    }
    if "_attribute_map" in assigned:
        return inherited | _of_msrest(node, assigned, values)
    return inherited | _of_typespec(node, values)


def _of_msrest(node: ast.ClassDef, assigned: dict[str, ast.expr], values: dict[str, list[str]]) -> dict[str, Facts]:
    told = dict(re.findall(r":vartype (\w+): ([^\n]+(?:\n     [^\n]+)*)", ast.get_docstring(node, clean=False) or ""))
    validation = ast.literal_eval(assigned["_validation"]) if "_validation" in assigned else {}
    found = {}
    for attribute, where in ast.literal_eval(assigned["_attribute_map"]).items():
        facts: Facts = {"type": where["type"]}
        facts |= {key: value for key, value in validation.get(attribute, {}).items() if key in _KEPT}
        enum = re.search(r"models\.(\w+)", told.get(attribute, ""))
        if enum and enum[1] in values:
            facts["values"] = values[enum[1]]
        # A dot in a name is escaped; one that is not leads into an object.
        *path, name = re.split(r"(?<!\\)\.", where["key"])
        # Deeper ones keep their path, by which nothing that is sent is found.
        prefix = ".".join(path) + "." if path not in ([], ["properties"]) else ""
        wire = prefix + name.replace("\\.", ".")
        client = to_camel(attribute)
        # Clients, azure-native among them, give some fields another name than the API does.
        found[wire] = facts if client.lower() == wire.lower() else facts | {"client": client}
    return found


def _of_typespec(node: ast.ClassDef, values: dict[str, list[str]]) -> dict[str, Facts]:
    found = {}
    for item in node.body:
        if not (isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name) and isinstance(item.value, ast.Call)):
            continue
        options = {keyword.arg: ast.literal_eval(keyword.value) for keyword in item.value.keywords if keyword.arg in ("name", "visibility")}
        hint = ast.unparse(item.annotation)
        optional = hint.startswith("Optional[")
        hint = hint[len("Optional[") : -1] if optional else hint
        facts: Facts = {"type": _typespec_type(hint, values)}
        if options.get("visibility") == ["read"]:
            facts["readonly"] = True
        elif not optional:
            facts["required"] = True
        enum = [name for name in re.findall(r"_models\.(\w+)", hint) if name in values]
        if enum:
            facts["values"] = values[enum[0]]
        found[options.get("name", item.target.id)] = facts
    return found


def _typespec_type(hint: str, values: dict[str, list[str]]) -> str:
    """Written as msrest writes it: `[X]` is a list and `{X}` a map of X."""
    inner = re.fullmatch(r"(list|List|dict|Dict)\[(?:str, )?(.*)\]", hint)
    if inner:
        left, right = "[]" if inner[1].lower() == "list" else "{}"
        return f"{left}{_typespec_type(inner[2], values)}{right}"
    model = re.search(r"_models\.(\w+)", hint)
    if model:
        return "str" if model[1] in values else model[1]
    return {"datetime.datetime": "iso-8601", "Any": "object"}.get(hint, hint)


def reachable(all_models: dict[str, dict[str, Facts]], roots: list[str]) -> dict[str, dict[str, Facts]]:
    """The roots and what a body of theirs can contain."""
    found: dict[str, dict[str, Facts]] = {}
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name in found or name not in all_models:
            continue
        found[name] = all_models[name]
        waiting += [facts["type"].strip("[]{}") for facts in all_models[name].values() if not facts.get("readonly")]
    return dict(sorted(found.items()))
