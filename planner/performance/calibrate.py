"""A user's own measured points: one scale factor a quantity."""

from __future__ import annotations

import math
import statistics
from pathlib import Path

from planner.performance import reading
from planner.performance.estimate import Answer, Range, estimate
from planner.performance.reading import Impossible

_COLUMNS = {"ttft_s": ("ttft_ms", 1e-3), "tpot_s": ("tpot_ms", 1e-3), "output_tok_s": ("output_tok_s", 1.0)}


def factors(path: Path) -> dict[str, float]:
    """Measured over estimated, the median of the points' logarithms, by quantity; a quantity without a point has no factor.

    The file has the measurements' columns. Raises Impossible where a row cannot be read or nothing was measured, OSError.
    """
    ratios: dict[str, list[float]] = {}
    for row in reading.rows(path.resolve()):
        found = estimate(reading.question(row))
        for quantity, (column, unit) in _COLUMNS.items():
            part = getattr(found, quantity)
            if part is not None and row.get(column):
                ratios.setdefault(quantity, []).append(math.log(reading.number(row, column, 1e-6, 1e9) * unit / part.value))
    if not ratios:
        raise Impossible(f"{path}: no row has a value in {', '.join(column for column, _ in _COLUMNS.values())}")
    return {quantity: math.exp(statistics.median(logs)) for quantity, logs in ratios.items()}


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
