"""Runs the real Pulumi engine through its Automation API, one operation at a time, and counts its events."""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pulumi import automation

from rehearsal import processes
from rehearsal.layout import Layout

SLOW_S = 3  # slower resources are listed
PARALLEL = 64  # most operations only wait
_ECHOES = ("preview failed", "update failed", "Resource monitor has terminated")  # errors that only follow from another one
_CHANGING = ("create", "update", "delete", "replace", "create-replacement", "delete-replaced", "import", "read-replacement")


@dataclass
class Outcome:
    """The result of one operation."""

    name: str
    seconds: float = 0.0
    changes: Counter[str] = field(default_factory=Counter)  # number of resources by operation, as Pulumi counts them
    types: Counter[str] = field(default_factory=Counter)  # number of resources that exist or are created, by type
    details: list[str] = field(default_factory=list)  # changed resources with their changed properties
    errors: list[str] = field(default_factory=list)  # the engine's diagnostics
    warnings: list[str] = field(default_factory=list)  # warnings of the program itself
    notes: list[str] = field(default_factory=list)  # informational messages
    failed: bool = False
    took: dict[str, float] = field(default_factory=dict)  # seconds by "Type name", for slow resources

    @property
    def changed(self) -> dict[str, int]:
        """The operations that changed something, with their counts."""
        return {op: count for op, count in self.changes.items() if op in _CHANGING and count}


class Engine:
    """One stack on a file backend."""

    def __init__(self, layout: Layout, stack: str, environment: dict[str, str], progress: Callable[[str], None]) -> None:
        self._layout, self._progress = layout, progress
        self._environment, self._stack_name = environment, stack
        self._project = yaml.safe_load((layout.project / "Pulumi.yaml").read_text())["name"]  # components take no time themselves
        options = automation.LocalWorkspaceOptions(env_vars=environment, pulumi_home=str(layout.home))
        try:
            self._stack = automation.create_or_select_stack(stack, work_dir=str(layout.project), opts=options)
            # Only events are needed here; otherwise the API would start the CLI three more times per operation, for outputs and history.
            self._stack.outputs = dict
            self._stack.info = lambda show_secrets=False: automation.UpdateSummary("", datetime.datetime.min, "", {}, {}, "")
        except automation.CommandError as error:
            raise RuntimeError(_plain(str(error))) from error

    def preview(self) -> Outcome:
        """Runs `pulumi preview`."""
        return self._run("preview", lambda handler: self._stack.preview(on_event=handler, parallel=PARALLEL))

    def up(self, name: str = "up") -> Outcome:
        """Runs `pulumi up`."""
        return self._run(name, lambda handler: self._stack.up(on_event=handler, parallel=PARALLEL))

    def refresh(self) -> Outcome:
        """Runs `pulumi refresh`."""
        return self._run("refresh", lambda handler: self._stack.refresh(on_event=handler, parallel=PARALLEL))

    def destroy(self) -> Outcome:
        """Runs `pulumi destroy`."""
        return self._run("destroy", lambda handler: self._stack.destroy(on_event=handler, parallel=PARALLEL))

    def protected(self) -> list[str]:
        """Returns the names of protected resources."""
        return [item["urn"].rsplit("::", 1)[-1] for item in self.resources() if item.get("protect")]

    def resources(self) -> list[dict[str, Any]]:
        """Returns the resources in Pulumi's state."""
        return (self._stack.export_stack().deployment or {}).get("resources") or []

    def next_step(self) -> str:
        """Returns what the program says is still to be done by another `up`, in its output `nextStep`; empty if it is finished."""
        return next((item.get("outputs", {}).get("nextStep", "") for item in self.resources() if item["type"] == "pulumi:pulumi:Stack"), "")

    def unprotect(self) -> None:
        """Removes the protection, as a person must do before destroying a protected stack. Raises RuntimeError."""
        command = ["pulumi", "state", "unprotect", "--all", "--yes", "--stack", self._stack_name]
        done = subprocess.run(
            command, cwd=self._layout.project, env={**os.environ, **self._environment}, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(_plain(done.stderr or done.stdout))

    def interrupt(self) -> None:
        """Stops the running operation: interrupts it twice, as Ctrl-C does, and then kills it."""
        for wait in (8, 4):
            if not processes.interrupt_engine(self._layout.root):
                return
            deadline = time.monotonic() + wait
            while time.monotonic() < deadline and _engine_runs(self._layout.root):
                time.sleep(0.1)
        for pid in _engine_runs(self._layout.root):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _run(self, name: str, operation: Callable[[Callable[[Any], None]], Any]) -> Outcome:
        outcome, started = Outcome(name), time.monotonic()
        begun: dict[str, float] = {}
        try:
            operation(lambda event: self._count(event, outcome, begun))
        except automation.CommandError as error:
            outcome.failed = True
            text = _plain(str(error))
            (self._layout.logs / f"{name.replace(' ', '-')}.log").write_text(text)
            if not outcome.errors:
                outcome.errors.append(_last_words(text))
        outcome.seconds = time.monotonic() - started
        return outcome

    def _count(self, event: Any, outcome: Outcome, begun: dict[str, float]) -> None:
        if event.resource_pre_event:
            step = event.resource_pre_event.metadata
            begun[step.urn] = time.monotonic()
            op = getattr(step.op, "value", str(step.op))
            if not step.type.startswith("pulumi:"):
                self._progress(f"{outcome.name}: {op} {step.type.rsplit(':', 1)[-1]} {step.urn.rsplit('::', 1)[-1]}")
                if op in _CHANGING and op != "create":
                    outcome.details.append(_detail(step, op))
            if op in ("same", "create", "update", "create-replacement") and not step.type.startswith("pulumi:"):
                outcome.types[step.type] += 1
        elif event.res_outputs_event:
            step = event.res_outputs_event.metadata
            op = getattr(step.op, "value", str(step.op))
            seconds = time.monotonic() - begun.get(step.urn, time.monotonic())
            if seconds > SLOW_S and not step.type.startswith(("pulumi:", self._project + ":")):
                outcome.took[f"{step.type.rsplit(':', 1)[-1]} {step.urn.rsplit('::', 1)[-1]}"] = seconds
            if outcome.name == "refresh" and op in _CHANGING:
                outcome.details.append(_detail(step, op))
        elif event.diagnostic_event and event.diagnostic_event.severity == "warning":
            message = _plain(event.diagnostic_event.message).strip()
            if not re.match(r"using \S+ from \$PATH|resource plugin \S+ is expected", message):  # Pulumi's own warnings about plugins
                outcome.warnings.append(message)
        elif event.diagnostic_event and event.diagnostic_event.severity == "info":
            outcome.notes.append(_plain(event.diagnostic_event.message).strip())
        elif event.diagnostic_event and event.diagnostic_event.severity == "error":
            message = _plain(event.diagnostic_event.message).strip()
            urn = event.diagnostic_event.urn or ""
            about = f"{urn.split('::')[2].split('$')[-1]} {urn.rsplit('::', 1)[-1]}: " if urn.count("::") >= 3 else ""
            if message and not message.startswith(_ECHOES) and about + message not in outcome.errors:
                outcome.errors.append(about + message)
        elif event.summary_event:
            for op, count in (event.summary_event.resource_changes or {}).items():
                outcome.changes[getattr(op, "value", str(op))] += count


def _detail(step: Any, op: str) -> str:
    paths = sorted(step.detailed_diff or {}) or list(step.diffs or [])
    return f"{op} {step.type} {step.urn.rsplit('::', 1)[-1]}" + (f" [{', '.join(paths)}]" if paths else "")


def _plain(text: str) -> str:
    """Removes Pulumi's colour marks."""
    return re.sub(r"<\{%.*?%\}>|\x1b\[[0-9;]*m", "", text)


def _last_words(text: str) -> str:
    """Returns the error lines of the command's output, or its end if there are none."""
    errors = [line.strip() for line in text.splitlines() if line.strip().startswith("error: ")]
    if errors:
        return "\n".join(dict.fromkeys(errors))
    lines = [line for line in text.splitlines() if line.strip() and not re.match(r"\s*(code|stdout|stderr):", line)]
    return "\n".join(lines[-15:])


def _engine_runs(root: Path) -> list[int]:
    return [pid for pid, line in processes.marked(root).items() if Path(line.split(" ")[0]).name == "pulumi"]
