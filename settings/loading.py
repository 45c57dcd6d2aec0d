"""Turns a stack's sections, as text, into checked settings, and reports every problem of every section at once."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, get_origin

from pydantic import ValidationError

from settings.base import Section
from settings.error_messages import SettingPath, closest, explain, field_named, key_text, keys_of, kind_text, places_of, value_text
from settings.problems import Problem, SettingsError
from settings.rules import broken_rules, workload
from settings.secrets import HIDDEN
from settings.stack import StackSettings

# Pulumi passes the whole configuration to the program as JSON in one environment variable, which Linux limits to 128 KiB.
MOST_BYTES = 120 * 1024
MOST_LEVELS = 32


@dataclass(frozen=True, kw_only=True)
class Result:
    """The settings of a stack and what is wrong with them."""

    settings: StackSettings | None
    """None if there are problems or encrypted values."""
    problems: tuple[Problem, ...]
    encrypted: tuple[str, ...] = ()
    """Keys whose values only Pulumi can decrypt. Their sections are checked as far as they can be read."""
    readable: StackSettings = field(default_factory=StackSettings)
    """The sections that are valid by themselves, and defaults for the others."""
    unusable: frozenset[str] = frozenset()
    """Names of the sections that are not valid by themselves."""


def load(raw: Mapping[str, str], *, stack: str | None = None, encrypted: Collection[str] = ()) -> StackSettings:
    """Returns the settings of a stack, from the texts that Pulumi passes to the program.

    `raw` maps each section to its text: JSON for blocks, plain text for scalars. `stack` is the stack's name, which is part of names whose
    length Azure limits. No message repeats a value of a section in `encrypted`. Raises SettingsError with all problems.
    """
    result = check(raw, stack=stack, encrypted=encrypted)
    if result.problems:
        raise SettingsError(result.problems)
    assert result.settings, f"not decrypted: {result.encrypted}"
    return result.settings


def check(raw: Mapping[str, str], *, stack: str | None = None, encrypted: Collection[str] = ()) -> Result:
    """Checks settings like `load`, but returns the problems. It also accepts files, whose secrets are still encrypted."""
    if problem := _too_large(raw):
        return Result(settings=None, problems=(problem,), unusable=frozenset(raw))
    problems: list[Problem] = []
    document = {}
    for name, text in raw.items():
        section, problem = _read(name, text)
        if problem:
            problems.append(problem)
        else:
            document[name] = section
    ciphertexts = list(_ciphertexts(document))
    problems += [_encrypted_variable(path) for path in ciphertexts if path[:2] == ("shard", "env")]
    settings, invalid = _validate(document, ciphertexts, problems)
    unusable = invalid | {name for name in raw if name not in document}
    problems += broken_rules(settings, unusable=unusable, document=document, stack=stack)
    order = {name: position for position, name in enumerate(keys_of(StackSettings))}
    problems.sort(key=lambda problem: order.get(_section(problem), -1))
    return Result(
        settings=None if problems or ciphertexts else settings,
        problems=tuple(_hide(problem) if _section(problem) in encrypted else problem for problem in problems),
        encrypted=tuple(map(key_text, ciphertexts)),
        readable=settings,
        unusable=frozenset(unusable),
    )


def _ciphertexts(value: Any, path: SettingPath = ()) -> Iterator[SettingPath]:
    """Yields the paths of `secure:` values, which only Pulumi can decrypt."""
    if isinstance(value, dict) and list(value) == ["secure"] and isinstance(value["secure"], str):
        yield path
    elif isinstance(value, dict | list):
        for part, child in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _ciphertexts(child, (*path, part))


def _encrypted_variable(path: SettingPath) -> Problem:
    return Problem(
        key=key_text(path),
        value="an encrypted value",
        consequence="would be stored as plain text in the pod's specification, where anyone who can view pods could read it",
        fix=workload.SECRET_FIX,
    )


def _section(problem: Problem) -> str:
    return problem.key.split(".")[0].split("[")[0]


def _hide(problem: Problem) -> Problem:
    """Removes the value from a problem of an encrypted section."""

    def without(text: str) -> str:
        return text.replace(problem.value.strip('"'), HIDDEN) if problem.value else text

    return replace(problem, value=HIDDEN, consequence=without(problem.consequence), fix=without(problem.fix))


def _too_large(raw: Mapping[str, str]) -> Problem | None:
    sizes = {name: len(json.dumps(text)) for name, text in raw.items()}
    if sum(sizes.values()) <= MOST_BYTES:
        return None
    largest = max(sizes, key=lambda name: sizes[name])
    return Problem(
        key=key_text((largest,)),
        value=f"{sizes[largest]:,} bytes".replace(",", " "),
        consequence=f"the settings are {sum(sizes.values()) // 1024} KiB; Pulumi hands them to the program in one environment variable, "
        "which Linux limits to 128 KiB",
        fix=f"at most {MOST_BYTES // 1024} KiB in all; put data into a file of the image or into storage",
    )


def _read(name: str, text: str) -> tuple[Any, Problem | None]:
    """Returns the content of a section, or why it cannot be read."""
    field = field_named(StackSettings, name)
    if field is None:
        return None, _unknown_section(name, text)
    if not _is_section(field.annotation):
        return text, None
    try:
        content = json.loads(text, object_pairs_hook=_without_duplicates)
    except _DuplicateKeyError as error:
        return None, Problem(
            key=name,
            value="",
            consequence=f"contains {key_text((str(error),))} twice: only one of the two would take effect",
            fix="keep one of the two settings",
        )
    except (ValueError, RecursionError):
        # Pulumi passes a section without content as empty text.
        content = text or None
    if isinstance(content, dict):
        return (content, None) if (problem := _unreadable(name, content)) is None else (None, problem)
    section = field.annotation
    known = keys_of(section) if isinstance(section, type) and issubclass(section, Section) else ["--FLAG: VALUE"]
    return None, Problem(
        key=name,
        value=value_text((name,), content),
        consequence=f"is {kind_text(content)} where a block of keys is expected",
        fix=f"keys below it ({', '.join(known[:6])}{' ...' if len(known) > 6 else ''}), or no {name} at all to get the defaults",
    )


def _is_section(annotation: Any) -> bool:
    return get_origin(annotation) is dict or (isinstance(annotation, type) and issubclass(annotation, Section))


class _DuplicateKeyError(Exception):
    pass


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        raise _DuplicateKeyError(next(name for name in names if names.count(name) > 1))
    return content


def _unreadable(name: str, content: dict[str, Any]) -> Problem | None:
    """Returns a problem that the validator itself cannot handle: extreme nesting, or text that is not Unicode."""
    level: list[tuple[tuple[int | str, ...], Any]] = [((name,), content)]
    for _ in range(MOST_LEVELS):
        deeper: list[tuple[tuple[int | str, ...], Any]] = []
        for path, value in level:
            children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
            deeper += [((*path, part), child) for part, child in children]
            for text in (value, path[-1]):
                if isinstance(text, str) and not _is_unicode(text):
                    return Problem(key=key_text(path), value="", consequence="is not valid Unicode text", fix="the same text typed again")
        level = deeper
    if not level:
        return None
    return Problem(
        key=key_text(level[0][0][:4]),
        value="...",
        consequence=f"is nested more than {MOST_LEVELS} levels deep, which no setting is",
        fix="fewer levels",
    )


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _unknown_section(name: str, text: str) -> Problem:
    known = keys_of(StackSettings)
    places = [key_text(place) for place in places_of(name, StackSettings)]
    near = closest(name, known)
    section, _, inner = name.partition(".")
    if inner and section in known:
        # `pulumi config set gpuPool.vmSize x` without --path makes one key of the whole name.
        fix = f"write {inner.split('.')[-1]} below {section}: (pulumi config set --path '{name[:60]}')"
    elif near:
        fix = f"did you mean {near}?"
    elif places:
        fix = f"it belongs at {' or '.join(places[:3])}"
    else:
        fix = f"one of {', '.join(known)}"
    value = "{...}" if text.startswith(("{", "[")) else value_text((name,), text).strip('"')
    return Problem(key=key_text((name,)), value=value, consequence="there is no such section, so it would have no effect", fix=fix)


def _validate(document: dict[str, Any], ciphertexts: list[SettingPath], problems: list[Problem]) -> tuple[StackSettings, set[str]]:
    """Returns the settings of the valid sections, with defaults for the others, and the names of the others."""
    try:
        return StackSettings.model_validate_json(json.dumps(document)), set()
    except ValidationError as error:
        details = error.errors(include_url=False)
    readable = [detail for detail in details if not any(detail["loc"][: len(path)] == path for path in ciphertexts)]
    problems += [explain(detail, StackSettings) for detail in readable]
    invalid = {str(detail["loc"][0]) for detail in details}
    rest = {name: content for name, content in document.items() if name not in invalid}
    return StackSettings.model_validate_json(json.dumps(rest)), invalid
