"""A user's own measured points: one scale factor a quantity."""

from __future__ import annotations

import math
import statistics
from pathlib import Path

from planner.performance import reading, tables
from planner.performance.estimate import Answer, Range, estimate
from planner.performance.reading import Impossible

_COLUMNS = {"ttft_s": ("ttft_ms", 1e-3), "tpot_s": ("tpot_ms", 1e-3), "output_tok_s": ("output_tok_s", 1.0)}


def factors(path: Path) -> dict[str, float]:
    """Measured over estimated, the median of the points' logarithms, by quantity; a quantity without a point has no factor.

    The file has the measurements' columns. Raises OSError, and Impossible with a line for each row that cannot be read, or where nothing
    was measured.
    """
    ratios: dict[str, list[float]] = {}
    wrong: list[str] = []
    with tables.opened(path) as file:
        try:
            for number, row in enumerate(tables.records(file), start=1):
                try:
                    _compare(row, ratios)
                except Impossible as error:
                    wrong.append(f"{path}: {row.get('id', '').strip() or f'row {number}'}: {error}")
        except Impossible as error:
            wrong.append(f"{path}: {error}")
    if wrong or not ratios:
        nothing = f"{path}: no row has a value in {', '.join(column for column, _ in _COLUMNS.values())}"
        raise Impossible("\n".join(wrong) or nothing)
    return {quantity: math.exp(statistics.median(logs)) for quantity, logs in ratios.items()}


def _compare(row: dict[str, str], ratios: dict[str, list[float]]) -> None:
    """Adds a row's measured over estimated values, as logarithms. Raises Impossible."""
    found = estimate(reading.question(row))
    for quantity, (column, unit) in _COLUMNS.items():
        part = getattr(found, quantity)
        if part is not None and row.get(column, "").strip():
            ratios.setdefault(quantity, []).append(math.log(reading.number(row, column, 1e-6, 1e9) * unit / part.value))


def applied(answer: Answer, scale: dict[str, float]) -> Answer:
    """The answer with each quantity scaled, but no time per token below the floor."""

    def scaled(quantity: str, least: float = 0.0) -> Range | None:
        part, factor = getattr(answer, quantity), scale.get(quantity, 1.0)
        if part is None:
            return None
        return Range(**{name: max(getattr(part, name) * factor, least) for name in ("value", "low", "high")})

    return Answer(
        ttft_s=scaled("ttft_s"),
        tpot_s=scaled("tpot_s", answer.floor_tpot_s),
        output_tok_s=scaled("output_tok_s"),
        floor_tpot_s=answer.floor_tpot_s,
        extrapolated=answer.extrapolated,
    )
