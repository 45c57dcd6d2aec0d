"""Defaults live in the models and are themselves valid; the schema for editors comes from the same models."""

import ast
import inspect
import json
import re
from pathlib import Path

import pytest
import yaml

import settings
from settings import StackSettings, load
from settings.base import Section
from settings.error_messages import Spot, expected, keys_of
from settings.files import PROJECT, ROOT
from settings.schema import stack_file_schema
from settings.stack_file import open_stack_file
from stacks.__main__ import SCHEMA_PATH


def test_defaults_are_valid():
    """A default is not validated when a model is made, so a wrong one would only be met by the user who writes it down."""
    written = {name: section for name, section in StackSettings().model_dump(mode="json", by_alias=True, exclude_none=True).items()}
    texts = {name: section if isinstance(section, str) else json.dumps(section) for name, section in written.items()}
    assert load(texts, stack="prod") == StackSettings()


def test_the_index_of_settings_names_the_file_of_every_section():
    lines = re.findall(r"^- (`.+): (settings/\w+\.py)$", settings.__doc__ or "", re.MULTILINE)
    index = {section: file for sections, file in lines for section in re.findall(r"`(\w+)`", sections)}
    models = {key: Spot(StackSettings).child(key).type for key in keys_of(StackSettings)}
    files = {
        key: inspect.getfile(model if isinstance(model, type) and issubclass(model, Section) else StackSettings)
        for key, model in models.items()
    }
    assert index == {key: str(Path(file).relative_to(ROOT)) for key, file in files.items()}


def public_functions_and_classes():
    for file in sorted((ROOT / "settings").rglob("*.py")):
        for node in ast.parse(file.read_text()).body:
            for definition in (node, *(node.body if isinstance(node, ast.ClassDef) else ())):
                if isinstance(definition, (ast.FunctionDef, ast.ClassDef)) and not definition.name.startswith("_"):
                    yield pytest.param(definition, id=f"{file.stem}.{definition.name}")


@pytest.mark.parametrize("node", list(public_functions_and_classes()))
def test_every_public_function_and_class_of_settings_is_documented(node):
    docstring = ast.get_docstring(node) or ""
    assert re.match(r"[A-Z`].*\.", docstring, re.DOTALL)
    assert not re.match(r"(Of|As|By)\b", docstring)


def test_nothing_given_is_all_defaults():
    assert load({}) == StackSettings()


def test_settings_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        load({}).shard.config.__setattr__("io_threads", 9)


def spots(model: type[Section], path: str = "") -> list[tuple[str, Spot]]:
    here = [(f"{path}.{key}".lstrip("."), spot) for key in keys_of(model) if (spot := Spot(model).child(key))]
    below = [
        found for key, spot in here if isinstance(spot.type, type) and issubclass(spot.type, Section) for found in spots(spot.type, key)
    ]
    return here + below


@pytest.mark.parametrize(("key", "spot"), spots(StackSettings))
def test_every_setting_can_say_what_it_expects(key, spot):
    assert expected(spot)


@pytest.mark.parametrize(("key", "spot"), [(key, spot) for key, spot in spots(StackSettings) if spot.type in (int, float)])
def test_every_number_is_bounded_and_says_why(key, spot):
    assert spot.otherwise, f"{key} does not say what would come of a number out of its range"
    assert re.search(r"from .* to|above .* at most", expected(spot)), f"{key} has no bounds"


def test_schema_file_is_not_stale():
    written = json.loads(SCHEMA_PATH.read_text())
    assert written == json.loads(json.dumps(stack_file_schema(PROJECT))), "python -m stacks schema --write"


@pytest.mark.parametrize("stack", ["prod", "dev"])
def test_stack_files_point_at_the_schema(stack):
    first = (ROOT / f"Pulumi.{stack}.yaml").read_text().splitlines()[0]
    assert first == f"# yaml-language-server: $schema={SCHEMA_PATH.relative_to(ROOT)}"


def test_schema_patterns_are_what_editors_understand():
    """Named groups are spelt differently in ECMAScript: an editor would silently check nothing."""
    patterns = re.findall(r'"pattern": "([^"]*)"', json.dumps(stack_file_schema(PROJECT)))
    assert patterns
    assert not [pattern for pattern in patterns if "?P<" in pattern]


def test_schema_names_every_section_and_takes_others_keys():
    config = stack_file_schema(PROJECT)["properties"]["config"]
    assert list(config["properties"]) == [f"{PROJECT}:{name}" for name in keys_of(StackSettings)]
    (others,) = config["patternProperties"]
    assert re.search(others, "azure-native:location")
    assert not re.search(others, f"{PROJECT}:shrad")


@pytest.mark.parametrize("stack", ["prod", "dev"])
def test_stack_files_pass_the_schema(stack):
    """A validator for the few keywords that the schema uses; an editor uses a complete one."""
    read = open_stack_file(ROOT / f"Pulumi.{stack}.yaml", PROJECT)
    schema = stack_file_schema(PROJECT)
    sections = schema["properties"]["config"]["properties"]
    for name, text in read.sections.items():
        complain(sections[f"{PROJECT}:{name}"], yaml.safe_load(text), schema["$defs"], name)


def complain(schema, value, definitions, path):
    """Asserts that the value is of the schema's type, has known keys, and matches the patterns."""
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rsplit("/", 1)[1]]
    if "anyOf" in schema:
        kinds = [arm for arm in schema["anyOf"] if arm.get("type") != "null"]
        schema = kinds[0] if len(kinds) == 1 else {}
    types = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool}
    if "type" in schema:
        assert isinstance(value, types[schema["type"]]), path
    if "enum" in schema:
        assert value in schema["enum"], path
    if "pattern" in schema:
        assert re.search(schema["pattern"], value), path
    if isinstance(value, dict):
        for key, child in value.items():
            inner = schema.get("properties", {}).get(key) or schema.get("additionalProperties") or {}
            assert inner or schema.get("additionalProperties") is not False, f"{path}.{key}"
            complain(inner if isinstance(inner, dict) else {}, child, definitions, f"{path}.{key}")
    if isinstance(value, list):
        for item in value:
            complain(schema.get("items", {}), item, definitions, f"{path}[]")
