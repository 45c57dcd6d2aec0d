"""The output of `recommend`, `compare` and of `plan`'s targets on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from planner.recommend.assessment import Assessment
from reports import sentences, yaml_switch

if TYPE_CHECKING:
    from reports.comparison import Compared

ROWS = 12
_STYLES = {"met": "green", "in doubt": "yellow", "missed": "red"}


def show(assessment: Assessment, stack: str, console: Console, *, everything: bool = False) -> None:
    """Prints the whole output of `recommend`; `everything` lists all layouts instead of the cheapest."""
    result = assessment.result
    _say(console, f"{assessment.shape.name} on {assessment.asked.engine}: {sentences.asked(assessment)}", bold=True)
    _say(console, sentences.basis(assessment) + "\n")
    show_deployed(assessment, console)
    choices = result.choices if everything else result.choices[:ROWS]
    if choices:
        _say(console, f"\n{len(result.choices):,} of {result.looked_at:,} layouts meet the targets, cheapest first", bold=True)
        table = Table(*sentences.COLUMNS, box=None, pad_edge=False)
        for choice in choices:
            table.add_row(*sentences.row(choice))
        console.print(table)
        if len(choices) < len(result.choices):
            _say(console, f"and {len(result.choices) - len(choices):,} more (--all lists them)")
    show_alternatives(assessment, stack, console)
    _say(console, f"\n{result.rejected.total():,} do not", bold=True)
    for reason, layouts in result.rejected.most_common():
        _say(console, f"  {layouts:>6,}  {reason}")
    if result.without_price:
        _say(console, f"without a price in the region (try --region with another region, or all): {', '.join(result.without_price)}")


def show_deployed(assessment: Assessment, console: Console) -> None:
    """Prints the verdict on each target for the layout that the stack deploys."""
    _say(console, f"current layout: {sentences.current_layout(assessment)}", bold=True)
    for verdict in assessment.verdicts:
        style = _STYLES[verdict.outcome]
        console.print(f"  [{style}]{verdict.outcome:<8}[/]  ", end="")
        _say(console, f"{verdict.key}: {verdict.asked}; predicted: {verdict.predicted}")


def show_alternatives(assessment: Assessment, stack: str, console: Console) -> None:
    """Prints the best layouts with the lines that switch to them or, if none meets the targets, what would have to change."""
    if not assessment.result.choices:
        _say(console, f"\nno layout meets the targets: {sentences.impossible(assessment)}")
        return
    for number, choice in enumerate(assessment.alternatives, start=1):
        changed = yaml_switch.lines(assessment.asked, choice)
        _say(console, f"\n{number}. {sentences.summary(choice)}" + ("" if changed else " (the current layout)"), bold=True)
        if changed:
            _say(console, f"  {sentences.quota(choice)}")
        for line in changed.splitlines():
            _say(console, f"  {line}")
    if other := next((choice for choice in assessment.alternatives if yaml_switch.changes(assessment.asked, choice)), None):
        _say(console, f"\nor, as one command: {yaml_switch.command(assessment.asked, other, stack)}")


def show_compared(compared: tuple[Compared, ...], console: Console) -> None:
    """Prints each measured figure beside its estimate, and how far the estimates were off."""
    from reports.comparison import SHARE, summary

    table = Table("", "quantity", "measured", "estimated", "range", "ratio", "", box=None, pad_edge=False)
    for entry in compared:
        for pair in entry.pairs:
            table.add_row(
                ("~" if entry.extrapolated else "") + entry.name, pair.quantity, f"{pair.measured:,.4g}", f"{pair.estimated.value:,.4g}",
                f"{pair.estimated.low:,.4g} to {pair.estimated.high:,.4g}", f"{pair.ratio:.2f}", "" if pair.inside else "outside",
            )  # fmt: skip
    console.print(table)
    for entry in compared:
        if entry.error:
            _say(console, f"{entry.name}: {entry.error}")
    _say(console, "\nestimates compared with measurements (~ marks an estimate outside the fitted data)", bold=True)
    for quantity, errors_of in summary(compared).items():
        unit = "points" if quantity == SHARE else "%"
        errors = f"{errors_of['median_error_percent']:g} / {errors_of['mean_error_percent']:g} {unit} median / mean error"
        _say(console, f"  {quantity:<17} {errors_of['rows']:>3} rows, {errors}, {errors_of['inside']:.0%} inside the range")


def _say(console: Console, text: str, *, bold: bool = False) -> None:
    console.print(text, style="bold" if bold else None, highlight=False, markup=False, soft_wrap=True)
