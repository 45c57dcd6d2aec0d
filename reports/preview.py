"""What `pulumi preview` and the stack's outputs say about the settings and the targets, in the words of `explain` and `recommend`."""

from __future__ import annotations

from typing import Any

from planner.recommend.assessment import Assessment
from reports import sentences
from reports.outcomes import Row, counts, tally
from settings.account import Outcome

_CHANGED: tuple[Outcome, ...] = ("error", "not supported", "adjusted")


def warnings(rows: tuple[Row, ...]) -> str:
    """Returns a line for each setting that is not deployed as written, and for each that has a warning. Empty if there is none."""
    groups: dict[str, list[Row]] = {outcome: [row for row in rows if row.outcome == outcome] for outcome in _CHANGED}
    groups["warnings"] = [row for row in rows if row.warns and row.outcome not in _CHANGED]
    return "\n".join(f"{name} ({len(group)}):\n" + "\n".join(map(_line, group)) for name, group in groups.items() if group)


def summary(rows: tuple[Row, ...], stack: str) -> str:
    """Says how many settings have which outcome, and how to see the details."""
    return f"{len(rows)} settings: {tally(rows)}. For details: python -m stacks explain KEY --stack {stack}"


def targets(assessment: Assessment, stack: str) -> str:
    """Returns two lines: how the current layout does against the targets, and the cheapest layout that meets them."""
    judged, cheapest = sentences.two_lines(assessment)
    return f"{judged}\n{cheapest} For all layouts: python -m planner recommend --stack {stack}"


def output(rows: tuple[Row, ...]) -> dict[str, Any]:
    """Returns the value of the stack output `settings`."""
    changed = [
        {"key": row.key, "outcome": row.outcome, "asked": row.asked, "given": row.given, "code": ", ".join(row.codes)}
        for row in rows
        if row.outcome in _CHANGED
    ]
    return {"counts": counts(rows), "adjusted": changed}


def _line(row: Row) -> str:
    codes = f" ({', '.join(row.codes)})" if row.codes else ""
    return f"  {row.key}: {row.change}; {row.because}{codes}"
