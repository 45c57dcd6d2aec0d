"""What the planner must know about each engine, as data in one file per engine. `traits` finds it by the name in the stack file's `engine`.

The names are those of `settings/stack.py`; each is the name of a file here whose `TRAITS` are the engine's.
Not here: how an engine's command line and files are rendered (`engines/`).
"""

from importlib import import_module
from typing import get_args

from planner.catalogue.hardware import Gpu
from planner.engine_facts.traits import EngineTraits, FixedSetting
from settings import StackSettings

NAMES: tuple[str, ...] = get_args(StackSettings.model_fields["engine"].annotation)
_TRAITS: dict[str, EngineTraits] = {name: import_module(f"planner.engine_facts.{name}").TRAITS for name in NAMES}


def traits(engine: str, gpu: Gpu | None = None) -> EngineTraits:
    """Returns the traits of the engine on this GPU; without a GPU, those of its current release. Raises KeyError for an unknown engine."""
    current = _TRAITS[engine]
    before_turing = gpu is not None and gpu.compute_capability is not None and float(gpu.compute_capability) < 7.5
    return (current.before_turing or current) if before_turing else current


__all__ = ["NAMES", "EngineTraits", "FixedSetting", "traits"]
