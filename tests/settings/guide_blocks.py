"""The guide's YAML blocks, copied as they are into guide/, in the guide's order."""

from pathlib import Path
from typing import Any

import yaml

BLOCKS = sorted((Path(__file__).parent / "guide").glob("*.yaml"))


def leaves(value: Any, path: tuple[int | str, ...] = ()) -> dict[tuple[int | str, ...], Any]:
    """Every scalar with its place. Variables are found by name: lists of several blocks are one list in a stack file."""
    if isinstance(value, dict):
        return {place: leaf for key, child in value.items() for place, leaf in leaves(child, (*path, key)).items()}
    if isinstance(value, list):
        named = {item["name"]: item for item in value if isinstance(item, dict) and "name" in item}
        children = named.items() if named else enumerate(value)
        return {place: leaf for key, child in children for place, leaf in leaves(child, (*path, key)).items()}
    return {path: value}


def content(block: Path) -> dict[str, Any]:
    """PyYAML reads the guide's blocks as the engine does; test_yaml_tree has what it would read differently."""
    return yaml.safe_load(block.read_text())
