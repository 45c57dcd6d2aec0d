"""A user's own measured points: they move the constants, each as easily as it differs between machines, engines and sources.

By quantity, the shifts that make least: the points' errors by a soft L1 over `NOISE`, and (shift / spread)^2 of each constant. A few
points thus say whether it is the reading of weights, the products or the overheads that their deployment does otherwise, where one
factor would move all rows alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from planner.performance import csv_rows, published_rows
from planner.performance.constants import CONSTANTS, Shifts, shifted
from planner.performance.estimate import TARGETS, estimate, prepared, rate_follows, target
from planner.performance.published_rows import Impossible
from planner.performance.questions import Question, Work

NOISE, OFFSET = 0.05, 0.05
"""Standard deviations of a point's logarithm that no constant explains, and of what a deployment's points have in common."""
FAR = 3.0
"""Standard deviations from which a point counts less and less."""
_ROUNDS, _NUDGE = 5, 1e-5
_COLUMNS = {"ttft": ("ttft_ms", 1e-3), "tpot": ("tpot_ms", 1e-3), "rate": ("output_tok_s", 1.0)}


@dataclass(frozen=True, kw_only=True)
class Point:
    target: str
    work: Work | SimpleNamespace
    constants: SimpleNamespace
    measured: float
    """Logarithm of seconds, or of output tokens a second."""

    def error(self, shift: dict[str, float]) -> float:
        return self.measured - TARGETS[self.target](self.work, shifted(self.constants, shift), math.log)


def spread(name: str) -> float:
    """Standard deviation of a constant between deployments."""
    if name.endswith("_offset"):
        return OFFSET
    return math.sqrt(sum(s * s for level, s in CONSTANTS[name].spreads().items() if level != "all"))


def moved(points: list[Point]) -> dict[str, float]:
    """Shifts of the constants that the points of one quantity ask for, by Gauss-Newton steps."""
    still = {n: 0.0 for n in CONSTANTS if spread(n) > 0}
    names = [n for n in still if any(p.error(still) != p.error(still | {n: _NUDGE}) for p in points)]
    shift = dict.fromkeys(names, 0.0)
    for _ in range(_ROUNDS):
        errors = [p.error(shift) for p in points]
        slopes = [[(e - p.error(shift | {n: shift[n] + _NUDGE})) / _NUDGE for n in names] for p, e in zip(points, errors, strict=True)]
        weights = [1 / (NOISE**2 * math.sqrt(1 + (e / (FAR * NOISE)) ** 2)) for e in errors]
        normal = [[(i == j) / spread(a) ** 2 for j in range(len(names))] for i, a in enumerate(names)]
        right = [0.0] * len(names)
        for row, error, weight in zip(slopes, errors, weights, strict=True):
            wanted = error + sum(slope * shift[n] for slope, n in zip(row, names, strict=True))
            for i, slope in enumerate(row):
                if slope:
                    right[i] += weight * slope * wanted
                    normal[i] = [cell + weight * slope * other for cell, other in zip(normal[i], row, strict=True)]
        shift = dict(zip(names, _solved(normal, right), strict=True))
    return shift


def _solved(matrix: list[list[float]], right: list[float]) -> list[float]:
    """Of a positive definite matrix, by elimination."""
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    for i, pivot in enumerate(rows):
        for below in rows[i + 1 :]:
            if factor := below[i] / pivot[i]:
                below[i:] = [cell - factor * above for cell, above in zip(below[i:], pivot[i:], strict=True)]
    found: list[float] = []
    for i, row in reversed(list(enumerate(rows))):
        found.insert(0, (row[-1] - sum(cell * value for cell, value in zip(row[i + 1 : -1], found, strict=True))) / row[i])
    return found


def shifts(path: Path) -> Shifts:
    """By quantity; one without a point has none.

    The file has the measurements' columns. Raises OSError, and Impossible with a line for each row that cannot be read, or where nothing
    was measured.
    """
    points: dict[str, list[Point]] = {}
    wrong: list[str] = []
    with csv_rows.opened(path) as file:
        try:
            for number, row in enumerate(csv_rows.records(file), start=1):
                try:
                    _add(row, points)
                except Impossible as error:
                    wrong.append(f"{path}: {row.get('id', '').strip() or f'row {number}'}: {error}")
        except Impossible as error:
            wrong.append(f"{path}: {error}")
    if wrong or not points:
        nothing = f"{path}: no row has a value in {', '.join(column for column, _ in _COLUMNS.values())}"
        raise Impossible("\n".join(wrong) or nothing)
    return {quantity: moved(found) for quantity, found in points.items()}


def _add(row: dict[str, str], points: dict[str, list[Point]]) -> None:
    """Adds what a row has measured, by quantity. Raises Impossible."""
    question, work, constants = prepared(published_rows.question(row))
    targets = {quantity: name for quantity in _COLUMNS if (name := target(question, quantity))}
    measured = {
        quantity: published_rows.number(row, column, 1e-6, 1e9) * unit
        for quantity, (column, unit) in _COLUMNS.items()
        if quantity in targets and row.get(column, "").strip()
    }
    if rate_follows(question) and (rate := measured.pop("rate", None)) and "tpot" not in measured:
        measured["tpot"] = _per_token_s(question, rate, measured.get("ttft"))
    for quantity, value in measured.items():
        point = Point(target=targets[quantity], work=work, constants=constants, measured=math.log(value))
        points.setdefault(quantity, []).append(point)


def _per_token_s(question: Question, rate: float, first_s: float | None) -> float:
    """Seconds a token that output tokens a second of a closed loop stand for, by Little's law: `estimate` answers the rate by it too.

    `first_s` is the time to the first token where it was measured; the estimate's otherwise. Raises Impossible where no GPU is so fast.
    """
    found = estimate(question)
    request_s = question.replicas * question.concurrency * question.output_tokens / rate
    further = question.output_tokens - 1
    if request_s < further * found.floor_tpot_s:
        raise Impossible(f"output_tok_s {rate:g}: more than the GPUs could give with {question.concurrency:g} requests in flight")
    if first_s is None:
        assert found.ttft_s, "a question whose rate follows has both times"
        first_s = found.ttft_s.value
    return max((request_s - first_s) / further, found.floor_tpot_s)
