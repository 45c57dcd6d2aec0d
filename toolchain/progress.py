"""How far an installation is: the CPU seconds of its programs as they were measured, and how fast this machine works them off."""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from toolchain.console import duration, report, say
from toolchain.recipes import AnyRecipe, NpmRecipe, Output, PackageRecipe, PythonRecipe

_ENOUGH_CPU_SECONDS = 30  # of finished programs, before they say more about this machine than its number of cores


@dataclass(kw_only=True)
class Progress:
    """The programs of one run, and what is left of them."""

    outputs: Sequence[Output]
    """The programs to build."""
    cores: int = field(default_factory=lambda: os.cpu_count() or 1)
    clock: Callable[[], float] = time.monotonic
    _begun: int = 0
    _finished_cpu_seconds: float = 0
    _finished_seconds: float = 0
    _skipped_cpu_seconds: float = 0
    _running: tuple[str, float, float] | None = None

    @classmethod
    def of(cls, recipes: Iterable[AnyRecipe]) -> "Progress":
        """Returns the progress of a run that builds all programs of these recipes."""
        return cls(outputs=[output for recipe in recipes for output in recipe.outputs])

    def announcement(self) -> str:
        """Returns how many programs there are to build, and how long that takes."""
        count = len(self.outputs)
        programs = "1 program" if count == 1 else f"{count} programs"
        return f"{programs} to build, once: about {duration(self.expected_seconds())} on {self.cores} cores"

    def start(self, name: str, cpu_seconds: float) -> Callable[[], None]:
        """Announces a program, and returns a function that reports how far the run is."""
        self.end()
        self._begun += 1
        label = f"[{self._begun}/{len(self.outputs)}] {name}"
        self._running = label, cpu_seconds, self.clock()
        say(f"{label}: building, about {duration(cpu_seconds / self._speed())}; {self._left()}")
        return self._report

    def package(self, recipe: PackageRecipe | PythonRecipe | NpmRecipe) -> Callable[[], None]:
        """Announces a package. One without programs to compile takes as long as its download."""
        if recipe.outputs:
            return self.start(recipe.name, sum(output.cpu_seconds for output in recipe.outputs))
        self.end()
        say(f"{recipe.name}: downloading")
        started = self.clock()
        return lambda: report(f"{recipe.name}: downloading, {duration(self.clock() - started)} so far")

    def end(self) -> None:
        """Counts the running program as finished."""
        if self._running:
            _, cpu_seconds, started = self._running
            self._finished_cpu_seconds += cpu_seconds
            self._finished_seconds += self.clock() - started
            self._running = None

    def skip(self, outputs: Sequence[Output]) -> None:
        """Takes out programs that another run has built meanwhile."""
        self.end()
        self._begun += len(outputs)
        self._skipped_cpu_seconds += sum(output.cpu_seconds for output in outputs)

    def expected_seconds(self) -> float:
        """Returns how long the whole run takes from here on, if the running program needs what it needed when it was measured."""
        return max(0.0, self._total() - self._done()) / self._speed()

    def _report(self) -> None:
        assert self._running
        label, _, started = self._running
        report(f"{label}: {duration(self.clock() - started)} so far; {self._left()}")

    def _left(self) -> str:
        return f"{self._done() / max(1.0, self._total()):.0%} of all done, about {duration(self.expected_seconds())} left"

    def _total(self) -> float:
        return sum(output.cpu_seconds for output in self.outputs) - self._skipped_cpu_seconds

    def _done(self) -> float:
        if not self._running:
            return self._finished_cpu_seconds
        _, cpu_seconds, started = self._running
        # A program that takes longer than expected is almost done until it is done.
        return self._finished_cpu_seconds + min((self.clock() - started) * self._speed(), 0.95 * cpu_seconds)

    def _speed(self) -> float:
        """CPU seconds, as measured for the table, that this machine works off in a second."""
        if self._finished_cpu_seconds < _ENOUGH_CPU_SECONDS or not self._finished_seconds:
            return self.cores
        return self._finished_cpu_seconds / self._finished_seconds
