"""How every layer says that a setting will not do: which key, what was written, what would come of it, what to write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One setting that must change before anything is created.

    `consequence` and `fix` are clauses without a capital or a full stop; `value` is never a secret.
    """

    key: str
    """As the user types it: `shard.config.gpuMemoryFraction`, `shard.env[3].value`."""
    value: str
    """As the user wrote it; empty when nothing was written."""
    consequence: str
    fix: str

    def __str__(self) -> str:
        shown = f"{self.key}: {self.value}" if self.value else self.key
        return f"{shown}\n    {self.consequence}\n    fix: {self.fix}"


class SettingsError(Exception):
    """Every problem found, at once; its text is the listing that a user sees."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        assert problems, "an error without a problem would stop a good stack"
        self.problems = tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        count = f"{len(self.problems)} problems" if len(self.problems) > 1 else "1 problem"
        return "\n\n".join([f"{count} in the settings; nothing was created or changed", *map(str, self.problems)])
