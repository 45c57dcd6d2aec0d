"""`estimate --batch FILE`: one JSON line for each row of a CSV in the measurements' columns."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from planner.performance import csv_rows, published_rows
from planner.performance.constants import Shifts
from planner.performance.estimate import Answer, Range, estimate

_MILLI = 1e3


def scaled(found: Range | None, factor: float) -> dict[str, float] | None:
    """A range as JSON in other units, four significant digits; None stays None."""
    if found is None:
        return None
    return {name: float(f"{getattr(found, name) * factor:.4g}") for name in ("value", "low", "high")}


def as_json(answer: Answer) -> dict[str, object]:
    return {
        "ttft_ms": scaled(answer.ttft_s, _MILLI),
        "tpot_ms": scaled(answer.tpot_s, _MILLI),
        "output_tok_s": scaled(answer.output_tok_s, 1.0),
        "extrapolated": answer.extrapolated,
    }


def lines(rows: Iterable[str], shifts: Shifts) -> Iterator[str]:
    """The CSV's lines, header first, as JSON lines. A row that cannot be answered has an `error` and no quantities.

    Raises Impossible where there is no such header, or nothing below it.
    """
    number = 0
    for number, row in enumerate(csv_rows.records(rows), start=1):
        name = row.get("id", "").strip() or f"row {number}"
        try:
            found = as_json(estimate(published_rows.question(row), shifts))
        except published_rows.Impossible as error:
            found = {"error": str(error)}
        yield json.dumps({"id": name} | found)
    if not number:
        raise published_rows.Impossible("no rows below the header")
