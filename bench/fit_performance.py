# /// script
# requires-python = ">=3.11"
# dependencies = ["numpy==2.4.6", "scipy==1.17.1", "pydantic==2.14.4", "PyYAML==6.0.4"]
# ///
"""Fits the constants of `planner/performance` to `measurements.csv` of `planner/data/performance` and writes `fitted.json` beside it.

    uv run --script bench/fit_performance.py [--folds 12] [--points] [--write]

The equations are those of `planner/performance/model.py`, on arrays; the fit is in `bench/performance/ridge.py`. Ranges and the error
called left out are of rows whose (architecture, GPU family, engine) group the fit had not seen, a group at a time.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
from bench.performance import page  # noqa: E402
from bench.performance.observations import Data, observations  # noqa: E402
from bench.performance.points import with_points  # noqa: E402
from bench.performance.ridge import Differences, fit, without_each_group  # noqa: E402
from planner.performance import estimate  # noqa: E402

CALIBRATION_FOLDS = 12
"""Folds of groups whose ranges come from the other folds, in the errors that are told."""
RANDOM_FOLDS = 5
QUANTILES = {"tpot": 0.09, "ttft": 0.09, "rate": 0.11}
"""Of the ranges, from either end: so that about 80 % of the rows of a group that no fold has seen are inside."""
FEWEST_ROWS, FEWEST_GROUPS = 60, 3
"""That a class of ranges has."""


def dealt(names: np.ndarray, folds: int, published: np.ndarray, seed: int = 0) -> np.ndarray:
    """The fold of each row, all rows of a name in one, folds of about the same size.

    Published rows are dealt as if there were no others: so that the errors of fits with more and more of our own stay comparable.
    """
    random, load, fold = np.random.default_rng(seed), np.zeros(folds), {}
    for part in (published, ~published):
        size = Counter(name for name in names[part] if name not in fold)
        order = sorted(size)
        random.shuffle(order)
        for name in sorted(order, key=lambda n, size=size: -size[n]):
            fold[name] = random.choice(np.argsort(load)[: max(1, folds // 2)])
            load[fold[name]] += size[name]
    return np.array([fold[name] for name in names])


def refitted(data: Data, fold: np.ndarray, whole: Differences) -> np.ndarray:
    """Error of each row's logarithm (predicted - measured) by a fit that did not see its fold; `whole` is the fit of all rows."""
    error = np.zeros(data.count)
    for number in range(fold.max() + 1):
        start = time.perf_counter()
        predicted = fit(data, (fold != number) & ~data.kept_out, whole)[1]
        error[fold == number] = (predicted - data.logs)[fold == number]
        print(f"fold {number + 1} of {fold.max() + 1}: {time.perf_counter() - start:.0f} s", flush=True)
    return error


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
    percent = 100 * np.abs(np.expm1(error[np.isfinite(error)]))
    return {"rows": error.shape[-1], "median": round(float(np.median(percent)), 1), "mean": round(float(np.mean(percent)), 1)}


def by_aim(data: Data, error: np.ndarray, counted: np.ndarray | None = None) -> dict[str, dict[str, float]]:
    found = {}
    counted = np.ones(data.count, bool) if counted is None else counted
    for name, (quantity, wanted, median, mean) in AIMS.items():
        chosen = counted & np.array([quantity in o.target and bool(wanted(o)) for o in data.rows])
        found[name] = _summary(error[..., chosen]) | {
            "groups": len(set(data.group[chosen])), "aim_median": median, "aim_mean": mean,
        }  # fmt: skip
    return found


def by_group(data: Data, error: np.ndarray) -> dict[str, dict[str, float]]:
    members = defaultdict(list)
    for i, o in enumerate(data.rows):
        members[f"{o.target} {o.group}"].append(i)
    return {name: _summary(error[i]) | {"bias": round(float(np.median(error[i])), 3)} for name, i in sorted(members.items())}


def ranges(data: Data, error: np.ndarray, known: np.ndarray, near: list[str]) -> dict[str, list[float]]:
    """Measured over estimated at two quantiles of the known rows, by class; `near` is each row's distance from what the fit had seen."""
    members = defaultdict(list)
    for i in np.flatnonzero(known & ~data.kept_out):
        for name in estimate.range_classes(data.target[i], data.rows[i].question.engine, near[i]):
            members[name].append(i)
    found = {}
    for name, rows in members.items():
        if name in estimate.TARGETS or (len(rows) >= FEWEST_ROWS and len(set(data.group[rows])) >= FEWEST_GROUPS):
            share = QUANTILES[name.split()[0].split("_")[1]]
            low, high = np.quantile(-error[rows], (share, 1 - share))
            found[name] = [round(float(np.exp(min(low, -0.02))), 3), round(float(np.exp(max(high, 0.02))), 3)]
    return found


def combinations(data: Data) -> dict[str, dict]:
    """What each combination that the fit has seen was measured with, by target."""
    found: dict[str, dict] = {}
    for o in data.rows:
        if o.kept_out:
            continue
        own = found.setdefault(o.group, {"shape,engine": o.work.keys["shape,engine"], "rows": {}})
        rows = own["rows"].setdefault(o.target, {"generation": [], "precision": []})
        for level in ("generation", "precision"):
            rows[level] = sorted({*rows[level], o.work.keys[level]})
        for name in ("input_tokens", "output_tokens", "concurrency"):
            value = round(getattr(o.question, name), 2)
            low, high = rows.get(name, (value, value))
            rows[name] = [min(low, value), max(high, value)]
    return found


def coverage(data: Data, error: np.ndarray, fold: np.ndarray, near: list[str]) -> dict[str, dict[str, float]]:
    """By aim: the share of rows inside their range, and the median half width (a factor), ranges from the other folds' rows."""
    inside, width = np.zeros(data.count, bool), np.zeros(data.count)
    for number in range(fold.max() + 1):
        found = ranges(data, error, fold != number, near)
        for i in np.flatnonzero(fold == number):
            o = data.rows[i]
            low, high = estimate.range_of(found, o.target, o.question.engine, near[i])
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
    pairs["combinations"] = combinations(data)
    limits = {
        name: [min(values), max(values)]
        for name, values in {
            "input_tokens": [o.question.input_tokens for o in rows], "output_tokens": [o.question.output_tokens for o in rows],
            "concurrency": [o.question.concurrency for o in rows],
        }.items()
    }  # fmt: skip
    return pairs | {"limits": limits}


def fitted(differences: Differences) -> dict[str, dict[str, dict[str, float]]]:
    found: dict[str, dict[str, dict[str, float]]] = {}
    for (name, level, key), difference in differences.items():
        if abs(difference) >= (1e-3 if level == "combination" else 5e-5):
            found.setdefault(level, {}).setdefault(key, {})[name] = round(float(difference), 4)
    return found


def write_left_out(data: Data, error: np.ndarray) -> None:
    """The estimate of each row by a fit that had not seen its group, in the units of the measurements."""
    columns = {"ttft": ("ttft_ms", 1e3), "tpot": ("tpot_ms", 1e3), "rate": ("output_tok_s", 1.0)}
    with (ROOT / "bench/results/performance_left_out.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("id", "quantity", "estimate"))
        for o, off in zip(data.rows, error, strict=True):
            column, unit = columns[o.target.split("_")[1]]
            writer.writerow((o.row["id"], column, f"{o.value * np.exp(off) * unit:.4g}"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folds", type=int, default=0, help="also refit with the groups dealt into so many folds, each left out once")
    parser.add_argument("--points", action="store_true", help="also move each group left out by three of its own rows")
    parser.add_argument("--write", action="store_true", help="write fitted.json, the page's tables and the estimates left out")
    options = parser.parse_args()
    rows, skipped = observations(ROOT / "planner/data/performance/measurements.csv")
    print(f"{len(rows)} observations; rows without one: {dict(skipped)}")
    data, start = Data(rows), time.perf_counter()
    whole, predicted = fit(data, ~data.kept_out)
    print(f"fit of {len(whole)} differences: {time.perf_counter() - start:.0f} s", flush=True)
    constants = without_each_group(data, ~data.kept_out, whole)
    outside = data.predicted(constants) - data.logs
    combinations_seen = combinations(data)
    by_row = dealt(np.array([o.row["id"] for o in data.rows]), RANDOM_FOLDS, data.published)
    random = refitted(data, by_row, whole)
    every, itself = np.ones(data.count, bool), [estimate.MEASURED] * data.count
    others = [estimate.neighbours(o.work.keys, combinations_seen) for o in data.rows]
    result = {
        "fitted_on": datetime.date.today().isoformat(),
        "rows": len(rows),
        "folds": options.folds,
        "left_out": by_aim(data, outside),
        "left_out_trusted": by_aim(data, outside, ~data.kept_out),
        "left_out_random": by_aim(data, random),
        "inside": by_aim(data, predicted - data.logs),
        "coverage": coverage(data, outside, dealt(data.group, CALIBRATION_FOLDS, data.published), others),
        "coverage_random": coverage(data, random, by_row, itself),
        "left_out_by_group": by_group(data, outside),
        "ranges": ranges(data, random, every, itself) | ranges(data, outside, every, others),
        "seen": seen(data),
        "constants": fitted(whole),
    }
    if options.folds:
        result["left_out_folds"] = by_aim(data, refitted(data, dealt(data.group, options.folds, data.published), whole))
    if options.points:
        before, after = with_points(data, constants)
        result["without_points"], result["with_points"] = by_aim(data, before), by_aim(data, after)
    print(page.errors(result))
    if options.write:
        (ROOT / "planner/data/performance/fitted.json").write_text(json.dumps(result, indent=0, sort_keys=True) + "\n")
        page.write(ROOT / "docs/performance-model.md", result)
        write_left_out(data, outside)


if __name__ == "__main__":
    main()
