"""The stack's settings, from the running program."""

from __future__ import annotations

from typing import NoReturn

from planner.rules.planning import unknown_names
from settings import SettingsError, StackSettings
from settings.loading import check
from settings.stack_file import stray


def from_program() -> StackSettings:
    """The settings of the stack that the engine is running. Raises SettingsError."""
    import pulumi
    from pulumi.runtime import config as engine

    # `pulumi.Config` can only be asked for keys that are known; a misspelt section must be found too.
    prefix = f"{pulumi.get_project()}:"
    ours = {key.removeprefix(prefix): text for key, text in engine.CONFIG.get().items() if key.startswith(prefix)}
    encrypted = {name for name in ours if engine.is_config_secret(prefix + name)}
    strays = tuple(problem for key in engine.CONFIG.get() if (problem := stray(key, pulumi.get_project())))
    result = check(ours, stack=pulumi.get_stack(), encrypted=encrypted)
    if strays or result.settings is None:
        raise SettingsError((*strays, *result.problems, *unknown_names(result.readable, result.unusable)))
    return result.settings


_SAID_WHY = 32
"""Exit status by which a program tells Pulumi's language host that it has said why; after any other the host adds its own error."""


def stop(error: SettingsError) -> NoReturn:
    """Ends the running program with the listing as its one error."""
    import pulumi

    pulumi.log.error(str(error))
    raise SystemExit(_SAID_WHY)
