"""The JSON schema of a stack file, from the models that check it; editors use it for completion and warnings."""

from __future__ import annotations

import ast
import inspect
import textwrap
from itertools import pairwise
from typing import Any

from settings.base import Section
from settings.error_messages import Spot, keys_of
from settings.stack import StackSettings


def stack_file_schema(project: str) -> dict[str, Any]:
    """Returns the schema (draft 2020-12): sections below `config:` with the project's name in front, and other projects' keys."""
    sections = StackSettings.model_json_schema(by_alias=True, mode="validation")
    definitions = sections.pop("$defs")
    _describe(StackSettings, sections, definitions)
    text = {"type": "string"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Pulumi.<stack>.yaml of {project}",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "config": {
                "type": "object",
                "properties": {f"{project}:{name}": schema for name, schema in sections["properties"].items()},
                # A key of another project or provider, such as azure-native:location.
                "patternProperties": {f"^(?!{project}:)[^:]+:.+$": True},
                "additionalProperties": False,
            },
            "encryptionsalt": text,
            "encryptedkey": text,
            "secretsprovider": text,
            "environment": True,
        },
        "$defs": definitions,
    }


def _describe(model: type[Section], schema: dict[str, Any], definitions: dict[str, Any]) -> None:
    """Adds the docstring of each field as its description.

    Pydantic's `use_attribute_docstrings` would do the same, but it parses all sources at each import, which takes a quarter
    of a check's time.
    """
    below = _texts_below_fields(model)
    for (name, _), key in zip(model.model_fields.items(), keys_of(model), strict=True):
        inner = Spot(model).child(key)
        kind = inner.type if inner else None
        while hasattr(kind, "__args__"):
            kind = kind.__args__[0]
        if isinstance(kind, type) and issubclass(kind, Section):
            _describe(kind, definitions[kind.__name__], definitions)
        if name in below:
            schema["properties"][key]["description"] = below[name]


def _texts_below_fields(model: type[Section]) -> dict[str, str]:
    [definition] = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    assert isinstance(definition, ast.ClassDef)
    return {
        field.target.id: inspect.cleandoc(text.value.value)
        for field, text in pairwise(definition.body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str)
    }
