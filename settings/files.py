"""Finds the stack files of this repository and checks them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from settings.loading import check
from settings.problems import Problem, SettingsError
from settings.stack import StackSettings
from settings.stack_file import StackFile, open_stack_file

PROJECT = "zig-ai-aks"
"""The Pulumi project, whose name precedes each section's name in a stack file."""
ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A stack file with its settings and its problems."""

    file: StackFile
    settings: StackSettings | None
    """None if there are problems, or encrypted values that only Pulumi can decrypt."""
    problems: tuple[Problem, ...]
    encrypted: tuple[str, ...] = ()
    """Keys of settings that are encrypted."""
    readable: StackSettings
    """The sections that are valid by themselves, and defaults for the others."""
    unusable: frozenset[str]
    """Names of the sections that are not valid by themselves."""

    def require(self) -> StackSettings:
        """Returns the settings. Raises SettingsError with the problems, or with the encrypted settings."""
        if self.settings is None:
            raise SettingsError(self.problems or tuple(map(_unreadable, self.encrypted)))
        return self.settings


def _unreadable(key: str) -> Problem:
    return Problem(key=key, value="an encrypted value", consequence="only Pulumi can decrypt it", fix="a copy of the file without secrets")


def stack_file_path(stack: str) -> Path:
    """Returns the path of a stack's file; `stack` may be qualified (`organization/zig-ai-aks/prod`)."""
    return ROOT / f"Pulumi.{stack.rsplit('/', 1)[-1]}.yaml"


def from_file(path: Path, stack: str) -> Checked:
    """Checks a stack file without Pulumi."""
    file = open_stack_file(path, PROJECT)
    result = check(file.sections, stack=stack.rsplit("/", 1)[-1])
    problems = (*file.problems, *result.problems)
    return Checked(
        file=file,
        settings=None if problems else result.settings,
        problems=problems,
        encrypted=result.encrypted,
        readable=result.readable,
        unusable=result.unusable,
    )
