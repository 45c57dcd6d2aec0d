"""What a few measured points of a deployment bring: groups that the fit has not seen, with and without some of their own rows."""

from __future__ import annotations

import numpy as np

from bench.performance.arrays import NAMES, Data, constants_of
from planner.performance.calibrate import Point, moved

DRAWS, POINTS = 5, 3
FEWEST = 2 * POINTS
"""Rows of the quantity that a group must have to be drawn from."""


def with_points(data: Data, constants: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Errors (predicted - measured logarithm) of the rows that were not drawn, draws x rows, NaN elsewhere: without and with the points.

    `constants` are each row's, by a fit that has not seen its group.
    """
    random = np.random.default_rng(0)
    before, after = np.full((2, DRAWS, data.count), np.nan)
    quantity = np.array([o.target.split("_")[1] for o in data.rows])
    for group in np.unique(data.group):
        for name in np.unique(quantity):
            rows = np.flatnonzero((data.group == group) & (quantity == name) & ~data.kept_out)
            if len(rows) < FEWEST:
                continue
            for draw in range(DRAWS):
                points = random.choice(rows, POINTS, replace=False)
                rest = np.setdiff1d(rows, points)
                before[draw, rest] = data.predicted(constants, rest) - data.logs[rest]
                after[draw, rest] = data.predicted(_moved(data, constants, points), rest) - data.logs[rest]
    return before, after


def _moved(data: Data, constants: np.ndarray, points: np.ndarray) -> np.ndarray:
    own = [(data.target[i], data.rows[i].work, constants_of(constants[i]), data.logs[i]) for i in points]
    shift = moved([Point(target=target, inputs=work, constants=of_row, measured=log) for target, work, of_row, log in own])
    return constants + [shift.get(name, 0.0) for name in NAMES]
