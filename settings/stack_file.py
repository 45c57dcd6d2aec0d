"""Reads a `Pulumi.<stack>.yaml` without Pulumi, into the same sections and texts that Pulumi passes to the program."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from settings.error_messages import closest, key_text, keys_of
from settings.problems import Problem
from settings.stack import StackSettings
from settings.yaml_tree import Duplicate, Tree, YamlError, read

ENGINE_KEYS = ("config", "encryptionsalt", "encryptedkey", "secretsprovider", "environment")
"""The keys of a stack file that belong to Pulumi itself."""

_MOST_BYTES = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class StackFile:
    """A stack file: its sections, its own problems, and the line of each key."""

    path: Path
    sections: dict[str, str] = field(default_factory=dict)
    """The text of each section, as `settings.load` takes it."""
    problems: tuple[Problem, ...] = ()
    """Problems of the file itself; `settings.load` finds those of the sections."""
    lines: dict[str, int] = field(default_factory=dict)
    """The line of each key, spelt as in a Problem."""
    values: int = 0
    """The number of settings in the file."""

    def line_of(self, key: str) -> int | None:
        """Returns the line of a key, or of the nearest key above it that is in the file."""
        while key:
            if key in self.lines:
                return self.lines[key]
            key = max(key.rpartition(".")[0], key.rpartition("[")[0], key=len)
        return None


def open_stack_file(path: Path, project: str) -> StackFile:
    """Reads a stack file. Whatever is wrong with it becomes a problem, never an exception."""
    try:
        text = path.read_bytes()[: _MOST_BYTES + 1].decode("utf-8-sig")
        if len(text) > _MOST_BYTES:
            return _unreadable(path, "is larger than 1 MiB, which no stack file is", "a stack file")
        tree = read(text)
    except FileNotFoundError:
        return _missing(path)
    except UnicodeDecodeError as error:
        return _unreadable(path, f"is not UTF-8 text (byte {error.start})", "the file saved as UTF-8")
    except OSError as error:
        return _unreadable(path, f"cannot be read: {error.strerror}", "a file that you may read")
    except YamlError as error:
        return _unreadable(path, str(error), error.fix, line=error.line)
    return _sections(path, tree, project)


def _missing(path: Path) -> StackFile:
    stacks = sorted(file.name.removeprefix("Pulumi.").removesuffix(".yaml") for file in path.parent.glob("Pulumi.*.yaml"))
    fix = f"one of the existing stacks: {', '.join(stacks)}" if stacks else "pulumi stack init, or another --file"
    return _unreadable(path, "does not exist, so there is no such stack here", fix)


def _unreadable(path: Path, consequence: str, fix: str, line: int | None = None) -> StackFile:
    key = f"{path.name}:{line}" if line else path.name
    return StackFile(path=path, problems=(Problem(key=key, value="", consequence=consequence, fix=fix),))


def _sections(path: Path, tree: Tree, project: str) -> StackFile:
    root = {} if tree.value is None else tree.value
    if not isinstance(root, dict):
        return _unreadable(path, "contains a list or text where keys are expected", "config: with the sections below it")
    places = dict.fromkeys(duplicate.path for duplicate in tree.duplicates)
    problems = [_duplicate([duplicate for duplicate in tree.duplicates if duplicate.path == place], project) for place in places]
    problems += [_unknown_top(key) for key in root if key not in ENGINE_KEYS]
    problems += [_date(date, project) for date in tree.dates]
    config = root.get("config")
    if config is not None and not isinstance(config, dict):
        problems.append(
            Problem(
                key="config",
                value="",
                consequence="contains a list or text where sections are expected",
                fix=f"{project}:shard: and others below it",
            )
        )
    sections: dict[str, Any] = {}
    for key, value in (config if isinstance(config, dict) else {}).items():
        namespace, _, name = key.replace(f"{project}:config:", f"{project}:", 1).partition(":")
        if namespace == project and name:
            sections[name] = value
        elif not name:
            problems.append(_without_namespace(key, project))
        elif problem := stray(key, project):
            problems.append(problem)
    lines = {_key(place, project): line for place, line in tree.lines.items()}
    lines |= {f"shard.env.{item['name']}": lines[f"shard.env[{i}]"] for i, item in _named(sections.get("shard"))}
    return StackFile(
        path=path,
        sections={name: _text(value) for name, value in sections.items()},
        problems=tuple(problems),
        lines=lines,
        values=sum(map(_count, sections.values())),
    )


def _key(place: tuple[int | str, ...], project: str) -> str:
    """Returns the key as users write it, without `config` and without the project's name."""
    ours = place[:1] == ("config",) and len(place) > 1 and ":" in str(place[1])
    return key_text(place[1:] if ours else place).removeprefix(f"{project}:config:").removeprefix(f"{project}:")


def _named(shard: Any) -> list[tuple[int, dict[str, Any]]]:
    env = shard.get("env") if isinstance(shard, dict) else None
    return [
        (i, item)
        for i, item in enumerate(env if isinstance(env, list) else [])
        if isinstance(item, dict) and isinstance(item.get("name"), str)
    ]


def _text(value: Any) -> str:
    """Returns a value as Pulumi passes it to a program: as JSON, or as plain text."""
    return value if isinstance(value, str) else json.dumps(value)


def _count(value: Any) -> int:
    if isinstance(value, dict):
        return sum(map(_count, value.values()))
    return sum(map(_count, value)) if isinstance(value, list) else 1


def _duplicate(of_one_key: list[Duplicate], project: str) -> Problem:
    first, *_ = of_one_key
    key = _key(first.path, project)
    *others, last = [first.first_line, *(duplicate.second_line for duplicate in of_one_key)]
    times, all_of_them, the = (
        ("twice", "both", "two") if len(others) == 1 else (f"{len(others) + 1} times", "all of them", f"{len(others) + 1}")
    )
    return Problem(
        key=key,
        value=f"lines {', '.join(map(str, others))} and {last}",
        consequence=f"occurs {times} in the file, so Pulumi refuses to read it",
        fix=f"one {project}:{key} with the contents of {all_of_them}" if len(first.path) == 2 else f"keep one of the {the}",
    )


def _unknown_top(key: str) -> Problem:
    if key in keys_of(StackSettings) or ":" in key:
        return Problem(
            key=key_text((key,)), value="", consequence="is outside config:, where Pulumi ignores it", fix="indent it below config:"
        )
    near = closest(key, ENGINE_KEYS)
    return Problem(
        key=key_text((key,)),
        value="",
        consequence="is not part of a stack file, so it would have no effect",
        fix=f"did you mean {near}?" if near else "remove it",
    )


def _without_namespace(key: str, project: str) -> Problem:
    name = key.rstrip(":")
    known = keys_of(StackSettings)
    section = name if name in known else closest(name, known)
    return Problem(
        key=key_text(("config", key)),
        value="",
        consequence="lacks the project's name in front of it, so Pulumi refuses to read the file",
        fix=f"{project}:{section or name}:" if section else f"{project}: and one of {', '.join(known)}",
    )


def stray(key: str, project: str) -> Problem | None:
    """Returns a problem for a section below a misspelt project, which Pulumi takes for another project's.

    Keys of providers are not affected.
    """
    namespace, _, name = key.partition(":")
    if namespace == project or name not in keys_of(StackSettings) or not closest(namespace, (project,)):
        return None
    return Problem(
        key=key,
        value="",
        consequence=f"belongs to another project, {namespace}, so it would have no effect here",
        fix=f"{project}:{name}:",
    )


def _date(place: tuple[int | str, ...], project: str) -> Problem:
    return Problem(
        key=_key(place, project),
        value="",
        consequence="is a date in YAML, which Pulumi would rewrite with a time and a time zone",
        fix="put it in quotes",
    )
