"""Holds the estimates by operations against measured points: finds the host's constants, the errors, and the ranges.

    python -m bench.operations_accuracy [--write] [--aiconfigurator]

`planner/performance/operations` adds up measured kernels. What no kernel has, the host's work, are the constants of `steps.Host`, the same for all
models, GPUs and loads. They are found here on all measured points of vLLM that the table covers, by a search along each of them. The errors
are those of constants that were found without the point's whole group (one source's rows of a model in a precision on a GPU family), and so
are the ranges: each is tested on groups that neither its constants nor its ends have seen.

`--write` keeps the constants and ranges in `planner/performance/data/operations.json` and all figures in
`bench/results/operations_accuracy.json`. `--aiconfigurator` asks NVIDIA's aiconfigurator the same questions (bench/peers) and keeps both
errors beside each other.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import multiprocessing
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.performance.observations import distrusted, measured_rows
from planner.performance import clients, estimate, model, published_rows
from planner.performance.operations import served
from planner.performance.operations.steps import Host
from planner.performance.questions import precision_class

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "bench" / "results" / "operations_accuracy.json"
CONSTANTS = ROOT / "planner" / "performance" / "data" / "operations.json"
START = Host(
    sequence=19.0, prompt=730.0, rank=76.0, graph_layer_16=158.0, graph_layer_int=179.0, graph_layer_fp8=260.0, layer=385.0, layer_8=606.0,
    layer_experts=1365.0, front_end=9400.0, front_end_busy=80.0, steps_waited=1.95, together=2.6,
)  # fmt: skip
STEPS = (1.3, 1.12, 1.05)
NOISE = {"tpot": 0.04, "ttft": 0.1}
WEIGHT = {"tpot": 1.0, "ttft": 0.3}
OUTSIDE = 0.08
"""The share of groups that a range leaves out at either end, as for the fit (bench/performance/ranges.py)."""
LEAST = 0.05
"""The smallest factor of a range, as a logarithm."""
FEWEST_GROUPS = 4


@dataclass(frozen=True, kw_only=True)
class Point:
    row: dict[str, str]
    question: Any
    running: float
    trusted: bool

    @property
    def group(self) -> str:
        question = self.question
        grade = precision_class(question.weight_precision)
        return f"{self.source}: {self.row['model']} {grade}-bit class on {question.gpu.family}".replace(" 16-bit class", " 16 bits")

    @property
    def source(self) -> str:
        return "this repository" if self.row["source_repo_or_page"] == published_rows.OUR_OWN else "published"

    @property
    def first_token(self) -> str:
        return "single_ttft" if self.question.concurrency == 1 else "served_ttft"

    def errors(self, constants: Host) -> dict[str, float]:
        """Returns the logarithm of estimated over measured for each measured quantity."""
        times = served.Served(self.question, constants).at(self.question.concurrency, self.running)
        values = {"tpot": times.per_token_s * 1e3, "ttft": times.first_token_s * 1e3}
        found = {name: math.log(value / float(self.row[f"{name}_ms"])) for name, value in values.items() if self.row[f"{name}_ms"]}
        if self.row["output_tok_s"]:
            request_s = times.first_token_s + (self.question.output_tokens - 1) * times.per_token_s
            rate = self.question.replicas * self.question.concurrency * self.question.output_tokens / request_s
            found["rate"] = math.log(rate / float(self.row["output_tok_s"]))
        return found


def points() -> list[Point]:
    found = []
    for row in measured_rows():
        try:
            question = published_rows.question(row)
        except published_rows.Impossible:
            continue
        if clients.not_deployed(row) or not served.applies(question) or not row["tpot_ms"]:
            continue
        _, inputs, values = estimate.prepared(question)
        running = model.running(inputs, values, inputs.concurrency)
        found.append(Point(row=row, question=question, running=running, trusted=not distrusted(row)))
    return found


def loss(constants: Host, chosen: list[Point]) -> float:
    """A soft-L1 loss of all errors, by groups whose size counts with its root."""
    sizes = Counter(point.group for point in chosen)
    total = 0.0
    for point in chosen:
        errors = point.errors(constants)
        for name, noise in NOISE.items():
            if name in errors:
                total += WEIGHT[name] * sizes[point.group] ** -0.5 * (math.sqrt(1 + (errors[name] / noise) ** 2) - 1)
    return total


def found(chosen: list[Point], start: Host = START, steps: Iterable[float] = STEPS) -> Host:
    """The constants with the least loss, by steps along one of them at a time."""
    best, least = start, loss(start, chosen)
    for step in steps:
        better = True
        while better:
            better = False
            for name, value in dataclasses.asdict(best).items():
                for factor in (step, 1 / step):
                    tried = dataclasses.replace(best, **{name: value * factor})
                    if (lost := loss(tried, chosen)) < least * (1 - 1e-4):
                        best, least, better = tried, lost, True
    return best


def without(group: str, given: list[Point], whole: Host) -> Host:
    return found([point for point in given if point.trusted and point.group != group], whole, STEPS[1:])


def left_out(given: list[Point], whole: Host) -> list[tuple[Point, dict[str, float]]]:
    """Each point with its errors by constants that have not seen its group."""
    groups = sorted({point.group for point in given})
    with multiprocessing.Pool(2) as pool:
        constants = dict(zip(groups, pool.starmap(without, [(group, given, whole) for group in groups]), strict=True))
    return [(point, point.errors(constants[point.group])) for point in given]


def by_class(errors: list[tuple[Point, dict[str, float]]]) -> dict[str, dict[str, list[float]]]:
    """The errors of each class of ranges, by group."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for point, values in errors:
        if point.trusted:
            found["served_tpot"][point.group].append(values["tpot"])
            if "ttft" in values:
                found[point.first_token][point.group].append(values["ttft"])
    return found


def ends(groups: Iterable[list[float]]) -> tuple[float, float]:
    """The logarithms of the range that leaves out `OUTSIDE` of the groups at either end, all of which weigh the same."""
    weighted = sorted((-error, 1 / len(errors)) for errors in groups for error in errors)
    total, low, high, passed = sum(weight for _, weight in weighted), weighted[0][0], weighted[-1][0], 0.0
    for value, weight in weighted:
        before, passed = passed, passed + weight
        low = value if before <= OUTSIDE * total else low
        if passed >= (1 - OUTSIDE) * total:
            high = value
            break
    return min(low, -LEAST), max(high, LEAST)


def inside(classes: dict[str, dict[str, list[float]]]) -> dict[str, dict[str, Any]]:
    """For each class, the share of groups and of rows inside ranges from the other groups."""
    result = {}
    for name, groups in classes.items():
        shares, rows = [], []
        for group, errors in groups.items():
            low, high = ends([other for key, other in groups.items() if key != group] or [errors])
            held = [low <= -error <= high for error in errors]
            shares.append(statistics.fmean(held))
            rows += held
        low, high = ends(groups.values())
        result[name] = {
            "groups": len(groups), "rows": len(rows), "inside_groups": round(100 * statistics.fmean(shares), 1),
            "inside_rows": round(100 * statistics.fmean(rows), 1), "range": [round(math.exp(low), 4), round(math.exp(high), 4)],
        }  # fmt: skip
    return result


def summary(logs: list[float]) -> dict[str, float]:
    percents = [100 * abs(math.expm1(error)) for error in logs]
    return {"rows": len(logs), "median": round(statistics.median(percents), 1), "mean": round(statistics.fmean(percents), 1)} if logs else {}


def slices(point: Point) -> list[str]:
    """The names of the sets of points in which a point counts."""
    question, source = point.question, point.source
    if not point.trusted:
        return ["prompts were cached"]
    users = "one user" if question.concurrency == 1 else "several users" if question.concurrency < 200 else "200 users and more"
    grade = "FP8" if question.weight_precision == "fp8" else "INT4" if "int4" in question.weight_precision else "16 bits"
    names = ["all", source, f"{source}, {question.gpu.family}", f"{served.kind_of(question)}", grade, users, point.group]
    return names + [f"{source}, H200, {name}" for name in (users, grade, served.kind_of(question)) if source == "this repository" and question.gpu.family == "H200"]


def table(errors: list[tuple[Point, dict[str, float]]]) -> dict[str, dict[str, Any]]:
    sets: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for point, values in errors:
        for name in slices(point):
            for quantity, value in values.items():
                sets[name][quantity].append(value)
    return {name: {quantity: summary(logs) for quantity, logs in quantities.items()} for name, quantities in sorted(sets.items())}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.operations_accuracy", description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="keep the constants, ranges and figures")
    options = parser.parse_args()
    given = points()
    whole = found([point for point in given if point.trusted])
    errors = left_out(given, whole)
    classes = inside(by_class(errors))
    result = {
        "host": {name: round(value, 4) for name, value in dataclasses.asdict(whole).items()},
        "left_out": table(errors), "seen": table([(point, point.errors(whole)) for point in given]), "ranges": classes,
    }  # fmt: skip
    print(json.dumps(result, indent=1))
    if options.write:
        RESULT.write_text(json.dumps(result, indent=2, sort_keys=True) + "\n")
        kept = {"host": result["host"], "ranges": {name: each["range"] for name, each in classes.items()}}
        CONSTANTS.write_text(json.dumps(kept, indent=2) + "\n")


if __name__ == "__main__":
    main()
