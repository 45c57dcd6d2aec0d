"""The stack's settings, from the running program or from its file; both end in the same checks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from settings import Problem, SettingsError, StackSettings, load
from settings.loading import check
from settings.stack_file import StackFile, open_stack_file

PROJECT = "zig-ai-aks"
ROOT = Path(__file__).parent.parent


def from_program() -> StackSettings:
    """The settings of the stack that the engine is running. Raises SettingsError."""
    import pulumi
    from pulumi.runtime import config as engine

    # `pulumi.Config` can only be asked for keys that are known; a misspelt section must be found too.
    prefix = f"{pulumi.get_project()}:"
    ours = {key.removeprefix(prefix): text for key, text in engine.CONFIG.get().items() if key.startswith(prefix)}
    encrypted = {name for name in ours if engine.is_config_secret(prefix + name)}
    return load(ours, stack=pulumi.get_stack(), encrypted=encrypted)


_SAID_WHY = 32
"""Exit status by which a program tells Pulumi's language host that it has said why; after any other the host adds its own error."""


def stop(error: SettingsError) -> NoReturn:
    """Ends the running program with the listing as its one error."""
    import pulumi

    pulumi.log.error(str(error))
    raise SystemExit(_SAID_WHY)


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What a stack file says, and what is wrong with it."""

    file: StackFile
    settings: StackSettings | None
    """None when there are problems, or when encrypted values keep the settings from being known without the engine."""
    problems: tuple[Problem, ...]
    encrypted: tuple[str, ...] = ()
    """Settings that hold a Pulumi secret, as the user types them."""


def stack_file_path(stack: str) -> Path:
    """Where the engine keeps a stack's configuration; `stack` may be qualified (`organization/zig-ai-aks/prod`)."""
    return ROOT / f"Pulumi.{stack.rsplit('/', 1)[-1]}.yaml"


def from_file(path: Path, stack: str) -> Checked:
    """The settings in a stack file, checked without the engine."""
    file = open_stack_file(path, PROJECT)
    result = check(file.sections, stack=stack.rsplit("/", 1)[-1])
    problems = (*file.problems, *result.problems)
    return Checked(file=file, settings=None if problems else result.settings, problems=problems, encrypted=result.encrypted)
