"""One rehearsal: preview, up, up again, refresh, changes, destroy, and a check that nothing is left."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sys
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console
from rich.markup import escape

from rehearsal import processes, report
from rehearsal.arm_endpoint import ArmEndpoint
from rehearsal.azure import subscription as subscriptions
from rehearsal.azure.state import StateFile
from rehearsal.azure.subscription import Subscription
from rehearsal.changes import Running, changes, refresh_and_settle
from rehearsal.cluster import control_plane
from rehearsal.engine import Engine, Outcome
from rehearsal.layout import REPOSITORY, Layout
from rehearsal.look import ClusterView, look
from rehearsal.placing import scheduling_watch
from rehearsal.programs import REHEARSAL, MissingProgramError, require_programs
from rehearsal.project import ProjectError, environment, prepare


class Unmet(Exception):
    """An expectation of the rehearsal was not met; the message is shown to the user."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of a rehearsal."""

    stack: str
    subscription: str = "default"
    keep: bool = False
    faults: str = ""
    changes: tuple[str, ...] = ()
    repository: Path = REPOSITORY


@dataclass
class Rehearsal:
    """A running rehearsal."""

    options: Options
    layout: Layout
    console: Console
    engine: Engine
    outcomes: list[Outcome] = field(default_factory=list)
    view: ClusterView | None = None

    @property
    def refusals(self) -> list[dict[str, Any]]:
        """The requests that the stand-in for Azure has refused so far."""
        return StateFile(self.layout.azure).read().content["refusals"]

    def stages(self) -> None:
        """Runs all stages in order. Raises Unmet."""
        self._done(self.engine.preview())
        self._up()
        self._faults_happened()
        self.view = look(self.layout)
        if self.options.keep:
            return
        self._unchanged(self.engine.up("up again"))
        self._refreshed()
        self._changes()
        protected = self.engine.protected()
        if protected:
            self.engine.unprotect()
            self.console.print(f"  unprotect            {len(protected)} protected: pulumi state unprotect --all --yes", highlight=False)
        self._done(self.engine.destroy())
        self._nothing_left()

    def _up(self) -> None:
        with scheduling_watch(self.layout, self.engine) as stuck:
            outcome = self.engine.up()
        if stuck:
            self.outcomes.append(outcome)
            report.stage(self.console, outcome)
            lines = [f"{pod['namespace']}/{pod['name']}: {pod['message']}" for pod in stuck]
            raise Unmet("the scheduler cannot place:\n  " + "\n  ".join(lines))
        if outcome.failed and self.options.faults:
            self.outcomes.append(outcome)
            report.stage(self.console, outcome)
            for line in outcome.errors:
                self.console.print(f"    {escape(report.shorten(line))}", highlight=False)
            outcome = self.engine.up("up retried")  # what a person would do; each fault happens once
        self._done(outcome)
        if self.engine.next_step():
            self.layout.inside.touch()
            self._done(self.engine.up("up inside"))

    def _faults_happened(self) -> None:
        fired = StateFile(self.layout.azure).read().content["fired"]
        idle = [fault for fault in filter(None, self.options.faults.split(",")) if fault not in fired]
        if idle:
            raise Unmet(f"these faults never happened, because the program creates no resource of that type: {', '.join(idle)}")

    def _done(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        report.stage(self.console, outcome)
        if outcome.failed:
            raise Unmet("\n".join(f"{outcome.name}: {line}" for line in outcome.errors))

    def _unchanged(self, outcome: Outcome) -> None:
        self._done(outcome)
        if outcome.changed:
            self._must_not_change(outcome)

    @staticmethod
    def _must_not_change(outcome: Outcome) -> NoReturn:
        raise Unmet(f"{outcome.name} must change nothing, but it changed:\n  " + "\n  ".join(outcome.details or [str(outcome.changed)]))

    def _refreshed(self) -> None:
        wrong = refresh_and_settle(self.engine, self._done)
        if wrong:
            self._must_not_change(wrong)

    def _changes(self) -> None:
        for change in changes(self.options.stack, self.options.changes):
            outcome, wrong = Running(self.engine, self.layout, self.options.stack).make(change)
            self.outcomes.append(outcome)
            report.change(self.console, outcome, change.becomes, wrong)
            if wrong:
                raise Unmet(f"{change.name}: {wrong}")
            if change.becomes != "refused":
                self._refreshed()

    def _nothing_left(self) -> None:
        left = [item["urn"].rsplit("::", 1)[-1] for item in self.engine.resources()]
        left += [item["id"] for item in StateFile(self.layout.azure).read().resources.values()]
        left += ["the cluster's kubeconfig"] if self.layout.kubeconfig.exists() else []
        deadline = time.monotonic() + 5  # plugins end a moment after the engine
        while processes.marked(self.layout.root) and time.monotonic() < deadline:
            time.sleep(0.1)
        left += [f"process {pid}: {line[:100]}" for pid, line in processes.marked(self.layout.root).items()]
        if left:
            raise Unmet("destroy left behind:\n  " + "\n  ".join(left))
        self.console.print(
            "  nothing is left: Pulumi's state and the subscription are empty, and no cluster or process is running", highlight=False
        )


def run(options: Options, console: Console | None = None) -> int:
    """Rehearses a stack and returns the exit code. Problems that a user can cause are printed without a traceback."""
    console = console or make_console()
    try:
        subscription = subscriptions.load(options.subscription)
    except KeyError as error:
        return _refuse(console, str(error.args[0]))
    try:
        require_programs(*REHEARSAL, target="rehearse")
    except MissingProgramError as problem:
        return _refuse(console, str(problem))
    layout = Layout.of_stack(options.stack, options.repository)
    with _alone(layout) as alone:
        if not alone:
            return _refuse(
                console, f"a rehearsal of {options.stack} is already running ({layout.root}): stop it, or rehearse another stack"
            )
        leftover = take_away(layout)
        if leftover:
            console.print(f"Removed what an earlier run left: {leftover}", highlight=False)
        console.print(
            f"Rehearsing [bold]{options.stack}[/] in subscription '{subscription.name}': {subscription.description}", highlight=False
        )
        try:
            with (
                _progress(console) as progress,
                rehearsed(layout, options.repository, options.stack, subscription, faults=options.faults, progress=progress) as engine,
            ):
                return _stages(Rehearsal(options, layout, console, engine))
        except (ProjectError, control_plane.ControlPlaneError, RuntimeError) as error:
            take_away(layout)
            return _refuse(console, str(error))
        except KeyboardInterrupt:
            take_away(layout)
            return _refuse(console, "interrupted; the rehearsal was removed")


@contextlib.contextmanager
def rehearsed(
    layout: Layout,
    repository: Path,
    stack: str,
    subscription: Subscription,
    *,
    faults: str = "",
    progress: Callable[[str], None] = lambda _: None,
) -> Generator[Engine]:
    """Yields the engine on a fresh stack of the repository's program, with the stand-in for Azure behind it.

    The resources stay when the context ends; `take_away` removes them. Raises ProjectError and RuntimeError.
    """
    endpoint = ArmEndpoint(subscription, StateFile(layout.azure))
    try:
        prepare(layout, repository, stack)
        settings = environment(layout, subscription, arm_endpoint=endpoint.url, faults=faults)
        os.environ["PATH"] = settings["PATH"]
        yield Engine(layout, stack, settings, progress)
    finally:
        endpoint.stop()


def _stages(rehearsal: Rehearsal) -> int:
    console, layout, keep = rehearsal.console, rehearsal.layout, rehearsal.options.keep
    problem: str | None = None
    try:
        rehearsal.stages()
    except Unmet as error:
        problem = str(error)
    refusals = rehearsal.refusals
    report.tables(console, rehearsal.outcomes, rehearsal.view, refusals, problem)
    if problem is None:
        report.not_proven(console)
    else:
        created = len(StateFile(layout.azure).read().resources)
        lines = "\n".join(report.shorten(line, 1200) for line in problem.splitlines())
        console.print(f"[red]{escape(lines)}[/]", highlight=False)
        console.print("Azure held no resources yet." if not created else f"Azure held {created} resources at that time.", highlight=False)
    if keep and layout.kubeconfig.exists():
        _how_to_look(console, layout, rehearsal.options.stack)
    elif problem is not None:
        logs = _keep_logs(layout)
        take_away(layout)
        console.print(f"The rehearsal was removed; its logs: {logs}", highlight=False)
    else:
        take_away(layout)
    return 0 if problem is None else 1


def _how_to_look(console: Console, layout: Layout, stack: str) -> None:
    config = layout.kubeconfig
    for line in (
        "The rehearsal is kept. To look around:",
        f"  export KUBECONFIG={config}",
        "  kubectl get nodes -L topology.kubernetes.io/zone,node.kubernetes.io/instance-type",
        "  kubectl get pods -A -o wide",
        f"  less {layout.azure}  # the resources in Azure",
        f"To remove it: make clean-rehearsal, or python -m rehearsal clean --stack {stack}",
    ):
        console.print(line, highlight=False)


def _keep_logs(layout: Layout) -> Path:
    kept = layout.root.parent / f"{layout.root.name}-logs"
    shutil.rmtree(kept, ignore_errors=True)
    if layout.logs.exists():
        shutil.copytree(layout.logs, kept)
    return kept


def take_away(layout: Layout) -> str:
    """Ends every process of a rehearsal and removes its files. Returns a description of what was removed, empty if nothing was."""
    ended = processes.end(layout.root)
    existed = layout.root.exists()
    control_plane.stop(layout)
    shutil.rmtree(layout.root, ignore_errors=True)
    return f"{len(ended)} processes and {layout.root}" if ended or existed else ""


def clean(repository: Path = REPOSITORY, stack: str | None = None, console: Console | None = None) -> int:
    """Removes the rehearsal of one stack, or all rehearsals and the files that they share."""
    console = console or make_console()
    base = repository / ".rehearsal"
    names = [stack] if stack else sorted(path.name for path in base.iterdir() if path.is_dir()) if base.exists() else []
    for name in names:
        if name != "azure-types" and not name.endswith("-logs"):
            gone = take_away(Layout(base / name))
            if gone:
                console.print(f"{name}: removed {gone}", highlight=False)
        if stack:
            shutil.rmtree(base / f"{name}-logs", ignore_errors=True)
    if stack is None:
        shutil.rmtree(base, ignore_errors=True)
    console.print("nothing of a rehearsal is left" if stack is None else f"nothing of the rehearsal of {stack} is left", highlight=False)
    return 0


def make_console() -> Console:
    """Returns a console that wraps lines on a terminal only."""
    console = Console(soft_wrap=True)
    return console if console.is_terminal else Console(soft_wrap=True, width=200)


def _refuse(console: Console, message: str) -> int:
    console.print(f"[red]{escape(message)}[/]", highlight=False)
    return 1


@contextlib.contextmanager
def _alone(layout: Layout) -> Generator[bool]:
    """Yields whether no other rehearsal of this stack is running. The lock ends with the process, however it ends."""
    layout.root.parent.mkdir(parents=True, exist_ok=True)
    (layout.root.parent / ".gitignore").write_text("*\n")  # keeps rehearsals out of the repository
    with open(layout.root.parent / f"{layout.root.name}.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


@contextlib.contextmanager
def _progress(console: Console) -> Generator[Any]:
    """Yields a function that shows progress on one changing line; without a terminal it shows nothing."""
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status("starting the engine") as status:
        yield lambda text: status.update(escape(text))


def main_is_supported() -> str | None:
    """Returns why a rehearsal cannot run on this machine, or None if it can."""
    if sys.platform not in ("linux", "darwin"):
        return "a rehearsal needs Linux or macOS, because it uses Unix sockets and finds processes by their environment"
    return None
