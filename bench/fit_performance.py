# /// script
# requires-python = ">=3.11"
# dependencies = ["numpy==2.4.6", "scipy==1.17.1", "pydantic==2.14.4", "PyYAML==6.0.4"]
# ///
"""Fits the constants of `planner/performance` to `measurements.csv` and writes the planner's `fitted.json` and the fit's report.

    uv run --script bench/fit_performance.py [--points] [--write]

The equations are those of `planner/performance/model.py`, on arrays; the fit is in `bench/performance/ridge.py`. Ranges and their test are
of rows whose whole campaign, source, or engine on a GPU family a real refit had not seen (`bench/performance/ranges.py`). Each result has
the identity of its input (`observations.identity`), by which tests find it stale.
"""

from __future__ import annotations

import argparse
import datetime
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
from bench.performance import page, ranges, results  # noqa: E402
from bench.performance.arrays import Data  # noqa: E402
from bench.performance.observations import Observation, identity, measured_rows, observations  # noqa: E402
from bench.performance.points import with_points  # noqa: E402
from bench.performance.ridge import Differences, Refits, fit, without_each_group  # noqa: E402
from planner.performance import estimate, nearness  # noqa: E402

RANDOM_FOLDS = 5


def dealt(data: Data, folds: int) -> np.ndarray:
    """The fold of each row, all quantities of a measurement in one."""
    names = sorted({o.row["id"] for o in data.rows})
    fold = dict(zip(names, np.random.default_rng(0).permutation(len(names)) % folds, strict=True))
    return np.array([fold[o.row["id"]] for o in data.rows])


def refitted(data: Data, fold: np.ndarray, whole: Differences) -> np.ndarray:
    """Error of each row's logarithm (predicted - measured) by a fit that did not see its fold; `whole` is the fit of all rows."""
    error, refits = np.zeros(data.count), Refits(data, ~data.kept_out, whole)
    for number in range(fold.max() + 1):
        left = fold == number
        error[left] = refits.without(left) - data.logs[left]
    return error


def _families(*names: str) -> Callable[[Observation], bool]:
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


def chosen_by_aim(data: Data) -> dict[str, np.ndarray]:
    return {
        name: np.array([quantity in o.target and bool(wanted(o)) for o in data.rows]) for name, (quantity, wanted, _, _) in AIMS.items()
    }


def by_aim(data: Data, error: np.ndarray, counted: np.ndarray | None = None) -> dict[str, dict[str, float | None]]:
    found = {}
    counted = np.ones(data.count, bool) if counted is None else counted
    for name, chosen in chosen_by_aim(data).items():
        chosen, (_, _, median, mean) = chosen & counted, AIMS[name]
        found[name] = _summary(error[..., chosen]) | {
            "groups": len(set(data.group[chosen])), "aim_median": median, "aim_mean": mean,
        }  # fmt: skip
    return found


def by_group(data: Data, error: np.ndarray) -> dict[str, dict[str, float]]:
    members = defaultdict(list)
    for i, o in enumerate(data.rows):
        members[f"{o.target} {o.group}"].append(i)
    return {name: _summary(error[i]) | {"bias": round(float(np.median(error[i])), 3)} for name, i in sorted(members.items())}


def fitted(differences: Differences) -> dict[str, dict[str, dict[str, float]]]:
    found: dict[str, dict[str, dict[str, float]]] = {}
    for (name, level, key), difference in differences.items():
        if abs(difference) >= (1e-3 if level == "combination" else 5e-5):
            found.setdefault(level, {}).setdefault(key, {})[name] = round(float(difference), 4)
    return found


def tested(data: Data, left: ranges.LeftOut) -> dict[str, object]:
    """The ranges' test: by aim, and by quantity, engine and GPU family."""
    test, parts = ranges.held(data, left), defaultdict(list)
    for j, i in enumerate(left.row):
        o = data.rows[i]
        parts[f"{o.target} {o.question.engine} {o.question.gpu.family}"].append(j)
    every = np.array([(o.target.split("_")[1], ranges.engine_on_family(o)) for o in data.rows])[left.row]
    return {
        "promised": round(100 * ranges.PROMISED),
        "aims": {name: ranges.summary(data, left, test, chosen[left.row]) for name, chosen in chosen_by_aim(data).items()},
        "quantities": {name: ranges.summary(data, left, test, every[:, 0] == name) for name in ("tpot", "ttft", "rate")},
        "near": {
            f"{target} {near}": ranges.summary(data, left, test, chosen)
            for target in estimate.TARGETS
            for near in (nearness.MEASURED, nearness.OTHERWISE, nearness.KIN, nearness.BEYOND)
            if (chosen := (data.target[left.row] == target) & (left.near == near)).any()
        },
        "engines": {name: ranges.summary(data, left, test, np.isin(np.arange(len(left.row)), at)) for name, at in sorted(parts.items())},
    }


def left_out_rows(data: Data, combination: np.ndarray, campaign: np.ndarray) -> list[tuple[str, ...]]:
    """The estimates of each row by fits that had not seen its combination, or its campaign, in the units of the measurements."""
    columns, found = {"ttft": ("ttft_ms", 1e3), "tpot": ("tpot_ms", 1e3), "rate": ("output_tok_s", 1.0)}, []
    for o, *off in zip(data.rows, combination, campaign, strict=True):
        column, unit = columns[o.target.split("_")[1]]
        found.append((o.row["id"], column, *(f"{o.value * np.exp(each) * unit:.4g}" for each in off)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", action="store_true", help="also move each group left out by three of its own rows")
    parser.add_argument(
        "--write", action="store_true", help="write fitted.json, the page's tables, the estimates left out and the ranges' test"
    )
    options = parser.parse_args()
    rows, skipped = observations(measured_rows())
    print(f"{len(rows)} observations; rows without one: {dict(skipped)}")
    data, start = Data(rows), time.perf_counter()
    whole, predicted = fit(data, ~data.kept_out)
    print(f"fit of {len(whole)} differences: {time.perf_counter() - start:.0f} s", flush=True)
    constants = without_each_group(data, ~data.kept_out, whole)
    outside = data.predicted(constants) - data.logs
    left = ranges.left_out(data, whole)
    report = {
        "fitted_on": datetime.date.today().isoformat(),
        "rows": len(rows),
        "left_out": by_aim(data, outside),
        "left_out_trusted": by_aim(data, outside, ~data.kept_out),
        "left_out_campaign": by_aim(data, ranges.of_partition(data, left, "campaign")),
        "left_out_source": by_aim(data, ranges.of_partition(data, left, "source")),
        "left_out_engine": by_aim(data, ranges.of_partition(data, left, "engine on a GPU family")),
        "left_out_random": by_aim(data, refitted(data, dealt(data, RANDOM_FOLDS), whole)),
        "inside": by_aim(data, predicted - data.logs),
        "left_out_by_group": by_group(data, outside),
    }
    held = tested(data, left)
    if options.points:
        before, after = with_points(data, constants)
        report["without_points"], report["with_points"] = by_aim(data, before), by_aim(data, after)
    print(page.errors(report, held), page.ranges(held), sep="\n\n")
    if options.write:
        given = identity(rows)
        kept = {
            "ranges": ranges.ranges(data, left, np.ones(len(left.row), bool)),
            "seen": ranges.seen([o for o in rows if not o.kept_out]),
            "constants": fitted(whole),
        }
        results.write_json(results.FITTED, given, kept, 0)
        results.write_json(results.REPORT, given, report, 1)
        results.write_json(results.RANGES, given, held, 1)
        results.write_left_out(given, left_out_rows(data, outside, ranges.of_partition(data, left, "campaign")))
        page.write(results.PAGE, report, held)


if __name__ == "__main__":
    main()
