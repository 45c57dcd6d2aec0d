# /// script
# requires-python = ">=3.11"
# dependencies = ["numpy==2.4.6", "scipy==1.17.1", "pydantic==2.14.4", "PyYAML==6.0.4"]
# ///
"""Fits the constants of `planner/performance` to `measurements.csv` of `planner/data/performance` and writes `fitted.json` beside it.

    uv run --script bench/fit_performance.py [--folds 16] [--write]

The equations are those of `planner/performance/model.py`, on arrays. The fit is a ridge: Gauss-Newton steps over the logarithm of
each quantity, every row weighted by the size of its group, far rows by a soft L1. `--folds` leaves out whole (architecture, GPU
family, engine) groups and fits again; ranges and the printed error are of rows so left out.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import datetime
import json
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import scipy.sparse as sparse
from scipy.linalg import cho_factor, cho_solve

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
from planner.performance import estimate, reading, workload  # noqa: E402
from planner.performance.constants import CONSTANTS  # noqa: E402

NAMES = list(CONSTANTS)
LOGARITHMIC = np.array([c.logarithmic for c in CONSTANTS.values()])
STARTS = np.array([np.log(c.start) if c.logarithmic else c.start for c in CONSTANTS.values()])
FIELDS = [field.name for field in dataclasses.fields(workload.Work) if field.name != "keys"]
NOISE = 0.0254
"""Standard deviation of a row's logarithm that the equations cannot explain; found with the spreads."""
QUANTILES = (0.07, 0.93)
"""Of the ranges: a little wider than 80 %, as a new group's error is wider than the groups' the quantiles come from."""

SMALLEST_SPREAD = 0.003
DAMPING = (0.4, 0.6, 0.8)
STEPS = 12
CLAMP = 0.8


def distrusted(row: dict[str, str]) -> str:
    """Why a row is kept out of the fit (it still counts in the error); an empty text for the rest."""
    if row["id"].startswith("mlc") and row["engine"] == "vLLM":
        return "vLLM over PCIe, 2.5 times slower than its neighbours"
    if row["id"].startswith("mlp") and row["tpot_ms"]:
        return "MLPerf server: time per token under a load that is not stated"
    if row["engine"] == "vLLM" and row["engine_version"] == "0.12.0" and row["model"].startswith("Llama-3.1-8B"):
        return "time per token shows no prefill of other requests"
    if row["engine"] == "vLLM" and row["model"] == "gpt-oss-120b" and row["source_date"].startswith("2025-12"):
        return "512 requests, but the time per token of a few: a batch limit that is not stated"
    return ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Observation:
    row: dict[str, str]
    question: workload.Question
    work: workload.Work
    target: str
    value: float
    """Seconds, or output tokens a second."""
    kept_out: bool

    @property
    def group(self) -> str:
        return "|".join((self.question.architecture.key, self.question.gpu.family, self.question.engine))


def observations(path: Path) -> tuple[list[Observation], Counter[str]]:
    """One for each quantity that a row reports and the model answers, and why rows give none."""
    found, skipped = [], Counter()
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            try:
                question = reading.question(row)
            except reading.Impossible as error:
                skipped[str(error)[:60]] += 1
                continue
            question = with_measured_load(question, row)
            work = workload.work(question)
            for quantity, column, scale in (("ttft", "ttft_ms", 1e-3), ("tpot", "tpot_ms", 1e-3), ("rate", "output_tok_s", 1.0)):
                target = estimate.target(question, quantity)
                if target and row[column]:
                    value = float(row[column]) * scale
                    observation = Observation(
                        row=row, question=question, work=work, target=target, value=value, kept_out=bool(distrusted(row))
                    )
                    found.append(observation)
    return found, skipped


def with_measured_load(question: workload.Question, row: dict[str, str]) -> workload.Question:
    """An open loop with the requests in flight that its own measurement implies (Little's law); other questions as they are."""
    if not question.load_unknown or question.arrivals_per_s is None:
        return question
    each_s = (float(row["ttft_ms"]) + question.output_tokens * float(row["tpot_ms"])) / 1e3
    return dataclasses.replace(question, concurrency=max(question.arrivals_per_s * each_s, 1.0), load_unknown=False)


class Data:
    """The observations as arrays."""

    def __init__(self, rows: list[Observation]):
        self.rows = rows
        self.count = len(rows)
        self.logs = np.log([o.value for o in rows])
        self.target = np.array([o.target for o in rows])
        self.group = np.array([o.group for o in rows])
        self.kept_out = np.array([o.kept_out for o in rows])
        arrays = {name: np.array([getattr(o.work, name) for o in rows]) for name in FIELDS}
        self.parts = {name: np.flatnonzero(self.target == name) for name in estimate.TARGETS}
        self.works = {name: SimpleNamespace(**{f: a[i] for f, a in arrays.items()}) for name, i in self.parts.items()}
        slopes = self.linearised(np.tile(STARTS, (self.count, 1)), None)[1]
        self.used = {name: np.flatnonzero(np.abs(slopes[i]).max(axis=0) > 1e-9) for name, i in self.parts.items() if len(i)}

    def linearised(self, values: np.ndarray, used) -> tuple[np.ndarray, np.ndarray]:
        """Predicted logarithms and their derivatives by each constant, at each row's constants."""
        predicted, slopes, nudge = np.zeros(self.count), np.zeros((self.count, len(NAMES))), 1e-5
        for name, i in self.parts.items():
            if not len(i):
                continue
            k = {n: np.exp(values[i, j]) if LOGARITHMIC[j] else values[i, j] for j, n in enumerate(NAMES)}
            function, work = estimate.TARGETS[name], self.works[name]
            predicted[i] = function(work, SimpleNamespace(**k), np.log)
            for j in used[name] if used else range(len(NAMES)):
                moved = k[NAMES[j]] * np.exp(nudge) if LOGARITHMIC[j] else k[NAMES[j]] + nudge
                slopes[i, j] = (function(work, SimpleNamespace(**{**k, NAMES[j]: moved}), np.log) - predicted[i]) / nudge
        return predicted, slopes


class Design:
    """One column for each (constant, level, key) that the training rows show; columns of the same rows are solved as one."""

    def __init__(self, data: Data, train: np.ndarray):
        columns: dict[tuple[str, str, str], int] = {}
        spreads, rows, cols, constants = [], [], [], []
        allowed = {j: {level: s for level, s in c.spreads().items() if s >= SMALLEST_SPREAD} for j, c in enumerate(CONSTANTS.values())}
        for i, observation in enumerate(data.rows):
            for j in data.used[observation.target]:
                for level, spread in allowed[j].items():
                    key = observation.work.keys[level]
                    column = columns.get((NAMES[j], level, key))
                    if column is None:
                        if not train[i] or (level == "parallel" and not key):
                            continue
                        column = columns[NAMES[j], level, key] = len(columns)
                        spreads.append(spread)
                    rows.append(i), cols.append(column), constants.append(j)
        self.columns, self.spreads = columns, np.array(spreads)
        rows, cols, constants = np.array(rows), np.array(cols), np.array(constants)
        self.all_rows = sparse.csr_matrix(
            (np.ones(len(rows)), (rows * len(NAMES) + constants, cols)), shape=(data.count * len(NAMES), len(columns))
        )
        self._merge(rows, cols, constants, train)
        self.count = data.count

    def _merge(self, rows, cols, constants, train):
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
        self.rows, self.cols, self.constants = rows[kept], self.merged[cols[kept]], constants[kept]

    def differences(self, solved: np.ndarray) -> np.ndarray:
        return solved[self.merged] * self.share

    def values(self, solved: np.ndarray) -> np.ndarray:
        return STARTS + (self.all_rows @ self.differences(solved)).reshape(self.count, len(NAMES))

    def jacobian(self, slopes: np.ndarray) -> sparse.csr_matrix:
        return sparse.csr_matrix((slopes[self.rows, self.constants], (self.rows, self.cols)), shape=(self.count, len(self.variance)))


def fit(data: Data, train: np.ndarray) -> tuple[Design, np.ndarray, np.ndarray]:
    """The design, its solved columns, and the predicted logarithms of all rows. `train` marks the rows to learn from."""
    design = Design(data, train)
    solved = np.zeros(len(design.variance))
    sizes = Counter(zip(data.group, data.target, strict=True))
    size = np.array([sizes[pair] for pair in zip(data.group, data.target, strict=True)])
    base = np.where(train, (size / 10) ** -0.25 / NOISE**2, 0.0)
    predicted, slopes = data.linearised(design.values(solved), data.used)
    for step in range(STEPS):
        error = data.logs - predicted
        weight = base / np.sqrt(1 + (error / (3 * NOISE)) ** 2)
        jacobian = design.jacobian(slopes)
        normal = (jacobian.T @ jacobian.multiply(weight[:, None])).toarray()
        normal[np.diag_indices_from(normal)] += 1 / design.variance
        wanted = jacobian.T @ (weight * error) - solved / design.variance
        move = cho_solve(cho_factor(normal, lower=True, overwrite_a=True, check_finite=False), wanted)
        damping = DAMPING[step] if step < len(DAMPING) else 0.6 if step > STEPS - 4 else 1.0
        solved = solved + damping * np.clip(move, -CLAMP, CLAMP)
        predicted, slopes = data.linearised(design.values(solved), data.used)
    return design, solved, predicted


def left_out(data: Data, folds: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Error of each row's logarithm (predicted - measured) by a fit that did not see its group; and the row's fold."""
    random = np.random.default_rng(seed)
    size = Counter(data.group)
    groups = sorted(size)
    random.shuffle(groups)
    load, fold = np.zeros(folds), {}
    for group in sorted(groups, key=lambda g: -size[g]):
        fold[group] = random.choice(np.argsort(load)[: max(1, folds // 2)])
        load[fold[group]] += size[group]
    of = np.array([fold[group] for group in data.group])
    error = np.zeros(data.count)
    for number in range(folds):
        start = time.perf_counter()
        train = (of != number) & ~data.kept_out
        predicted = fit(data, train)[2]
        error[of == number] = (predicted - data.logs)[of == number]
        print(f"fold {number + 1} of {folds}: {time.perf_counter() - start:.0f} s", flush=True)
    return error, of


def _families(*names: str):
    return lambda o: o.question.gpu.family in names


AIMS = {
    "time per output token, H100 and H200": ("tpot", _families("H100", "H200"), 9, 12),
    "time per output token, H100 and H200, dense": ("tpot", lambda o: _families("H100", "H200")(o) and not o.work.moe, 7, 10),
    "time per output token, H100 and H200, experts": ("tpot", lambda o: _families("H100", "H200")(o) and o.work.moe, 11, 15),
    "time per output token, V100": ("tpot", _families("V100"), None, None),
    "output tokens/s, V100, A100, H100, H200": ("rate", _families("V100", "A100", "H100", "H200"), 6, 9),
    "time to first token, one request": ("single_ttft", lambda o: True, 10, 15),
    "time to first token, under load": ("served_ttft", lambda o: True, 18, 28),
}


def _summary(error: np.ndarray) -> dict[str, float]:
    percent = 100 * np.abs(np.expm1(error))
    return {"rows": len(error), "median": round(float(np.median(percent)), 1), "mean": round(float(np.mean(percent)), 1)}


def by_aim(data: Data, error: np.ndarray) -> dict[str, dict[str, float]]:
    found = {}
    for name, (quantity, wanted, median, mean) in AIMS.items():
        chosen = np.array([quantity in o.target and bool(wanted(o)) for o in data.rows])
        found[name] = _summary(error[chosen]) | {
            "groups": len(set(data.group[chosen])), "aim_median": median, "aim_mean": mean,
        }  # fmt: skip
    return found


def by_group(data: Data, error: np.ndarray) -> dict[str, dict[str, float]]:
    members = defaultdict(list)
    for i, o in enumerate(data.rows):
        members[f"{o.target} {o.group}"].append(i)
    return {name: _summary(error[i]) | {"bias": round(float(np.median(error[i])), 3)} for name, i in sorted(members.items())}


def ranges(data: Data, error: np.ndarray, known: np.ndarray) -> dict[str, list[float]]:
    """Measured over estimated at two quantiles of the known rows, by target, and by target and engine."""
    found = {}
    for target in estimate.TARGETS:
        chosen = (data.target == target) & known & ~data.kept_out
        classes = {target: chosen}
        for engine in {o.question.engine for o in data.rows}:
            own = chosen & np.array([o.question.engine == engine for o in data.rows])
            if own.sum() >= 60 and len(set(data.group[own])) >= 3:
                classes[f"{target} {engine}"] = own
        for name, rows in classes.items():
            low, high = np.quantile(-error[rows], QUANTILES)
            found[name] = [round(float(np.exp(min(low, -0.02))), 3), round(float(np.exp(max(high, 0.02))), 3)]
    return found


def coverage(data: Data, error: np.ndarray, fold: np.ndarray) -> dict[str, dict[str, float]]:
    """By aim: the share of rows inside their range, and the median half width (a factor), ranges from the other folds' rows."""
    inside, width = np.zeros(data.count, bool), np.zeros(data.count)
    for number in range(fold.max() + 1):
        found = ranges(data, error, fold != number)
        for i in np.flatnonzero(fold == number):
            o = data.rows[i]
            low, high = found.get(f"{o.target} {o.question.engine}") or found[o.target]
            inside[i], width[i] = low <= np.exp(-error[i]) <= high, np.sqrt(high / low)
    shares = {}
    for name, (quantity, wanted, _, _) in AIMS.items():
        chosen = np.array([quantity in o.target and bool(wanted(o)) for o in data.rows])
        shares[name] = {"inside": round(100 * float(inside[chosen].mean()), 1), "half_width": round(float(np.median(width[chosen])), 2)}
    return shares


def seen(data: Data) -> dict[str, object]:
    """What the fit has seen, so that an estimate can say when it extrapolates."""
    rows = [o for o in data.rows if not o.kept_out]
    pairs = {level: sorted({o.work.keys[level] for o in rows}) for level in ("family,engine", "shape,engine", "generation")}
    limits = {
        name: [min(values), max(values)]
        for name, values in {
            "input_tokens": [o.question.input_tokens for o in rows], "output_tokens": [o.question.output_tokens for o in rows],
            "concurrency": [o.question.concurrency for o in rows],
        }.items()
    }  # fmt: skip
    return pairs | {"limits": limits}


def fitted(design: Design, solved: np.ndarray) -> dict[str, dict[str, dict[str, float]]]:
    found: dict[str, dict[str, dict[str, float]]] = {}
    for (name, level, key), difference in zip(design.columns, design.differences(solved), strict=True):
        if abs(difference) >= 5e-5:
            found.setdefault(level, {}).setdefault(key, {})[name] = round(float(difference), 4)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folds", type=int, default=16, help="times that groups are left out; 0 for the fit alone")
    parser.add_argument("--write", action="store_true", help="write planner/data/performance/fitted.json")
    options = parser.parse_args()
    rows, skipped = observations(ROOT / "planner/data/performance/measurements.csv")
    print(f"{len(rows)} observations; rows without one: {dict(skipped)}")
    data = Data(rows)
    start = time.perf_counter()
    design, solved, predicted = fit(data, ~data.kept_out)
    print(f"fit of {len(design.variance)} columns: {time.perf_counter() - start:.0f} s")
    inside = predicted - data.logs
    outside, fold = left_out(data, options.folds) if options.folds else (inside, np.arange(data.count) % 2)
    held = coverage(data, outside, fold)
    for name, line in by_aim(data, outside).items():
        print(f"{name:52s} {line | held[name]}")
    if options.write:
        result = {
            "fitted_on": datetime.date.today().isoformat(),
            "rows": len(rows),
            "folds": options.folds,
            "left_out": by_aim(data, outside),
            "left_out_by_group": by_group(data, outside),
            "inside": by_aim(data, inside),
            "coverage": held,
            "ranges": ranges(data, outside, np.ones(data.count, bool)),
            "seen": seen(data),
            "constants": fitted(design, solved),
        }
        (ROOT / "planner/data/performance/fitted.json").write_text(json.dumps(result, indent=0, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
