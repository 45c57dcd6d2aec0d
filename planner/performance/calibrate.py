"""Moves the constants to a user's own measured points, each constant as easily as it differs between machines, engines and sources.

For each quantity, it chooses the shifts that minimise the points' soft-L1 error over `NOISE` plus (shift / spread)^2 for each constant. A
few points thus say whether their deployment differs in the reading of weights, the products or the overheads, whereas one factor would
move all estimates in the same way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from planner.performance import csv_rows, published_rows
from planner.performance.constants import CONSTANTS, Shifts, shifted
from planner.performance.estimate import estimate, logarithm, prepared, rate_follows, summed_times, target
from planner.performance.model_inputs import ModelInputs
from planner.performance.operations.served import Times
from planner.performance.published_rows import Impossible
from planner.performance.questions import Question

NOISE, OFFSET = 0.05, 0.05
"""Standard deviations of a point's logarithm: what no constant explains, and what all points of a deployment have in common."""
FAR = 3.0
"""Errors of more standard deviations than this count less and less."""
_ROUNDS, _NUDGE = 5, 1e-5
_COLUMNS = {"ttft": ("ttft_ms", 1e-3), "tpot": ("tpot_ms", 1e-3), "rate": ("output_tok_s", 1.0)}


@dataclass(frozen=True, kw_only=True)
class Point:
    """One measured quantity, with what the model needs to predict it."""

    target: str
    """A key of `estimate.TARGETS`."""
    inputs: ModelInputs | SimpleNamespace
    constants: SimpleNamespace
    measured: float
    """The logarithm of the seconds or of the output tokens a second."""
    summed: Times | None = None
    """The times by the table of operations, where it covers the question."""

    def error(self, shift: dict[str, float]) -> float:
        """Returns the measured minus the predicted logarithm, with the constants moved by `shift`."""
        return self.measured - logarithm(self.target, self.inputs, self.constants, shifted(self.constants, shift), self.summed)


def spread(name: str) -> float:
    """Returns the standard deviation of a constant between deployments."""
    if name.endswith("_offset"):
        return OFFSET
    return math.sqrt(sum(deviation**2 for level, deviation in CONSTANTS[name].spreads().items() if level != "all"))


def moved(points: list[Point]) -> dict[str, float]:
    """Returns the shifts of the constants that fit the points of one quantity, by Gauss-Newton steps."""
    unmoved = {name: 0.0 for name in CONSTANTS if spread(name) > 0}
    names = [name for name in unmoved if any(point.error(unmoved) != point.error(unmoved | {name: _NUDGE}) for point in points)]
    shift = dict.fromkeys(names, 0.0)
    for _ in range(_ROUNDS):
        errors = [point.error(shift) for point in points]
        slopes = [
            [(error - point.error(shift | {name: shift[name] + _NUDGE})) / _NUDGE for name in names]
            for point, error in zip(points, errors, strict=True)
        ]
        weights = [1 / (NOISE**2 * math.sqrt(1 + (error / (FAR * NOISE)) ** 2)) for error in errors]
        normal = [[(i == j) / spread(name) ** 2 for j in range(len(names))] for i, name in enumerate(names)]
        right = [0.0] * len(names)
        for row, error, weight in zip(slopes, errors, weights, strict=True):
            step = error + sum(slope * shift[name] for slope, name in zip(row, names, strict=True))
            for i, slope in enumerate(row):
                if slope:
                    right[i] += weight * slope * step
                    normal[i] = [cell + weight * slope * other for cell, other in zip(normal[i], row, strict=True)]
        shift = dict(zip(names, _solved(normal, right), strict=True))
    return shift


def _solved(matrix: list[list[float]], right: list[float]) -> list[float]:
    """Solves a system with a positive definite matrix by elimination."""
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    for i, pivot in enumerate(rows):
        for below in rows[i + 1 :]:
            if factor := below[i] / pivot[i]:
                below[i:] = [cell - factor * above for cell, above in zip(below[i:], pivot[i:], strict=True)]
    solution: list[float] = []
    for i, row in reversed(list(enumerate(rows))):
        solution.insert(0, (row[-1] - sum(cell * value for cell, value in zip(row[i + 1 : -1], solution, strict=True))) / row[i])
    return solution


def shifts(path: Path) -> Shifts:
    """Returns the shifts by quantity, for the quantities that a CSV with the measurements' columns has points of.

    Raises OSError, and Impossible with a line for each row that cannot be read, or where no row has a measured value.
    """
    points: dict[str, list[Point]] = {}
    problems: list[str] = []
    with csv_rows.opened(path) as file:
        try:
            for number, row in enumerate(csv_rows.records(file), start=1):
                try:
                    _add(row, points)
                except Impossible as error:
                    problems.append(f"{path}: {row.get('id', '').strip() or f'row {number}'}: {error}")
        except Impossible as error:
            problems.append(f"{path}: {error}")
    if problems or not points:
        nothing = f"{path}: no row has a value in {', '.join(column for column, _ in _COLUMNS.values())}"
        raise Impossible("\n".join(problems) or nothing)
    return {quantity: moved(measured) for quantity, measured in points.items()}


def _add(row: dict[str, str], points: dict[str, list[Point]]) -> None:
    """Adds what a row has measured to the points of each quantity. Raises Impossible."""
    question, inputs, constants = prepared(published_rows.question(row))
    targets = {quantity: name for quantity in _COLUMNS if (name := target(question, quantity))}
    measured = {
        quantity: published_rows.number(row, column, 1e-6, 1e9) * unit
        for quantity, (column, unit) in _COLUMNS.items()
        if quantity in targets and row.get(column, "").strip()
    }
    summed = summed_times(question, inputs, constants)
    if rate_follows(question) and (rate := measured.pop("rate", None)) and "tpot" not in measured:
        measured["tpot"] = _per_token_s(question, rate, measured.get("ttft"))
    for quantity, value in measured.items():
        point = Point(target=targets[quantity], inputs=inputs, constants=constants, measured=math.log(value), summed=summed)
        points.setdefault(quantity, []).append(point)


def _per_token_s(question: Question, rate: float, first_s: float | None) -> float:
    """Returns the seconds per token behind the output tokens a second of a closed loop, by Little's law, as `estimate` computes the rate.

    `first_s` is the measured time to the first token; without it, the estimate is used. Raises Impossible where no GPU is that fast.
    """
    answer = estimate(question)
    request_s = question.replicas * question.concurrency * question.output_tokens / rate
    further = question.output_tokens - 1
    if request_s < further * answer.floor_tpot_s:
        raise Impossible(f"output_tok_s {rate:g}: more than the GPUs could produce with {question.concurrency:g} requests in flight")
    if first_s is None:
        assert answer.ttft_s, "a question whose rate follows has both times"
        first_s = answer.ttft_s.value
    return max((request_s - first_s) / further, answer.floor_tpot_s)
