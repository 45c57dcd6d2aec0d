"""The engines: what each turns a plan into. `ENGINES` has them by the name that the stack file's `engine` uses.

An engine is its name in `settings/stack.py`, one file of facts in `planner/engine_facts/` and one folder here.
"""

from importlib import import_module

from engines.workload import Engine
from planner.engine_facts import NAMES

ENGINES: dict[str, Engine] = {name: import_module(f"engines.{name}").ENGINE for name in NAMES}

__all__ = ["ENGINES"]
