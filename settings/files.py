"""The stack files of this repository, and what is right and wrong in one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from settings.loading import check
from settings.problems import Problem, SettingsError
from settings.stack import StackSettings
from settings.stack_file import StackFile, open_stack_file

PROJECT = "zig-ai-aks"
"""The Pulumi project: what stands before each section's name in a stack file."""
ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What a stack file says, and what is wrong with it."""

    file: StackFile
    settings: StackSettings | None
    """None when there are problems, or when encrypted values keep the settings from being known without the engine."""
    problems: tuple[Problem, ...]
    encrypted: tuple[str, ...] = ()
    """Settings that hold a Pulumi secret, as the user types them."""
    readable: StackSettings
    unusable: frozenset[str]
    """As of `settings.loading.Result`."""

    def require(self) -> StackSettings:
        """The settings. Raises SettingsError with the problems, or with the secrets that only the engine can read."""
        if self.settings is None:
            raise SettingsError(self.problems or tuple(map(_unreadable, self.encrypted)))
        return self.settings


def _unreadable(key: str) -> Problem:
    return Problem(key=key, value="an encrypted value", consequence="only Pulumi can decrypt it", fix="a copy of the file without secrets")


def stack_file_path(stack: str) -> Path:
    """Where the engine keeps a stack's configuration; `stack` may be qualified (`organization/zig-ai-aks/prod`)."""
    return ROOT / f"Pulumi.{stack.rsplit('/', 1)[-1]}.yaml"


def from_file(path: Path, stack: str) -> Checked:
    """The settings in a stack file, checked without the engine."""
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
