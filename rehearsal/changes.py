"""Ordinary changes of a running stack, one by one, and whether each becomes what it must (changes.yaml)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rehearsal.azure.pools import autoscale, pools_of
from rehearsal.azure.state import StateFile
from rehearsal.engine import Engine, Outcome
from rehearsal.layout import Layout

_FILE = Path(__file__).with_name("changes.yaml")


@dataclass(frozen=True, kw_only=True)
class Change:
    """A change of settings, and what must become of it."""

    name: str
    settings: dict[str, Any]
    becomes: str
    words: tuple[str, ...] = ()
    autoscaler: int = 0


def names() -> list[str]:
    """Returns the names of all changes."""
    return list(yaml.safe_load(_FILE.read_text()))


def changes(stack: str, wanted: Sequence[str]) -> Iterator[Change]:
    """Yields the changes of these names, or all of them for `all`, that this stack can make. Raises KeyError for an unknown name."""
    known = yaml.safe_load(_FILE.read_text())
    for name in known if "all" in wanted else wanted:
        row = known[name]
        settings = row.get("stacks", {}).get(stack) or row.get("settings")
        if settings:
            words, autoscaler = tuple(row.get("words", ())), row.get("autoscaler", 0)
            yield Change(name=name, settings=settings, becomes=row["becomes"], words=words, autoscaler=autoscaler)


class Running:
    """A stack that runs, and the file with its settings."""

    def __init__(self, engine: Engine, layout: Layout, stack: str) -> None:
        self._engine, self._state = engine, StateFile(layout.azure)
        self._file = layout.project / f"Pulumi.{stack}.yaml"
        self._project = yaml.safe_load((layout.project / "Pulumi.yaml").read_text())["name"]

    def make(self, change: Change) -> tuple[Outcome, str | None]:
        """Runs `pulumi up` with the change, and returns what came of it and, if that is not what must, what is wrong."""
        self._autoscale(change.autoscaler)
        before, text = self._azure(), self._file.read_text()
        self._file.write_text(with_settings(text, self._project, change.settings))
        shown = self._engine.preview() if change.becomes == "in place" else None
        outcome = self._engine.up(change.name)
        if change.becomes == "refused":
            self._file.write_text(text)
            return outcome, self._not_refused(change, outcome, before)
        if outcome.failed:
            return outcome, "Azure or the program refused it: " + "; ".join(outcome.errors)
        if shown is None:
            return outcome, self._not_replaced_after(outcome)
        return outcome, self._not_in_place(outcome, before) or self._not_as_shown(outcome, shown)

    def _autoscale(self, more: int) -> None:
        with self._state.change() as cloud:
            for identifier, pool in pools_of(cloud):
                if more and pool.get("enableAutoScaling") and pool["count"] + more <= pool["maxCount"]:
                    autoscale(cloud, identifier, pool["count"] + more)

    def _azure(self) -> dict[str, Any]:
        cloud = self._state.read()
        resources = {key: item["inputs"] for key, item in cloud.resources.items()}
        return {"resources": resources, "nodes": {key: pool["count"] for key, pool in cloud.pools.items()}}

    def _not_refused(self, change: Change, outcome: Outcome, before: dict[str, Any]) -> str | None:
        if not outcome.failed:
            return "it must be refused, and it was taken: " + "; ".join(outcome.details)
        said = "\n".join(outcome.errors)
        if not any(word in said for word in change.words):
            return f"it is refused without any of the words {', '.join(change.words)}: {said}"
        after = self._azure()
        if before != after:
            changed = [
                key.rsplit("/", 1)[-1]
                for key in before["resources"].keys() | after["resources"].keys()
                if before["resources"].get(key) != after["resources"].get(key)
            ]
            return f"it is refused half-way, when these had changed already: {', '.join(sorted(changed)) or 'nodes'}"
        return None

    def _not_in_place(self, outcome: Outcome, before: dict[str, Any]) -> str | None:
        if not outcome.changed:
            return "it changed nothing: the stack has these settings already"
        after = self._azure()
        lost = [key for key, count in before["nodes"].items() if after["nodes"].get(key, 0) < count]
        if lost:
            return f"it must change in place, and it took nodes from {', '.join(key.rsplit('/', 1)[-1] for key in lost)}"
        replaced = [line for line in outcome.details if line.startswith("create-replacement azure-native:")]
        return f"it must change in place, and it replaced: {'; '.join(replaced)}" if replaced else None

    @staticmethod
    def _not_as_shown(outcome: Outcome, shown: Outcome) -> str | None:
        """A reviewer must not be alarmed by what an `up` does not do."""
        previewed, done = ({line.partition(" [")[0] for line in one.details} for one in (shown, outcome))
        if previewed == done:
            return None
        too_much, missing = (", ".join(sorted(lines)) or "-" for lines in (previewed - done, done - previewed))
        return f"the preview showed also: {too_much}; it did not show: {missing}"

    @staticmethod
    def _not_replaced_after(outcome: Outcome) -> str | None:
        steps = [line.split()[0] for line in outcome.details if "containerservice:AgentPool " in line]
        made = [place for place, step in enumerate(steps) if step == "create-replacement"]
        gone = [place for place, step in enumerate(steps) if step == "delete-replaced"]
        if made and gone and max(made) < min(gone):
            return None
        return f"the new pool must be there before the old one goes; the steps were {', '.join(steps) or 'none'}"


def with_settings(text: str, project: str, settings: dict[str, Any]) -> str:
    """Returns a stack file with other values at these keys; `cluster.tier` is `tier` of `project:cluster`."""
    content = yaml.safe_load(text)
    for key, value in settings.items():
        section, *path = key.split(".")
        place = content["config"]
        path = [f"{project}:{section}", *path]
        for name in path[:-1]:
            place = place.setdefault(name, {})
        place[path[-1]] = json.loads(json.dumps(value))
    return yaml.safe_dump(content, sort_keys=False)


def refresh_and_settle(engine: Engine, done: Callable[[Outcome], None]) -> Outcome | None:
    """Refreshes a stack, calls `done` with each outcome, and returns one that changed what it must not, or None.

    AKS lists all pools of a cluster, also those made after it, with their nodes of now, and the provider takes the list over by place
    (pulumi/pulumi-azure-native issue 1298). One update settles that: it sends the program's own list, and takes nothing away.
    """
    for operation in (engine.refresh, lambda: engine.up("up, settled")):
        outcome = operation()
        done(outcome)
        if not outcome.changed or not _moved_by_aks(outcome):
            return outcome if outcome.changed else None
    outcome = engine.refresh()
    done(outcome)
    return outcome if outcome.changed else None


def _moved_by_aks(outcome: Outcome) -> bool:
    """Whether only lists of pools and counts of nodes changed."""

    def moved(line: str) -> bool:
        head, _, paths = line.rstrip("]").partition(" [")
        kind, starts = head.split()[1], {"ManagedCluster": "agentPoolProfiles", "AgentPool": "count"}
        start = starts.get(kind.removeprefix("azure-native:containerservice:"))
        return head.startswith("update ") and start is not None and all(path.startswith(start) for path in paths.split(", "))

    return bool(outcome.details) and all(map(moved, outcome.details))
