"""Observations as arrays, on which the performance model's equations run."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from bench.performance.observations import FIELDS, Observation
from planner.performance import estimate, published_rows
from planner.performance.constants import CONSTANTS

NAMES = list(CONSTANTS)
LOGARITHMIC = np.array([c.logarithmic for c in CONSTANTS.values()])
STARTS = np.array([np.log(c.start) if c.logarithmic else c.start for c in CONSTANTS.values()])


def constants_of(values: np.ndarray) -> SimpleNamespace:
    """Constants by name, of one row or of many, from the logarithms that are fitted."""
    return SimpleNamespace(**{n: np.exp(values[..., j]) if LOGARITHMIC[j] else values[..., j] for j, n in enumerate(NAMES)})


class Data:
    """The observations as arrays."""

    def __init__(self, rows: list[Observation]):
        self.rows = rows
        self.count = len(rows)
        self.logs = np.log([o.value for o in rows])
        self.target = np.array([o.target for o in rows])
        self.group = np.array([o.group for o in rows])
        self.kept_out = np.array([o.kept_out for o in rows])
        self.published = np.array([o.row["source_repo_or_page"] != published_rows.OUR_OWN for o in rows])
        arrays = {name: np.array([getattr(o.work, name) for o in rows]) for name in FIELDS}
        self.parts = {name: np.flatnonzero(self.target == name) for name in estimate.TARGETS}
        self.works = {name: SimpleNamespace(**{f: a[i] for f, a in arrays.items()}) for name, i in self.parts.items()}
        slopes = self.linearised(np.tile(STARTS, (self.count, 1)), None)[1]
        self.used = {name: np.flatnonzero(np.abs(slopes[i]).max(axis=0) > 1e-9) for name, i in self.parts.items() if len(i)}

    def predicted(self, values: np.ndarray, wanted: np.ndarray | None = None) -> np.ndarray:
        """Logarithms at each row's constants; of the wanted rows alone if given."""
        rows = np.arange(self.count) if wanted is None else wanted
        found = np.zeros(len(rows))
        for name, members in self.parts.items():
            where = np.flatnonzero(self.target[rows] == name)
            if len(where):
                at = np.searchsorted(members, rows[where])
                work = SimpleNamespace(**{field: array[at] for field, array in vars(self.works[name]).items()})
                found[where] = estimate.TARGETS[name](work, constants_of(values[rows[where]]), np.log)
        return found

    def linearised(self, values: np.ndarray, used: dict[str, np.ndarray] | None) -> tuple[np.ndarray, np.ndarray]:
        """Predicted logarithms and their derivatives by each constant, at each row's constants."""
        predicted, slopes, nudge = np.zeros(self.count), np.zeros((self.count, len(NAMES))), 1e-5
        for name, i in self.parts.items():
            if not len(i):
                continue
            k = vars(constants_of(values[i]))
            function, work = estimate.TARGETS[name], self.works[name]
            predicted[i] = function(work, SimpleNamespace(**k), np.log)
            for j in used[name] if used else range(len(NAMES)):
                moved = k[NAMES[j]] * np.exp(nudge) if LOGARITHMIC[j] else k[NAMES[j]] + nudge
                slopes[i, j] = (function(work, SimpleNamespace(**{**k, NAMES[j]: moved}), np.log) - predicted[i]) / nudge
        return predicted, slopes
