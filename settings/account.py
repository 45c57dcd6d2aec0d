"""What becomes of a setting: the one record in which planner, engines and infrastructure say it, and the place where it acts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

Outcome = Literal["in force", "passed through", "translated", "adjusted", "not supported", "unused", "noted", "error"]


def path_text(*parts: int | str) -> str:
    """Writes a field's path as people read it: `spec.containers[0].resources.limits["nvidia.com/gpu"]`.

    Keys that are not plain words are quoted. Two forms in brackets stand for items of a list that are found by name: `env[GC_THREADS]`,
    in which `*` stands for any letters, and `args[--threads]`, the value after a flag, or the flag itself where it stands alone.
    """
    return below("", *parts).removeprefix(".")


def below(path: str, *parts: int | str) -> str:
    """Adds parts to a written path."""
    return path + "".join(map(_part_text, parts))


def _part_text(part: int | str) -> str:
    if isinstance(part, int):
        return f"[{part}]"
    return f".{part}" if re.fullmatch(r"[\w-]+", part) else f'["{part}"]'


@dataclass(frozen=True, kw_only=True)
class Place:
    """A field of something that is deployed. Its value is read from what the program registers, never computed a second time."""

    kind: str
    """A Kubernetes kind or an Azure resource type. `Pulumi resource` is for what only Pulumi's engine knows, `plan` for what acts inside
    the planner alone, and an engine names the server by its role: `coordinator`, `shard` or `worker`."""
    name: str = ""
    """`namespace/name` in Kubernetes, the resource's name in Azure. `*` matches a generated hash or a number; where several resources
    match, their sum (counts) or union (zones) is the value."""
    path: str = ""
    """The path as `path_text` writes it. It may go on inside a YAML or JSON file that is the value of a ConfigMap's key, and is empty for
    the whole."""
    file: str = ""
    """The file in which a program reads it, when that says more than the path; with the line, once the place was read."""
    holds: str | None = ""
    """Once the place was read: the value there, None when there is nothing. Empty for a whole resource or section, and before."""

    def __str__(self) -> str:
        owner = f"{self.kind} {self.name}".strip()
        if self.file and self.holds is not None:
            return f"{self.file} ({owner})"
        if self.holds is None:
            return f"no {self.path} in {owner}" if self.path else f"no {owner}"
        return f"{owner}: {self.path}" if self.path else owner


@dataclass(frozen=True, kw_only=True)
class Effect:
    """What one setting does at one place, or why it does nothing."""

    key: str
    """The key as in the stack file: `shard.config.workerThreads`, `shard.env.GC_THREADS`."""
    place: Place
    outcome: Outcome = "in force"
    given: str = ""
    """What is honoured instead of the setting's own value, where the outcome is `translated`."""
    because: str = ""
    source: str = ""


@dataclass(frozen=True)
class Resource:
    """Something that is deployed, by kind and name as a `Place` has them; makes the effects that settings have on it."""

    kind: str
    name: str = ""

    def effect(self, key: str, path: str = "", **more: Any) -> Effect:
        """What the setting does at one field, or with the whole resource. `more`: further fields of the effect."""
        return Effect(key=key, place=Place(kind=self.kind, name=self.name, path=path), **more)


PLAN = Resource("plan")
"""What the planner decides; its places are attributes of the plan."""


def not_read(effects: Iterable[Effect], switch: str, value: str) -> Iterator[Effect]:
    """The effects of a part that another setting leaves out: nothing reads their settings while `switch` has this value."""
    return (replace(effect, outcome="unused", because=f"not read while {switch} is {value}") for effect in effects)
