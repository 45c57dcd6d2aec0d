"""An assessment as people read it, and as programs do."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from planner import gpu_memory
from planner.choices import lines
from planner.choices.assessment import Assessment
from planner.choices.choice import Choice
from planner.choices.verdicts import Prediction, Verdict, seconds, verdicts
from planner.engine_traits import TRAITS
from planner.gpu_memory import Parallel
from planner.performance.estimate import Range
from planner.wording import count

ROWS = 12
_STYLES = {"met": "green", "in doubt": "yellow", "missed": "red", "unknown": "dim"}


def as_json(found: Assessment, stack: str) -> dict[str, Any]:
    """What `recommend --json` prints; money in USD, times in seconds unless the name says otherwise."""
    return {
        "stack": stack,
        "engine": found.asked.engine,
        "model": found.shape.name,
        "deployed": deployed_as_json(found),
        "layouts": [choice_as_json(found, choice, stack) for choice in found.found.choices],
        "looked_at": found.found.looked_at,
        "rejected": dict(found.found.rejected.most_common()),
        "without_price": list(found.found.without_price),
    }


def deployed_as_json(found: Assessment) -> dict[str, Any]:
    """Whether the stack as it is meets its targets, and what was predicted; `problem` says why something is missing."""
    return {
        "meets": found.meets,
        "problem": found.problem,
        "usd_per_hour": found.plan.usd_per_hour if found.plan else None,
        "verdicts": list(map(asdict, found.verdicts)),
        "prediction": None if found.prediction is None else prediction_as_json(found.prediction),
    }


def prediction_as_json(one: Prediction) -> dict[str, Any]:
    return {
        "in_flight": one.load.users,
        "input_tokens": one.load.input_tokens,
        "output_tokens": one.load.output_tokens,
        "latency_s": _rounded(one.times.latency),
        "ttft_ms": _rounded(one.times.first_token, 1e3),
        "tpot_ms": _rounded(one.times.per_token, 1e3),
        "requests_s": _rounded(one.requests_s),
        "floor_s": round(one.floor_s, 4),
        "gpu_memory": round(one.memory_share, 4),
        "memory_bandwidth": round(one.bandwidth_share, 4),
        "extrapolated": one.extrapolated,
    }


def choice_as_json(found: Assessment, choice: Choice, stack: str) -> dict[str, Any]:
    one = choice.predict()
    return {
        "vm_size": choice.size.name,
        "gpu": choice.gpu.name,
        "region": choice.region,
        "spot": choice.spot,
        "retired_on": choice.size.retired_on,
        "precision": choice.precision,
        "tensor_parallel": choice.parallel.tensor,
        "pipeline_parallel": choice.parallel.pipeline,
        "pipelines": choice.pipelines,
        "gpus": choice.gpus,
        "nodes": choice.nodes,
        "usd_per_hour": round(choice.usd_per_hour, 3),
        "usd_per_million_tokens": _cost(choice, one),
        "prediction": prediction_as_json(one),
        "verdicts": list(map(asdict, verdicts(choice.settings, one))),
        "yaml": lines.lines(found.asked, choice),
        "command": lines.command(found.asked, choice, stack),
    }


def _cost(choice: Choice, one: Prediction) -> float | None:
    cost = one.usd_per_million_tokens(choice.usd_per_hour)
    return None if cost is None else round(cost, 2)


def _rounded(one: Range, factor: float = 1.0) -> dict[str, float]:
    return {name: float(f"{getattr(one, name) * factor:.4g}") for name in ("value", "low", "high")}


def show(found: Assessment, stack: str, console: Console, *, everything: bool = False) -> None:
    """All of `recommend`."""
    targets, load = found.asked.targets, found.found.load
    console.print(
        f"[bold]{found.shape.name}[/] on {found.asked.engine}: {load.users} requests in flight of {load.input_tokens} + "
        f"{load.output_tokens} tokens; wanted {targets.latency} for {targets.tokens} tokens and {targets.throughput_rps:g} requests/s",
        highlight=False,
    )
    console.print(_basis(found), highlight=False)
    console.print()
    show_deployed(found, console)
    choices = found.found.choices if everything else found.found.choices[:ROWS]
    if choices:
        console.print(f"\n[bold]meet the targets: {len(found.found.choices)} of {found.found.looked_at:,} layouts[/], cheapest first")
        console.print(_table(choices))
        if len(choices) < len(found.found.choices):
            console.print(f"and {len(found.found.choices) - len(choices)} more: --all", highlight=False)
    show_alternatives(found, stack, console)
    console.print(f"\n[bold]do not: {found.found.rejected.total():,}[/]", highlight=False)
    for reason, layouts in found.found.rejected.most_common():
        console.print(f"  {layouts:>6,}  {reason}", highlight=False)
    if found.found.without_price:
        console.print(f"without a price there (--region NAME or all): {', '.join(found.found.without_price)}", highlight=False)


def _basis(found: Assessment) -> str:
    traits, sized = TRAITS[found.asked.engine], "the estimate" if found.wish.expected else "the slow end of the estimate's range"
    whose = f"as {traits.performs_like}'s" + ("" if traits.measured else f", as nobody has published one of {found.asked.engine}'s")
    return f"Predicted {whose}, for the average request; a layout meets a target when {sized} does."


def show_deployed(found: Assessment, console: Console) -> None:
    """The verdict on each target of what the stack deploys."""
    if found.problem:
        console.print(f"as it is: no prediction; {found.problem}", highlight=False, markup=False)
    if found.plan is None or found.prediction is None:
        return
    made, split = found.plan, gpu_memory.parallel(found.plan.settings, found.shape)
    price = "no price known" if made.usd_per_hour is None else f"{made.usd_per_hour:,.2f} USD an hour"
    layout = _layout(made.nodes, made.size.name, gpu_memory.precisions(made.settings)[0], split, made.pipelines)
    console.print(f"[bold]as it is[/]: {layout}: {price}", highlight=False)
    for verdict in found.verdicts:
        console.print(_verdict_line(verdict), highlight=False, soft_wrap=True)


def _verdict_line(verdict: Verdict) -> str:
    return f"  [{_STYLES[verdict.outcome]}]{verdict.outcome:<8}[/]  {verdict.key}: {verdict.asked}; predicted {verdict.predicted}"


def _table(choices: tuple[Choice, ...]) -> Table:
    table = Table("USD/hour", "USD/M tokens", "nodes", "size", "weights", "TP", "PP", "pipelines", "latency", "requests/s", box=None)
    for choice in choices:
        one = choice.predict()
        cost = one.usd_per_million_tokens(choice.usd_per_hour)
        table.add_row(
            f"{choice.usd_per_hour:,.2f}", "-" if cost is None else f"{cost:,.2f}", str(choice.nodes), _size(choice), choice.precision,
            str(choice.parallel.tensor), str(choice.parallel.pipeline), str(choice.pipelines), seconds(one.times.latency),
            f"{one.requests_s.value:,.0f} ({one.requests_s.low:,.0f} to {one.requests_s.high:,.0f})",
        )  # fmt: skip
    return table


def _size(choice: Choice) -> str:
    notes = [note for note, is_so in ((choice.region, True), ("spot", choice.spot), ("retired", choice.size.retired_on)) if is_so]
    return f"{choice.size.name} ({', '.join(notes)})"


def show_alternatives(found: Assessment, stack: str, console: Console) -> None:
    """The lines that switch to the best of different sizes; where none meets the targets, what would have to change."""
    if not found.found.choices:
        console.print(f"\n[bold]no layout meets the targets[/]: {impossible(found)}", highlight=False, soft_wrap=True)
        return
    for number, choice in enumerate(found.alternatives, start=1):
        changed = lines.lines(found.asked, choice)
        console.print(f"\n[bold]{number}. {summary(choice)}[/]" + ("" if changed else ": as it is"), highlight=False)
        console.print("".join(f"  {line}\n" for line in changed.splitlines()), end="", highlight=False, markup=False, soft_wrap=True)
    if other := next((choice for choice in found.alternatives if lines.changes(found.asked, choice)), None):
        console.print(f"\nor, as one command: {lines.command(found.asked, other, stack)}", markup=False, soft_wrap=True)


def summary(choice: Choice) -> str:
    """One line a layout."""
    layout = _layout(choice.nodes, choice.size.name, choice.precision, choice.parallel, choice.pipelines)
    return f"{layout}: {choice.usd_per_hour:,.2f} USD an hour"


def _layout(nodes: int, size: str, precision: str, split: Parallel, pipelines: int) -> str:
    stages = f", {count(split.pipeline, 'stage')} each" if split.pipeline > 1 else ""
    return f"{nodes} x {size}, {precision}, tensor parallel {split.tensor}, {count(pipelines, 'pipeline')}{stages}"


def impossible(found: Assessment) -> str:
    """Why nothing meets the targets: the floor, and what would have to change."""
    best, load = found.found.best_effort, found.found.load
    if best is None:
        return f"{found.shape.name} fits no size of the region; a smaller model, fewer bits, or another region"
    quickest = f"{best.gpu} x {best.tensor} in {best.precision}"
    if best.floor_s > load.latency_s:
        return (
            f"the quickest, {quickest}, reads the weights {load.judged_tokens} times in {best.floor_s:.3g} s at best, against "
            f"{load.latency_s:g} s; targets.latency of more than {best.alone_s.high:.3g}s, fewer targets.tokens, or a smaller model"
        )
    if not best.requests_s:
        return (
            f"the quickest, {quickest}, takes {seconds(best.alone_s)} for one request alone, {best.floor_s:.3g} s at best; "
            f"targets.latency of {best.alone_s.high:.3g}s or more, fewer targets.tokens, or a smaller model"
        )
    return (
        f"the most that 256 pipelines reach within {load.latency_s:g} s is {best.requests_s:,.0f} requests/s, against "
        f"{load.requests_s:,g} and {load.users:,} users; fewer of them, or a longer targets.latency"
    )
