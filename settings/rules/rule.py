"""What a rule is: the sections it reads, and a function from settings to problems."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from settings.problems import Problem
from settings.stack import StackSettings


@dataclass(frozen=True)
class Rule:
    sections: tuple[str, ...]
    check: Callable[[StackSettings], Iterator[Problem]]


def rule(*sections: str) -> Callable[[Callable[[StackSettings], Iterator[Problem]]], Rule]:
    """Declares a rule over these sections, named as in the stack file; it runs only when all of them could be read."""
    return lambda check: Rule(sections, check)
