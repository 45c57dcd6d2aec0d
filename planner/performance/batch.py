"""`estimate --batch FILE`: one JSON line for each row of a CSV with the measurements' columns."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from planner.performance import csv_rows, published_rows
from planner.performance.constants import Shifts
from planner.performance.estimate import Answer, Range, estimate

_MILLI = 1e3


def scaled(estimated: Range | None, factor: float) -> dict[str, float] | None:
    """Returns a range times a factor as JSON, with four significant digits; None for None."""
    if estimated is None:
        return None
    return {name: float(f"{getattr(estimated, name) * factor:.4g}") for name in ("value", "low", "high")}


def as_json(answer: Answer) -> dict[str, object]:
    """Returns an answer as JSON: milliseconds, and output tokens a second."""
    return {
        "ttft_ms": scaled(answer.ttft_s, _MILLI),
        "tpot_ms": scaled(answer.tpot_s, _MILLI),
        "output_tok_s": scaled(answer.output_tok_s, 1.0),
        "extrapolated": answer.extrapolated,
    }


def lines(rows: Iterable[str], shifts: Shifts) -> Iterator[str]:
    """Answers the rows of a CSV, whose first line is the header, as JSON lines. A row without an answer has an `error` and no quantities.

    Raises Impossible where there is no such header, or nothing below it.
    """
    number = 0
    for number, row in enumerate(csv_rows.records(rows), start=1):
        name = row.get("id", "").strip() or f"row {number}"
        try:
            answer = as_json(estimate(published_rows.question(row), shifts))
        except published_rows.Impossible as error:
            answer = {"error": str(error)}
        yield json.dumps({"id": name} | answer)
    if not number:
        raise published_rows.Impossible("no rows below the header")
