"""What is measured of an engine: servers that differ by their flags, and why each is here.

The guide's tuning is the command line that the adapter renders for prod's stack (`deployed.py`); all that is tried against it is a change
to it.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Protocol

from bench.gpu.deployed import Deployed
from planner.catalogue.model_shapes import ModelShape

USERS = 100
"""The guide's load test."""
MEMORY_SHARE = 0.6
"""Of the untuned server's GPU memory, which the best one must stay below."""

Options = Mapping[str, str | None]
"""Flag -> value, None for a switch."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    name: str
    because: str
    """What is looked for."""
    precision: str
    """Of the weights, by the engine's own name (`Engine.precisions`)."""
    options: Options
    servers: int = 1
    environment: tuple[tuple[str, str], ...] = ()
    mps: bool = False
    """The servers share the GPU through NVIDIA's Multi-Process Service."""

    @property
    def flags(self) -> tuple[str, ...]:
        return tuple(part for flag, value in self.options.items() for part in ((flag,) if value is None else (flag, value)))

    def but(self, name: str, because: str, *, without: tuple[str, ...] = (), options: Options = MappingProxyType({}), **rest) -> Arm:
        """This one with some options set anew and others left out."""
        kept = {flag: value for flag, value in self.options.items() if flag not in without} | dict(options)
        return dataclasses.replace(self, name=name, because=because, options=kept, **rest)


class Startable(Protocol):
    """A server that can be started here."""

    @property
    def name(self) -> str:
        """As `planner estimate --engine` has it."""
        ...

    @property
    def complaint(self) -> re.Pattern[str]:
        """Matches a line of its log that reports an error; the first group is what is kept."""
        ...

    @property
    def start_seconds(self) -> float:
        """Longest start of a server."""
        ...

    def steps(self, arm: Arm) -> str | None:
        """Returns the counter in /metrics of how often the model was run; None where there is none."""
        ...

    def command(self, arm: Arm, host: str, port: int) -> list[str]: ...


class Engine(Startable, Protocol):
    """A server that can be measured: how it is got and started here, and with which arms."""

    package: ClassVar[str]
    """And version, of the package index."""
    precisions: ClassVar[Mapping[str, str]]
    """Its names for the weights' types -> the planner's."""
    untuned: ClassVar[Arm]
    defaults: ClassVar[Arm]
    warm_up_s: ClassVar[float]
    """Longer than an answer takes with its own defaults and a hundred users."""
    search_users: ClassVar[int]
    """Under whose load the candidates are compared."""
    ablation_users: ClassVar[int]
    most_users: ClassVar[int]
    """Beyond which no larger load is tried."""
    together: ClassVar[Options]
    """What a server needs in order to start beside others on the same GPU."""
    size: str
    """Azure's, whose pods are measured."""

    def pod(self) -> Deployed:
        """Of prod's stack with this engine, on a GPU like the one that is measured."""
        ...

    def guide(self) -> Arm:
        """The adapter's command line, but for the model's path and the address."""
        ...

    def candidates(self, tuned: Arm) -> tuple[Arm, ...]:
        """For the best found: the one that saves enough memory, and the one at any price."""
        ...

    def ablation(self, tuned: Arm) -> tuple[Arm, ...]:
        """The guide's tuning with one setting at a time taken back or changed, named by it; the first and the last are the tuning itself.

        Where a name is `setting: value`, `engines/ablations.py` tells of it.
        """
        ...

    def too_large(self, tuned: Arm) -> Arm:
        """One that the GPU's memory does not suffice for."""
        ...

    def rank(self, row: dict) -> float:
        """Of a row of the search; the best has the lowest."""
        ...

    def slots(self, arm: Arm) -> int:
        """Requests that all servers work on at once."""
        ...

    def about(self, arm: Arm) -> dict[str, str]:
        """More columns of its rows, for the planner: release, and the cache's precision where it is not of 16 bits."""
        ...

    def made(self, shape: ModelShape) -> dict[str, object]:
        """Programs and models, made where they are missing; returns what is to know of them. Raises SystemExit."""
        ...

    def step_times(self) -> list[dict[str, object]]:
        """Milliseconds of one step on the GPU by precision and sequences, without a server; empty where no program tells."""
        ...


def all_of(engine: Engine) -> tuple[Arm, ...]:
    tuned = engine.guide()
    return (engine.untuned, engine.defaults, tuned, *engine.candidates(tuned), *engine.ablation(tuned))


def found(engine: Engine, kept: dict) -> tuple[Arm, Arm]:
    """Of a results file's search: the best in less than 60 % of the untuned server's memory, and the best at any price."""
    known = {arm.name: arm for arm in engine.candidates(engine.guide())}
    rows = sorted((row for row in kept["search"] if "error" not in row), key=engine.rank)
    untuned = max(row["memory_mib"] for row in kept["rows"] if row["arm"] == engine.untuned.name and "error" not in row)
    small = [row for row in rows if row["memory_mib"] < MEMORY_SHARE * untuned]
    return known[(small or rows)[0]["arm"]], known[rows[0]["arm"]]
