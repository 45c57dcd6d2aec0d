"""What `pulumi preview` and the stack's outputs say of the settings and the targets: the same words as `explain` and `recommend`."""

from __future__ import annotations

from typing import Any

from planner.recommend.assessment import Assessment
from reports import sentences
from reports.outcomes import Outcome, Row, counts, tally

_CHANGED: tuple[Outcome, ...] = ("error", "not supported", "adjusted")


def warnings(rows: tuple[Row, ...]) -> str:
    """A line for each setting that is not deployed as it was asked for, and for each that had better be known; empty without any."""
    groups: dict[str, list[Row]] = {outcome: [row for row in rows if row.outcome == outcome] for outcome in _CHANGED}
    groups["to know"] = [row for row in rows if row.warns and row.outcome not in _CHANGED]
    return "\n".join(f"{name} ({len(group)}):\n" + "\n".join(map(_line, group)) for name, group in groups.items() if group)


def summary(rows: tuple[Row, ...], stack: str) -> str:
    """How many settings have which outcome, and how to see more."""
    return f"{len(rows)} settings: {tally(rows)}. For more of one: python -m stacks explain KEY --stack {stack}"


def targets(assessment: Assessment, stack: str) -> str:
    """Two lines: whether the layout meets its targets, with the floor; the cheapest that would."""
    judged, cheapest = sentences.two_lines(assessment)
    return f"{judged}\n{cheapest} All of them: python -m planner recommend --stack {stack}"


def output(rows: tuple[Row, ...]) -> dict[str, Any]:
    """The stack output `settings`."""
    changed = [
        {"key": row.key, "outcome": row.outcome, "asked": row.asked, "given": row.given, "code": ", ".join(row.codes)}
        for row in rows
        if row.outcome in _CHANGED
    ]
    return {"counts": counts(rows), "adjusted": changed}


def _line(row: Row) -> str:
    codes = f" ({', '.join(row.codes)})" if row.codes else ""
    return f"  {row.key}: {row.change}; {row.because}{codes}"
