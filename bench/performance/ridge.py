"""The ridge: each constant's differences by level, found by Gauss-Newton steps over the logarithm of each quantity."""

from __future__ import annotations

import copy
from collections import Counter, defaultdict
from collections.abc import Callable

import numpy as np
import scipy.sparse as sparse
from scipy.linalg import cho_factor, cho_solve

from bench.performance.arrays import NAMES, STARTS, Data
from planner.performance.calibrate import NOISE as POINT_NOISE
from planner.performance.calibrate import spread
from planner.performance.constants import CONSTANTS

NOISE = {"tpot": 0.0254, "rate": 0.0254, "single_ttft": 0.04, "served_ttft": 0.05}
"""Standard deviation of a row's logarithm that the equations cannot explain, by the end of its target's name."""
SMALLEST_SPREAD = 0.01
FAR = 3.0
"""Standard deviations from which a row counts less and less (soft L1)."""
STEPS, REFIT_STEPS, TOLERANCE, OWN_ROUNDS = 40, 3, 2e-5, 4
FEW_ROWS = 500
"""Up to which it is quicker to take rows out of the normal equations than to solve them anew."""
SHARES = (1.0, 0.6, 0.35, 0.15, 0.05)
CLAMP, TAKEN = 0.8, 1.5
"""Most that one step moves a column, and that a group's absence may."""


Differences = dict[tuple[str, str, str], float]
"""Fitted differences by (constant, level, key)."""


class Design:
    """One column for each (constant, level, key) that the training rows show; columns of the same rows are solved as one."""

    def __init__(self, data: Data, train: np.ndarray):
        columns: dict[tuple[str, str, str], int] = {}
        spreads, rows, cols, constants = [], [], [], []
        allowed = {j: {level: s for level, s in c.spreads().items() if s >= SMALLEST_SPREAD} for j, c in enumerate(CONSTANTS.values())}
        for i, observation in enumerate(data.rows):
            for j in data.used[observation.target]:
                for level, sd in allowed[j].items():
                    key = observation.work.keys[level]
                    column = columns.get((NAMES[j], level, key))
                    if column is None:
                        if not train[i] or (level == "parallel" and not key):
                            continue
                        column = columns[NAMES[j], level, key] = len(columns)
                        spreads.append(sd)
                    rows.append(i), cols.append(column), constants.append(j)
        self.columns, self.spreads = columns, np.array(spreads)
        rows, cols, constants = np.array(rows), np.array(cols), np.array(constants)
        self.all_rows = sparse.csr_matrix(
            (np.ones(len(rows)), (rows * len(NAMES) + constants, cols)), shape=(data.count * len(NAMES), len(columns))
        )
        self._merge(rows, cols, constants, train)
        self.count = data.count

    def _merge(self, rows: np.ndarray, cols: np.ndarray, constants: np.ndarray, train: np.ndarray) -> None:
        seen = defaultdict(list)
        for row, column in zip(rows, cols, strict=True):
            if train[row]:
                seen[column].append(row)
        constant_of = dict(zip(cols, constants, strict=True))
        merged: dict[tuple, int] = {}
        self.merged = np.array([merged.setdefault((constant_of[c], tuple(seen[c])), len(merged)) for c in range(len(self.spreads))])
        variance = np.bincount(self.merged, self.spreads**2)
        self.share, self.variance = self.spreads**2 / variance[self.merged], variance
        first = np.zeros(len(self.spreads), bool)
        first[np.unique(self.merged, return_index=True)[1]] = True
        kept = first[cols] & train[rows]
        members = defaultdict(list)
        for row, column, constant in zip(rows[kept], self.merged[cols[kept]], constants[kept], strict=True):
            members[row].append((column, constant))
        alike = defaultdict(list)
        for row, entries in members.items():
            alike[tuple(entries)].append(row)
        self.blocks = [(np.array(found), *np.array(entries).T) for entries, found in alike.items()]

    def solved(self, differences: Differences) -> np.ndarray:
        """The merged columns that another design's differences come to."""
        return np.bincount(self.merged, [differences.get(column, 0.0) for column in self.columns], len(self.variance))

    def differences(self, solved: np.ndarray) -> np.ndarray:
        return solved[self.merged] * self.share

    def values(self, solved: np.ndarray) -> np.ndarray:
        return STARTS + (self.all_rows @ self.differences(solved)).reshape(self.count, len(NAMES))

    def normal(self, slopes: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """J' W J over the merged columns; rows with the same columns are multiplied at once."""
        square = np.zeros((len(self.variance), len(self.variance)))
        for rows, columns, constants in self.blocks:
            part = slopes[np.ix_(rows, constants)]
            square[np.ix_(columns, columns)] += (part * weight[rows, None]).T @ part
        return square

    def gradient(self, slopes: np.ndarray, weighted: np.ndarray) -> np.ndarray:
        """J' e over the merged columns, of weighted errors e."""
        found = np.zeros(len(self.variance))
        for rows, columns, constants in self.blocks:
            found[columns] += slopes[np.ix_(rows, constants)].T @ weighted[rows]
        return found

    def jacobian(self, slopes: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """J of some training rows."""
        position = {row: i for i, row in enumerate(wanted)}
        found = np.zeros((len(wanted), len(self.variance)))
        for rows, columns, constants in self.blocks:
            for row in rows:
                if row in position:
                    found[position[row], columns] = slopes[row, constants]
        return found


class Objective:
    """What a fit makes least: rows' errors by a soft L1, weighted by the size of their group, and the ridge."""

    def __init__(self, data: Data, train: np.ndarray, near: Differences | None = None):
        self.data, self.train, self.design = data, train, Design(data, train)
        sizes = Counter(zip(data.group, data.target, strict=True))
        size = np.array([sizes[pair] for pair in zip(data.group, data.target, strict=True)])
        self.far = FAR * np.array([next(sd for end, sd in NOISE.items() if target.endswith(end)) for target in data.target])
        self.base = np.where(train, (size / 10) ** -0.25 * (FAR / self.far) ** 2, 0.0)
        self.start = self.design.solved(near or {})

    def __call__(self, solved: np.ndarray) -> float:
        far = (self.data.logs - self.data.predicted(self.design.values(solved))) / self.far
        return float(2 * np.sum(self.base * self.far**2 * (np.sqrt(1 + far**2) - 1)) + np.sum(solved**2 / self.design.variance))

    def without(self, left: np.ndarray) -> Objective:
        """The same without the rows that `left` marks."""
        found = copy.copy(self)
        found.base = np.where(left, 0.0, self.base)
        return found

    def sloped(self, solved: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Slopes, errors and weights of the rows at a solution."""
        predicted, slopes = self.data.linearised(self.design.values(solved), self.data.used)
        error = self.data.logs - predicted
        return slopes, error, self.base / np.sqrt(1 + (error / self.far) ** 2)

    def factor(self, slopes: np.ndarray, weight: np.ndarray) -> tuple:
        """Returns the Cholesky factor of the normal equations, as scipy's `cho_solve` takes it."""
        normal = self.design.normal(slopes, weight)
        normal[np.diag_indices_from(normal)] += 1 / self.design.variance
        return cho_factor(normal, lower=True, overwrite_a=True, check_finite=False)

    def stepped(self, solved: np.ndarray, reached: float, sloped: tuple, direction) -> tuple[np.ndarray, float] | None:
        """The best point along the Gauss-Newton direction and the objective there; None where none is better than what is reached.

        `direction` solves the normal equations for their right side.
        """
        slopes, error, weight = sloped
        move = direction(self.design.gradient(slopes, weight * error) - solved / self.design.variance)
        least, share = min((self(solved + share * np.clip(move, -CLAMP, CLAMP)), share) for share in SHARES)
        if least > reached - TOLERANCE * abs(reached):
            return None
        return solved + share * np.clip(move, -CLAMP, CLAMP), least


def own_shifts(data: Data, train: np.ndarray, values: np.ndarray, groups: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Returns, for each combination (or all), what its own rows add to its constants beyond the ridge, as a user's points would
    (planner/performance/calibrate.py).

    It comes after the ridge, so that nothing of a combination that others could learn from is taken by it alone.
    """
    predicted, slopes = data.linearised(values, data.used)
    error, scaled = data.logs - predicted, slopes * [spread(name) for name in NAMES]
    found = {}
    for group in np.unique(data.group[train]) if groups is None else groups:
        rows = np.flatnonzero((data.group == group) & train)
        part, moved = scaled[rows], np.zeros(len(NAMES))
        for _ in range(OWN_ROUNDS):
            weight = 1 / (POINT_NOISE**2 * np.sqrt(1 + ((error[rows] - part @ moved) / (FAR * POINT_NOISE)) ** 2))
            moved = np.linalg.solve((part.T * weight) @ part + np.eye(len(NAMES)), part.T @ (weight * error[rows]))
        found[group] = moved * [spread(name) for name in NAMES]
    return found


def fit(data: Data, train: np.ndarray, near: Differences | None = None) -> tuple[Differences, np.ndarray]:
    """Differences by (constant, level, key), and the predicted logarithms of all rows. `train` marks the rows to learn from.

    Steps start at `near`, a fit of more rows, and go as far along the Gauss-Newton direction as lowers the objective most.
    """
    objective = Objective(data, train, near)
    solved, design = objective.start, objective.design
    reached = objective(solved)
    for _ in range(STEPS):
        sloped = objective.sloped(solved)
        factor = objective.factor(sloped[0], sloped[2])
        stepped = objective.stepped(solved, reached, sloped, lambda right, factor=factor: cho_solve(factor, right))
        if stepped is None:
            break
        solved, reached = stepped
    differences, values = dict(zip(design.columns, design.differences(solved), strict=True)), design.values(solved)
    for group, shift in own_shifts(data, train, values).items():
        values[data.group == group] += shift
        differences |= {(name, "combination", group): by for name, by in zip(NAMES, shift, strict=True)}
    return differences, data.predicted(values)


def without_each_group(data: Data, train: np.ndarray, whole: Differences) -> np.ndarray:
    """Each row's constants (their logarithms) by the fit that its group's absence would give.

    The columns that a group's rows move are taken back by the linearised fit (the rows' errors over 1 - leverage, as a block);
    the equations are to be run on what is left. `whole` is the fit of all rows that `train` marks.
    """
    objective = Objective(data, train, whole)
    design, solved = objective.design, objective.start
    slopes, error, weight = objective.sloped(solved)
    factor, found = objective.factor(slopes, weight), design.values(solved)
    for group in np.unique(data.group):
        rows = np.flatnonzero(data.group == group)
        seen = rows[train[rows]]
        if not len(seen):
            continue
        jacobian = design.jacobian(slopes, seen)
        spread = cho_solve(factor, jacobian.T)
        alone = np.linalg.solve(np.eye(len(seen)) - jacobian @ spread * weight[seen], error[seen])
        taken = np.clip(spread @ (weight[seen] * alone), -TAKEN, TAKEN)
        found[rows] = design.values(solved - taken)[rows]
    return found


class Refits:
    """Fits without some of the rows, by a few steps from the fit of all: 40 would move the predictions by 0.5 to 1 % more at the median."""

    def __init__(self, data: Data, train: np.ndarray, whole: Differences):
        self.data, self.train, self.objective = data, train, Objective(data, train, whole)
        self.sloped = self.objective.sloped(self.objective.start)
        self.factor = self.objective.factor(self.sloped[0], self.sloped[2])

    def without(self, left: np.ndarray) -> np.ndarray:
        """Predicted logarithms of the rows that `left` marks, by the fit of the other training rows."""
        data, objective = self.data, self.objective.without(left)
        solved, direction = objective.start, self._direction(left, objective)
        reached = objective(solved)
        for _ in range(REFIT_STEPS):
            stepped = objective.stepped(solved, reached, objective.sloped(solved), direction)
            if stepped is None:
                break
            solved, reached = stepped
        values, train = objective.design.values(solved), self.train & ~left
        both = np.intersect1d(data.group[left], data.group[train])
        if len(both):
            for group, shift in own_shifts(data, train, values, both).items():
                values[data.group == group] += shift
        return data.predicted(values, np.flatnonzero(left))

    def _direction(self, left: np.ndarray, objective: Objective) -> Callable[[np.ndarray], np.ndarray]:
        """Solves the normal equations of the start without the rows left out: those of all rows, less a few (Woodbury), or anew."""
        slopes, _, weight = self.sloped
        rows = np.flatnonzero(left & (weight > 0))
        if len(rows) > FEW_ROWS:
            factor = objective.factor(slopes, np.where(left, 0.0, weight))
            return lambda right: cho_solve(factor, right)
        jacobian = objective.design.jacobian(slopes, rows)
        spread = cho_solve(self.factor, jacobian.T)
        inner = np.linalg.inv(np.diag(1 / weight[rows]) - jacobian @ spread)

        def solve(right: np.ndarray) -> np.ndarray:
            found = cho_solve(self.factor, right)
            return found + spread @ (inner @ (jacobian @ found))

        return solve
