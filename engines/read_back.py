"""What a rendered server was really told: settings found again in its files, variables and fields.

An engine's `Told` comes from here and not from a list, so a setting whose rendering is taken out is no longer told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from engines.workload import FieldPath, Role, Server, Told
from settings.error_messages import key_text
from settings.flatten import text_of
from settings.yaml_tree import YamlPath


def in_files(given: Mapping[str, str], role: Role, server: Server) -> Iterator[Told]:
    """Settings that stand under their own keys in one of the server's YAML files, with the value that is given."""
    sections = frozenset(key.partition(".")[0] for key in given)
    for file in server.config_files:
        for path, (value, line) in _written(file.content, sections).items():
            key = key_text(path)
            if given.get(key) == value:
                yield Told(key=key, outcome="passed through", role=role, field=("config_files", file.name, *path), line=line, holds=value)


def in_environment(given: Mapping[str, str], prefix: str, role: Role, server: Server) -> Iterator[Told]:
    """Settings `prefix.NAME` that are the value of the server's variable of that name, or the Secret that it is taken from."""
    for variable in server.env:
        key, secret = f"{prefix}.{variable.name}", variable.secret_key
        told = [(key, "value", variable.value)]
        if secret is not None:
            reference = f"{key}.valueFrom.secretKeyRef"
            told = [(f"{reference}.name", "secret", secret.secret), (f"{reference}.key", "key", secret.key)]
        for key, part, value in told:
            if value is not None and given.get(key) == value:
                yield Told(key=key, outcome="passed through", role=role, field=("env", variable.name, part), holds=value)


def in_field(key: str, role: Role, server: Server, field: FieldPath) -> Told:
    """A setting that one field of the server follows from; the field may be empty because of it.

    Raises AttributeError for a field that a `Server` does not have.
    """
    value: Any = server
    for part in field:
        if value is not None:
            value = value.get(part) if isinstance(value, Mapping) else getattr(value, str(part))
    if isinstance(value, Mapping):
        # A section that is empty in the stack; what is in the field all the same, such as huge pages, has settings of its own.
        value = {}
    return Told(key=key, outcome="in force", role=role, field=field, holds=None if value is None else text_of(value))


def in_variable(key: str, role: Role, server: Server, name: str) -> Told:
    """A setting that a variable's value follows from. Raises KeyError when the server has no such variable."""
    value = {variable.name: variable.value for variable in server.env}[name]
    return Told(key=key, outcome="in force", role=role, field=("env", name, "value"), holds=value)


def in_args(key: str, role: Role, server: Server, flag: str) -> Told:
    """A setting that a flag follows from. Raises ValueError when the server has no such flag."""
    position = server.args.index(flag)
    following = server.args[position + 1 : position + 2]
    holds = following[0] if following and not following[0].startswith("--") else flag
    return Told(key=key, outcome="in force", role=role, field=("args", flag), holds=holds)


def in_file(key: str, role: Role, server: Server, file_name: str, path: YamlPath) -> Told:
    """A setting that another key of a file follows from. Raises KeyError when the file has no such key."""
    [content] = [file.content for file in server.config_files if file.name == file_name]
    value, line = _written(content, frozenset(map(str, path[:1])))[path]
    return Told(key=key, outcome="passed through", role=role, field=("config_files", file_name, *path), line=line, holds=value)


def _written(content: str, sections: frozenset[str]) -> dict[YamlPath, tuple[str, int]]:
    """Leaves of these sections of a YAML document, as `settings.flatten` counts leaves: value as text, and line from 1, by place.

    What else is in the file, such as the addresses of thousands of shards, is not looked at.
    """
    loader = yaml.CSafeLoader(content)
    try:
        root = loader.get_single_node()
        root.value = [(key, child) for key, child in root.value if key.value in sections]
        return {path: (text_of(loader.construct_object(node, deep=True)), line) for path, node, line in _walk(root)}
    finally:
        loader.dispose()


def _walk(node: yaml.Node, path: YamlPath = (), line: int = 1) -> Iterator[tuple[YamlPath, yaml.Node, int]]:
    if isinstance(node, yaml.MappingNode) and node.value:
        for key, child in node.value:
            yield from _walk(child, (*path, key.value), key.start_mark.line + 1)
    elif isinstance(node, yaml.SequenceNode) and any(isinstance(item, yaml.MappingNode) for item in node.value):
        for index, item in enumerate(node.value):
            yield from _walk(item, (*path, index), item.start_mark.line + 1)
    else:
        yield path, node, line
