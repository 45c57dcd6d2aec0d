"""The error of every layer about a setting: its key, its value, the consequence and the fix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One setting that must change before anything is created.

    `consequence` and `fix` are clauses without a capital or a full stop; `value` is never a secret.
    """

    key: str
    """The key as in the stack file: `shard.config.gpuMemoryFraction`, `shard.env[3].value`."""
    value: str
    """The value as written; empty if there is none."""
    consequence: str
    fix: str

    def __str__(self) -> str:
        shown = f"{self.key}: {self.value}" if self.value else self.key
        return f"{shown}\n    {self.consequence}\n    fix: {self.fix}"


class SettingsError(Exception):
    """All problems of the settings; its text is the listing that the user sees."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        assert problems, "an error without a problem would stop a good stack"
        self.problems = tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        count = f"{len(self.problems)} problems" if len(self.problems) > 1 else "1 problem"
        return "\n\n".join([f"{count} in the settings; nothing was created or changed", *map(str, self.problems)])
