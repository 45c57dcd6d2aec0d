"""The output of `make plan`: text for people, and one JSON object for programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.console import Console, Group
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from planner.engine_facts import traits
from planner.fit.layout import node_zones
from planner.fit.memory_model import GpuMemory
from planner.fit.plan import Finding, Plan
from planner.recommend.assessment import Assessment
from reports import json_output, sentences
from reports import recommendation as targets
from settings.quantities import ByteSize, Cpu
from settings.wording import count

BAR_CELLS = 64
_INDENT = 11
# Each part has a character of its own, so that the bar can be read without colours.
_PARTS = (("weights", "█", "blue"), ("kv", "▓", "green"), ("activations", "▒", "yellow"), ("reserve", "░", "red"), ("free", "·", "white"))
_STYLES = {"adjusted": "yellow", "not supported": "red", "translated": "cyan", "noted": "white"}


def as_json(assessment: Assessment, plan: Plan, stack: str) -> dict[str, Any]:
    """Returns the plan as one JSON object, with memory in GiB, huge pages in MiB and costs in USD per hour (null without a price)."""
    requests = plan.pod.set_aside
    ranges = [shard.layer_range for shard in plan.shards]
    return {
        "nodes": plan.nodes,
        "gpus_paid": plan.gpus_paid,
        "gpus_used": plan.gpus_used,
        "pools": [
            {"size": p.size.name, "zones": p.zones, "nodes": p.nodes, "min_nodes": p.min_nodes, "max_nodes": p.max_nodes}
            for p in plan.gpu_pools
        ],
        "pods": [
            {
                "name": pod.name,
                "node": pod.node,
                "gpus": plan.pod.gpus,
                "cpu": Cpu(requests.get("cpu", "0")).cores,
                "memory_gib": ByteSize(requests.get("memory", "0")).gib,
                "hugepages_mib": plan.pod.huge_pages_mib,
                "layers": ranges[pod.stage],
                "pending_because": pod.pending_because,
            }
            for pod in plan.pods
        ],
        "weights": asdict(plan.weights),
        "gpu_memory_gib": _memory(plan.memory.memory),
        "cost_usd_per_hour": plan.usd_per_hour,
        "cost_usd_per_hour_bounds": plan.usd_per_hour_bounds,
        "targets": json_output.deployed(assessment),
        "alternatives": [json_output.layout(assessment, choice, stack) for choice in assessment.alternatives],
        "findings": [finding.as_json() for finding in plan.findings],
    }


def _memory(memory: GpuMemory) -> dict[str, float]:
    return {name.removesuffix("_gib"): round(value, 3) for name, value in asdict(memory).items()}


def show(assessment: Assessment, plan: Plan, stack: str, console: Console) -> None:
    """Prints the layout, the memory of a GPU, the targets, the layouts that would meet them, and the findings."""
    console.print(_headline(plan), highlight=False)
    console.print(Group("", _nodes(plan), ""))
    console.print(_bar(plan), highlight=False)
    console.print(_weights(plan), highlight=False, markup=False, soft_wrap=True)
    console.print()
    targets.show_deployed(assessment, console)
    targets.show_alternatives(assessment, stack, console)
    _show_findings(plan.findings, console)


def show_summary(assessment: Assessment, plan: Plan, stack: str, console: Console) -> None:
    """Prints the short form: the layout, the memory of a GPU, the targets, the cheapest layout that meets them, and how many findings."""
    console.print(_headline(plan), "", highlight=False, sep="\n")
    console.print(_bar(plan), "", highlight=False, sep="\n")
    targets.show_deployed(assessment, console)
    _, cheapest = sentences.two_lines(assessment)
    console.print(cheapest, highlight=False, markup=False)
    numbers = [(outcome, sum(finding.outcome == outcome for finding in plan.findings)) for outcome in _STYLES]
    tally = ", ".join(f"{number} {outcome}" for outcome, number in numbers if number) or "none"
    console.print(f"Findings about settings: {tally}. For the whole plan: make plan STACK={stack}", highlight=False, markup=False)


def _headline(plan: Plan) -> str:
    pods, gpus = len(plan.pods), plan.pod.gpus
    shards = count(len(plan.shards), "shard")
    pipelines = f"{plan.pipelines} pipelines of {shards}" if plan.pipelines > 1 else shards
    price = sentences.price(plan)
    return (
        f"[bold]{escape(plan.shape.name)}[/]: {pipelines} on {count(pods * gpus, 'GPU')}; {plan.nodes} {plan.size.name} with "
        f"{count(plan.gpus_paid, 'GPU')}, "
        f"{plan.gpus_used} in use; {price}; sizing.mode {plan.settings.sizing.mode}"
    )


def _nodes(plan: Plan) -> Table:
    table = Table("node", "zone", "GPUs", "CPUs", "memory", "huge pages", "shards", box=None, pad_edge=False, header_style="bold")
    requests = plan.pod.set_aside
    cpus, gib = Cpu(requests.get("cpu", "0")).cores, ByteSize(requests.get("memory", "0")).gib
    for node, zone in enumerate(node_zones(plan.gpu_pools)):
        pods = [pod for pod in plan.pods if pod.node == node]
        table.add_row(
            str(node),
            zone or "-",
            f"{len(pods) * plan.pod.gpus} of {plan.size.gpus}",
            f"{len(pods) * cpus:g} of {plan.size.vcpus}",
            f"{len(pods) * gib:g} of {plan.size.ram_gib:g} GiB",
            f"{len(pods) * plan.pod.huge_pages_mib} of {2 * plan.settings.node_tuning.huge_pages_2mi} MiB",
            " ".join(pod.name.removeprefix("zig-ai-shard-") for pod in pods),
        )
    for pod in plan.pods:
        if pod.node is None:
            table.add_row("Pending", "", "", "", "", "", f"{pod.name}: {', '.join(pod.pending_because)}", style="red")
    return table


def _bar(plan: Plan) -> Text:
    memory = _memory(plan.memory.memory)
    total = memory["total"]
    line = Text(f"each {plan.size.gpu}, {total:.2f} GiB  ")
    filled = cells = 0.0
    for name, mark, style in _PARTS:
        filled += memory[name]
        until = round(BAR_CELLS * filled / total) if total else 0
        line.append(mark * max(0, until - round(cells)), style=style)
        cells = max(cells, until)
    line.append("\n")
    for name, mark, style in _PARTS:
        line.append(f"  {mark} ", style=style).append(f"{name} {memory[name]:.2f} GiB")
    return line.append(f"\n  the cache holds {plan.memory.tokens:,} tokens: {_at_once(plan)}")


def _at_once(plan: Plan) -> str:
    longest = f"{plan.request_tokens:,} tokens, prompt and answer"
    if traits(plan.settings.engine, plan.gpu).slot_tokens is not None:
        return f"{count(plan.requests_at_once, 'request')} at once of up to {longest}"
    return f"{count(plan.memory.tokens // plan.request_tokens, 'request')} at once of the full {longest}, or more that are shorter"


def _weights(plan: Plan) -> str:
    """Describes how the weights reach the pods, with the time that each step takes."""
    weights = plan.weights
    lines = [f"\nweights, {weights.gib:.2f} GiB"]
    if weights.source:
        lines.append(f"  fetched once from {weights.source} to {weights.folder} in the weight storage, with every byte verified")
        retention = plan.settings.rollout.weights_retention
        how_long = f"for {retention}" if retention else "until somebody deletes them (see rollout.weightsRetention)"
        lines.append(f"  weights of an earlier source are kept {how_long}")
    else:
        lines.append(
            f"  not fetched, because model.source is not set: upload them to {weights.folder}/{weights.file or ''} in the weight storage"
        )
    if weights.on_node:
        lines.append(f"  copied once to each node's own disk: {weights.copy_s:.0f} s at {weights.storage_mb_s:.0f} MB/s")
    place = "the node's disk" if weights.on_node else "the weight storage"
    timeout = plan.settings.rollout.model_load_timeout
    lines.append(
        f"  read from {place} at each start: {weights.load_s:.0f} s at {weights.load_mb_s:.0f} MB/s per node; the limit is {timeout}"
    )
    return "\n".join(lines)


def _show_findings(findings: tuple[Finding, ...], console: Console) -> None:
    """Prints the findings by outcome, each with its reason on the lines below, so that they can be read at any width."""
    for outcome, style in _STYLES.items():
        matching = [finding for finding in findings if finding.outcome == outcome]
        if not matching:
            continue
        console.print(f"\n[bold]{outcome} ({len(matching)})[/]", highlight=False)
        for finding in sorted(matching, key=lambda finding: (finding.severity == "info", finding.code)):
            given = "" if finding.given == finding.asked else f" -> {finding.given}"
            head = Text.assemble((f"{finding.code:<{_INDENT - 1}} ", style), f"{finding.key}: {finding.asked}{given}")
            if console.is_terminal:
                console.print(head, Padding(finding.because, (0, 0, 0, _INDENT)), highlight=False, markup=False)
            else:
                # Without a terminal each reason stays on one line, for grep and for logs.
                console.print(head, Text(" " * _INDENT + finding.because), sep="\n", soft_wrap=True)
