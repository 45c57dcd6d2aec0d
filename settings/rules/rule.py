"""The type of a rule: the sections that it reads, and a function from settings to problems."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from settings.problems import Problem
from settings.stack import StackSettings


@dataclass(frozen=True)
class Rule:
    """A check of settings that runs only if all of its sections are valid by themselves."""

    sections: tuple[str, ...]
    check: Callable[[StackSettings], Iterator[Problem]]


def rule(*sections: str) -> Callable[[Callable[[StackSettings], Iterator[Problem]]], Rule]:
    """Declares a rule that reads these sections, named as in the stack file."""
    return lambda check: Rule(sections, check)
