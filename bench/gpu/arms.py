"""The servers of an engine that are measured: they differ by their flags, and each has a reason.

The guide's tuning is the command line that the adapter renders for prod (`deployed.py`); everything else that is tried is a change to it.
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
"""The number of users of the guide's load test."""
MEMORY_SHARE = 0.6
"""The share of the untuned server's GPU memory that the best server must stay below."""

Options = Mapping[str, str | None]
"""Maps a flag to its value, or to None for a switch."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    name: str
    because: str
    """What this server is to show."""
    precision: str
    """The precision of the weights, by the engine's own name (`Engine.precisions`)."""
    options: Options
    servers: int = 1
    environment: tuple[tuple[str, str], ...] = ()
    mps: bool = False
    """Whether the servers share the GPU through NVIDIA's Multi-Process Service."""

    @property
    def flags(self) -> tuple[str, ...]:
        return tuple(part for flag, value in self.options.items() for part in ((flag,) if value is None else (flag, value)))

    def but(self, name: str, because: str, *, without: tuple[str, ...] = (), options: Options = MappingProxyType({}), **rest) -> Arm:
        """Returns this arm with some options changed and others left out."""
        kept = {flag: value for flag, value in self.options.items() if flag not in without} | dict(options)
        return dataclasses.replace(self, name=name, because=because, options=kept, **rest)


class Startable(Protocol):
    """A server that can be started on this machine."""

    @property
    def name(self) -> str:
        """The engine's name for `planner estimate --engine`."""
        ...

    @property
    def complaint(self) -> re.Pattern[str]:
        """A pattern for log lines that report an error; the first group is kept."""
        ...

    @property
    def start_seconds(self) -> float:
        """The longest time that a server may take to start."""
        ...

    def steps(self, arm: Arm) -> str | None:
        """Returns the counter in /metrics of how often the model was run, or None if there is none."""
        ...

    def command(self, arm: Arm, host: str, port: int) -> list[str]: ...


class Engine(Startable, Protocol):
    """A server that can be measured: how it is installed and started on this machine, and with which arms."""

    package: ClassVar[str]
    """The package's name and version on the package index."""
    precisions: ClassVar[Mapping[str, str]]
    """Maps the engine's names of precisions to the planner's."""
    untuned: ClassVar[Arm]
    defaults: ClassVar[Arm]
    warm_up_s: ClassVar[float]
    """A time that is longer than an answer takes with the defaults and a hundred users."""
    search_users: ClassVar[int]
    """The number of users with which the candidates are compared."""
    ablation_users: ClassVar[int]
    most_users: ClassVar[int]
    """The largest number of users that is tried."""
    together: ClassVar[Options]
    """The options that a server needs to start beside others on the same GPU."""
    size: str
    """The VM size whose pods are measured."""

    def pod(self) -> Deployed:
        """Returns the server of prod's stack with this engine, on a GPU like the measured one."""
        ...

    def guide(self) -> Arm:
        """Returns the adapter's command line without the model's path and the address."""
        ...

    def candidates(self, tuned: Arm) -> tuple[Arm, ...]:
        """Returns the candidates for the best servers: the one that saves enough memory, and the fastest."""
        ...

    def ablation(self, tuned: Arm) -> tuple[Arm, ...]:
        """Returns the guide's tuning with one setting at a time removed or changed, which names the arm, between two unchanged arms.

        `engines/ablations.py` reports arms whose name is `setting: value`.
        """
        ...

    def too_large(self, tuned: Arm) -> Arm:
        """Returns an arm that does not fit into the GPU's memory."""
        ...

    def rank(self, row: dict) -> float:
        """Returns the rank of a row of the search; the best row has the lowest."""
        ...

    def slots(self, arm: Arm) -> int:
        """Returns the number of requests that all servers work on at once."""
        ...

    def about(self, arm: Arm) -> dict[str, str]:
        """Returns further columns for the planner: the release, and the cache's precision if it is not 16 bits."""
        ...

    def made(self, shape: ModelShape) -> dict[str, object]:
        """Prepares programs and models that are missing, and returns a description of them. Raises SystemExit."""
        ...

    def step_times(self) -> list[dict[str, object]]:
        """Returns the milliseconds of one step on the GPU by precision and sequences, without a server; empty if no program measures it."""
        ...


def all_of(engine: Engine) -> tuple[Arm, ...]:
    tuned = engine.guide()
    return (engine.untuned, engine.defaults, tuned, *engine.candidates(tuned), *engine.ablation(tuned))


def found(engine: Engine, kept: dict) -> tuple[Arm, Arm]:
    """Returns two rows of a results file's search: the best in less than 60 % of the untuned server's memory, and the fastest."""
    known = {arm.name: arm for arm in engine.candidates(engine.guide())}
    rows = sorted((row for row in kept["search"] if "error" not in row), key=engine.rank)
    untuned = max(row["memory_mib"] for row in kept["rows"] if row["arm"] == engine.untuned.name and "error" not in row)
    small = [row for row in rows if row["memory_mib"] < MEMORY_SHARE * untuned]
    return known[(small or rows)[0]["arm"]], known[rows[0]["arm"]]
