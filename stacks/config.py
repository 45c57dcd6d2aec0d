"""Reads the stack's settings in the running program."""

from __future__ import annotations

from typing import NoReturn

from planner.rules.planning import unknown_names
from settings import SettingsError, StackSettings
from settings.loading import check
from settings.stack_file import stray


def from_program() -> StackSettings:
    """Returns the settings of the running stack. Raises SettingsError."""
    import pulumi
    from pulumi.runtime import config as engine

    # `pulumi.Config` returns only known keys, and misspelt sections must be found too.
    prefix = f"{pulumi.get_project()}:"
    ours = {key.removeprefix(prefix): text for key, text in engine.CONFIG.get().items() if key.startswith(prefix)}
    encrypted = {name for name in ours if engine.is_config_secret(prefix + name)}
    strays = tuple(problem for key in engine.CONFIG.get() if (problem := stray(key, pulumi.get_project())))
    result = check(ours, stack=pulumi.get_stack(), encrypted=encrypted)
    if strays or result.settings is None:
        raise SettingsError((*strays, *result.problems, *unknown_names(result.readable, result.unusable)))
    return result.settings


_EXPLAINED = 32
"""The exit status that tells Pulumi's language host that the error was logged already; after any other, the host adds its own error."""


def stop(error: SettingsError) -> NoReturn:
    """Ends the running program with the problems as its only error."""
    import pulumi

    pulumi.log.error(str(error))
    raise SystemExit(_EXPLAINED)
