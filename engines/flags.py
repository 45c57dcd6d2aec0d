"""Flags, environment variables and fields of configuration files, each with the settings that it answers.

An engine writes its command line as a list of `Flag`, its environment as a list of `Variable`, and the values in its configuration files
as `Field`. From the same lists come the container's arguments and what `explain` reports of each setting, so that neither can be changed
without the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from engines.workload import Env, Role
from settings import StackSettings
from settings.account import Effect, Place, below
from settings.error_messages import key_text
from settings.yaml_tree import YamlPath

_HERE = Place(kind="")
"""Stands in an effect until the flag, variable or field that carries it gives it its own place."""

Carried = str | Effect
"""A setting that a flag, variable or field carries: its key, where it is simply in force, or an effect that says more."""


def translated(key: str, because: str, source: str, *, given: str = "") -> Effect:
    """A setting that decides the value without being the value.

    `given` is what is honoured instead; left empty, it is the flag as it is written, or the variable's value.
    """
    return Effect(key=key, place=_HERE, outcome="translated", given=given, because=because, source=source)


def passed_through(key: str, because: str = "", source: str = "") -> Effect:
    """A setting that only the program in the image can give an effect."""
    return Effect(key=key, place=_HERE, outcome="passed through", because=because, source=source)


def in_force(key: str, because: str = "", source: str = "") -> Effect:
    """A setting that the carrier's value is, with something to say about it."""
    return Effect(key=key, place=_HERE, because=because, source=source)


def not_supported(key: str, because: str, source: str) -> Effect:
    """A setting that stands where it belongs, and that nothing reads there."""
    return Effect(key=key, place=_HERE, outcome="not supported", because=because, source=source)


class Flag:
    """One flag of a command line, or one word without dashes."""

    def __init__(self, name: str, value: str | None, *settings: Carried, why: str = "") -> None:
        """`value` is None for a flag that stands alone. `why` is the reason for a flag that answers no setting.

        Raises ValueError for a flag that answers no setting and has no reason.
        """
        if not settings and not why:
            raise ValueError(f"{name} answers no setting, and nothing says why it is there")
        self.name, self.value, self.settings, self.why = name, value, settings, why

    @property
    def keys(self) -> tuple[str, ...]:
        """The settings' keys."""
        return tuple(_effect(carried).key for carried in self.settings)

    @property
    def words(self) -> tuple[str, ...]:
        """The flag as it stands in the container's `args`."""
        return (self.name,) if self.value is None else (self.name, self.value)

    def path(self, position: int) -> str:
        """The place in the container. A word without dashes is found by its position, from 0."""
        return f"args[{self.name}]" if self.name.startswith("--") else f"args[{position}]"


class Variable:
    """One environment variable."""

    def __init__(self, env: Env, *settings: Carried, why: str = "") -> None:
        """Raises ValueError for a variable that answers no setting and has no reason `why`."""
        if not settings and not why:
            raise ValueError(f"{env.name} answers no setting, and nothing says why it is there")
        self.env, self.settings, self.why = env, settings, why


@dataclass(frozen=True)
class Field:
    """A value in a configuration file; `plain` takes it out of its wrapping, and `field_effects` finds its place."""

    value: Any
    settings: tuple[Carried, ...]


def field(value: Any, *settings: Carried) -> Field:
    """Marks a value of a configuration file with the settings that it answers."""
    return Field(value, settings)


def verbatim(value: Any, *path: int | str) -> Any:
    """A section of the settings as it is written, each value marked with its own key. `path` is where the section is in the stack file."""
    if isinstance(value, dict) and value:
        return {key: verbatim(child, *path, key) for key, child in value.items()}
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return [verbatim(item, *path, index) for index, item in enumerate(value)]
    return field(value, passed_through(key_text(path)))


def plain(document: Any) -> Any:
    """The document without marks. What holds no mark stays the same object, so that YAML's anchors stay where they were."""
    if isinstance(document, Field):
        return plain(document.value)
    if isinstance(document, dict):
        values = {key: plain(child) for key, child in document.items()}
        return values if any(values[key] is not document[key] for key in values) else document
    if isinstance(document, list):
        items = [plain(child) for child in document]
        return items if any(new is not old for new, old in zip(items, document, strict=True)) else document
    return document


def field_effects(role: Role, file_name: str, document: Any) -> Iterator[Effect]:
    """The effects of a configuration file's marked values, in the order of the file."""
    for path, carried in _marks(document):
        yield from _placed(role, below(f"config_files[{file_name}]", *path), carried)


def _marks(document: Any, path: YamlPath = ()) -> Iterator[tuple[YamlPath, tuple[Carried, ...]]]:
    if isinstance(document, Field):
        yield path, document.settings
        document = document.value
    if isinstance(document, dict):
        for key, child in document.items():
            yield from _marks(child, (*path, key))
    elif isinstance(document, list):
        for index, child in enumerate(document):
            yield from _marks(child, (*path, index))


def command_line(flags: Iterable[Flag]) -> tuple[str, ...]:
    """The container's `args`."""
    return tuple(word for flag in flags for word in flag.words)


def own_arguments(settings: StackSettings) -> Iterator[Flag]:
    """The flags of `engineArguments`, which the engine's program reads as they are."""
    for name, value in settings.engine_arguments.items():
        yield Flag(name, None if value is True else str(value), passed_through(key_text(("engineArguments", name))))


def flag_effects(role: Role, flags: Iterable[Flag]) -> Iterator[Effect]:
    """The effects of a command line's flags, in their order."""
    position = 0
    for flag in flags:
        yield from _placed(role, flag.path(position), flag.settings, " ".join(flag.words))
        position += len(flag.words)


def environment(variables: Iterable[Variable]) -> tuple[Env, ...]:
    """The container's `env`. Where a name comes twice, the first is kept: a stack's own variables stand before the engine's."""
    kept: dict[str, Env] = {}
    for variable in variables:
        kept.setdefault(variable.env.name, variable.env)
    return tuple(kept.values())


def variable_effects(role: Role, variables: Iterable[Variable]) -> Iterator[Effect]:
    """The effects of environment variables, in their order."""
    for variable in variables:
        name, secret = variable.env.name, variable.env.secret_key
        if secret is None:
            source = "value" if variable.env.field_path is None else "valueFrom.fieldRef.fieldPath"
            yield from _placed(role, f"env[{name}].{source}", variable.settings, variable.env.value or "")
            continue
        for part in ("name", "key"):
            reference = f"valueFrom.secretKeyRef.{part}"
            below_it = [replace(_effect(carried), key=f"{_effect(carried).key}.{reference}") for carried in variable.settings]
            yield from _placed(role, f"env[{name}].{reference}", below_it)


def _placed(role: Role, path: str, settings: Iterable[Carried], text: str = "") -> Iterator[Effect]:
    """`text` is what a translated setting is given where it does not say so itself."""
    for carried in settings:
        effect = _effect(carried)
        given = effect.given or (text if effect.outcome == "translated" else "")
        yield replace(effect, place=Place(kind=role, path=path), given=given)


def _effect(carried: Carried) -> Effect:
    return in_force(carried) if isinstance(carried, str) else carried


def without_flag(key: str, value: str, because: str, source: str, *accepted: str) -> Effect:
    """A setting that nothing is rendered of, because the engine has no such switch.

    It is in force where its `value` is one of `accepted`, what the engine does in any case, else it is not supported. Without `accepted`
    the engine does nothing of the kind, and a value that asks for nothing is in force.
    Its place in the plan is the engine's name, the only evidence there is.
    """
    outcome: Literal["in force", "not supported"] = "in force" if value in (accepted or ("[]", "0", "false")) else "not supported"
    return Effect(key=key, place=Place(kind="plan", path="settings.engine"), outcome=outcome, because=because, source=source)


def of_stack(effects: Iterable[Effect], given: Mapping[str, str]) -> tuple[Effect, ...]:
    """The effects of settings that the stack has. `given` is its settings by their keys, as `settings.flatten.leaves` gives them."""
    return tuple(effect for effect in effects if effect.key in given)
