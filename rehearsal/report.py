"""What a rehearsal prints: a line per stage, then tables."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rehearsal.engine import Outcome
from rehearsal.look import ClusterView

NOT_PROVEN = (
    "real disks and their speed: volumes exist only as objects",
    "DNS: no pod resolves a name, and no packet travels between pods",
    "network policies, which Cilium enforces: they are accepted but not enforced",
    "Entra: tokens, role assignments and workload identity are recorded but not used",
    "image pulls and container starts: pods become ready by themselves",
    "GPUs, drivers and huge pages on a real kernel: nodes only report them",
    "the cluster autoscaler: nodes come and go only where the rehearsal says so",
    "Azure's capacity and speed: its rules are those in rehearsal/azure/rules",
)
_WORDS = {"create": "to create", "update": "to update", "delete": "to delete", "same": "unchanged", "replace": "to replace"}
_DONE = {"create": "created", "update": "updated", "delete": "deleted", "same": "unchanged", "replace": "replaced"}


def counts(outcome: Outcome) -> str:
    """Returns the counts of an operation as Pulumi reports them: `91 created, 3 unchanged`."""
    words = _WORDS if outcome.name == "preview" else _DONE
    shown = [f"{count} {words.get(op, op)}" for op, count in sorted(outcome.changes.items()) if count]
    return ", ".join(shown) or "nothing to do"


def stage(console: Console, outcome: Outcome, remark: str = "") -> None:
    """Prints one line for a stage."""
    mark = "[red]failed[/]" if outcome.failed else "[green]ok[/]"
    console.print(f"  {outcome.name:<10} {outcome.seconds:6.1f} s  {mark}  {counts(outcome)}{escape(remark)}", highlight=False)
    if outcome.name == "preview":  # later stages would repeat them
        for line in "\n".join(outcome.warnings).splitlines():
            console.print(f"    [yellow]{escape(shorten(line, 160))}[/]", highlight=False, soft_wrap=True)


def change(console: Console, outcome: Outcome, becomes: str, wrong: str | None) -> None:
    """Prints one line for a change: what came of it, and the words of a refusal."""
    mark = "[red]wrong[/]" if wrong else f"[green]{becomes}[/]"
    said = "" if wrong or not outcome.failed else shorten(" ".join(outcome.errors), 200)
    console.print(f"  {outcome.name:<18} {outcome.seconds:6.1f} s  {mark}  {escape(said) or counts(outcome)}", highlight=False)


def tables(
    console: Console, outcomes: list[Outcome], view: ClusterView | None, refusals: list[dict[str, Any]], problem: str | None
) -> None:
    """Prints resources by type, pods per node, and refusals. Refusals that `problem` quotes are only counted."""
    types = next((outcome.types for outcome in outcomes if outcome.name == "up"), None)
    if types:
        components = [name for name in types if name.count(":") == 2 and not name.startswith(("azure-native:", "kubernetes:"))]
        for name in components:  # components only group other resources
            del types[name]
        table = Table(title="Resources", box=None, title_justify="left", pad_edge=False)
        table.add_column("type")
        table.add_column("number", justify="right")
        for name, count in sorted(types.items()):
            table.add_row(escape(name), str(count))
        console.print(table)
    if view is not None:
        table = Table(title="Pods", box=None, title_justify="left", pad_edge=False)
        for column in ("node", "size", "zone"):
            table.add_column(column, no_wrap=column != "size")
        table.add_column("GPUs used", justify="right")
        table.add_column("pods")
        for node in view.nodes:
            pods = ", ".join(name if count == 1 else f"{name} x{count}" for name, count in sorted(node.pods.items()))
            table.add_row(node.name, node.size, node.zone, f"{node.gpus_used} of {node.gpus}" if node.gpus else "-", escape(pods))
        console.print(table)
        if view.not_running:
            console.print("Pods not running: " + escape(", ".join(view.not_running)))
    console.print(f"Refusals by Azure: {len(refusals) or 'none'}", highlight=False)
    for refusal in refusals:
        if problem and refusal["message"] in problem:
            continue
        console.print(
            f"  {escape(refusal['type'])} {escape(refusal['resource'])}: {escape(refusal['code'])}: {escape(shorten(refusal['message']))}",
            highlight=False,
        )
    for outcome in outcomes:
        slow = sorted(((seconds, name) for name, seconds in outcome.took.items()), reverse=True)[:5]
        if slow and outcome.name in ("up", "destroy"):
            console.print(f"Slowest of {outcome.name}: " + ", ".join(f"{name} {seconds:.0f} s" for seconds, name in slow), highlight=False)
    console.print(
        "Seconds: " + ", ".join(f"{o.name} {o.seconds:.1f}" for o in outcomes) + f"; all {sum(o.seconds for o in outcomes):.1f}",
        highlight=False,
    )


def not_proven(console: Console) -> None:
    """Prints what must not be concluded from a rehearsal."""
    console.print("What a rehearsal does not prove:")
    for line in NOT_PROVEN:
        console.print(f"  - {line}", highlight=False)


def shorten(text: str, longest: int = 400) -> str:
    """Cuts a long text in the middle, because both ends of Azure's messages carry information."""
    half = longest // 2
    return text if len(text) <= longest else f"{text[:half]} ... {text[-half:]}"
