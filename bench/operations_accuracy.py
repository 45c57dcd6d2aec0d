"""Holds the estimates by operations against measured points: finds the host's constants, the errors, and the ranges.

    python -m bench.operations_accuracy [--fit] [--ask] [--write]

`planner/performance/operations` adds up measured kernels. What no kernel has, the host's work, are the constants of `steps.Host`, the
same for all models, GPUs and loads. They are found here on all measured points of vLLM that the table covers, by a search along each of
them. The errors are those of constants that were found without the point's whole group (one source's rows of a model in a precision on a
GPU family). So are the ranges: each is tested on groups that neither its constants nor its ends have seen.

`--fit` searches the constants anew; otherwise those of the last search are used. `--ask` asks NVIDIA's aiconfigurator (bench/peers) about
our own points of the H200; its answers are kept in `bench/results/aiconfigurator_h200.json` and compared each time. `--write` keeps the
constants and ranges in `planner/performance/data/operations.json`, all figures in `bench/results/operations_accuracy.json`, and the table
in docs/performance-model.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import math
import multiprocessing
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import planner_vs_peers
from bench.performance.observations import distrusted, measured_rows
from planner.performance import clients, estimate, model, published_rows
from planner.performance.operations import served
from planner.performance.operations.steps import Host
from planner.performance.questions import precision_class

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "bench" / "results" / "operations_accuracy.json"
PAGE = ROOT / "docs" / "performance-model.md"
MARK = "<!-- operations -->"
PEER = ROOT / "bench" / "results" / "aiconfigurator_h200.json"
CONSTANTS = ROOT / "planner" / "performance" / "data" / "operations.json"
START = Host(
    sequence=19.0, prompt=730.0, rank=76.0, graph_layer_16=158.0, graph_layer_int=179.0, graph_layer_fp8=260.0, layer=385.0, layer_8=606.0,
    layer_experts=1365.0, front_end=9400.0, front_end_busy=80.0, steps_waited=1.95, together=2.6,
)  # fmt: skip
STEPS = (1.3, 1.12, 1.05)
NOISE = {"tpot": 0.04, "ttft": 0.1}
WEIGHT = {"tpot": 1.0, "ttft": 0.3}
PROMISED = 0.8
"""The share of groups that a range promises to contain."""
OURS = ("this repository", "H200")
LEAST = 0.05
"""The smallest factor of a range, as a logarithm."""


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
        """The class of its range."""
        return "single_ttft" if self.question.concurrency == 1 else "served_ttft"

    @property
    def per_token(self) -> str:
        """The class of its range."""
        return "served_tpot"

    def errors(self, constants: Host) -> dict[str, float]:
        """Returns the logarithm of estimated over measured for each measured quantity."""
        times = served.Served(self.question, constants).at(self.question.concurrency, self.running)
        return self.logs(times.per_token_s * 1e3, times.first_token_s * 1e3)

    def logs(self, tpot_ms: float, ttft_ms: float) -> dict[str, float]:
        """Returns the same for any estimate, whose rate follows by Little's law."""
        values = {"tpot": tpot_ms, "ttft": ttft_ms}
        found = {name: math.log(value / float(self.row[f"{name}_ms"])) for name, value in values.items() if self.row[f"{name}_ms"]}
        if self.row["output_tok_s"]:
            request_s = (ttft_ms + (self.question.output_tokens - 1) * tpot_ms) / 1e3
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


def searched(given: list[Point]) -> dict[str, Any]:
    """The constants from all trusted points, and for each group those without it."""
    whole, groups = found([point for point in given if point.trusted]), sorted({point.group for point in given})
    with multiprocessing.Pool(2) as pool:
        others = pool.starmap(without, [(group, given, whole) for group in groups])
    return {"host": rounded(whole), "without": {group: rounded(host) for group, host in zip(groups, others, strict=True)}}


def rounded(constants: Host) -> dict[str, float]:
    return {name: round(value, 4) for name, value in dataclasses.asdict(constants).items()}


def by_class(errors: list[tuple[Point, dict[str, float]]]) -> dict[str, dict[str, list[float]]]:
    """The errors of each class of ranges, by group."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for point, values in errors:
        if point.trusted:
            found[point.per_token][point.group].append(values["tpot"])
            if "ttft" in values:
                found[point.first_token][point.group].append(values["ttft"])
    return found


def ends(groups: list[list[float]]) -> tuple[float, float]:
    """The logarithms of a range of measured over estimated that contains 80 % x (n + 1) / n of n groups, which all weigh the same."""
    outside = max(1 - PROMISED * (1 + 1 / len(groups)), 0.0) / 2
    weighted = sorted((-error, 1 / len(errors)) for errors in groups for error in errors)
    total, passed = sum(weight for _, weight in weighted), 0.0
    low, high = weighted[0][0], weighted[-1][0]
    for value, weight in weighted:
        before, passed = passed, passed + weight
        low = value if before <= outside * total else low
        if passed >= (1 - outside) * total:
            high = value
            break
    return min(low, -LEAST), max(high, LEAST)


def ranges(classes: dict[str, dict[str, list[float]]], besides: str = "") -> dict[str, tuple[float, float]]:
    """The range of each class, from all groups but one."""
    return {name: ends([errors for group, errors in groups.items() if group != besides]) for name, groups in classes.items()}


def held(errors: list[tuple[Point, dict[str, float]]]) -> list[dict[str, bool]]:
    """Whether each measured quantity of each point lies in a range from other groups."""
    classes = by_class(errors)
    known = {group: ranges(classes, group) for group in {point.group for point, _ in errors}}
    return [inside(point, values, known[point.group]) for point, values in errors]


def inside(point: Point, errors: dict[str, float], known: dict[str, tuple[float, float]]) -> dict[str, bool]:
    limits = {"tpot": known[point.per_token], "ttft": known[point.first_token]}
    found = {name: low <= -errors[name] <= high for name, (low, high) in limits.items() if name in errors}
    if "rate" in errors:
        # Little's law with both bounds, as the estimate has it.
        question = point.question
        times = {name: float(point.row[f"{name}_ms"]) * math.exp(errors[name]) / 1e3 for name in limits}
        slow, quick = (
            times["ttft"] * math.exp(limits["ttft"][end]) + (question.output_tokens - 1) * times["tpot"] * math.exp(limits["tpot"][end])
            for end in (1, 0)
        )
        request_s = question.replicas * question.concurrency * question.output_tokens / float(point.row["output_tok_s"])
        found["rate"] = quick <= request_s <= slow
    return found


def tested(errors: list[tuple[Point, dict[str, float]]], within: list[dict[str, bool]]) -> dict[str, dict[str, Any]]:
    """What the ranges hold on groups that they have not seen: the mean over groups, and the share of all points."""
    groups: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for (point, _), shares in zip(errors, within, strict=True):
        for name in shares if point.trusted else ():
            groups[{"ttft": point.first_token, "tpot": point.per_token}.get(name, name)][point.group].append(shares[name])
    return {
        name: {
            "groups": len(shares), "inside_groups": round(100 * statistics.fmean(map(statistics.fmean, shares.values()))),
            "points": sum(map(len, shares.values())), "inside_points": round(100 * statistics.fmean(itertools.chain(*shares.values()))),
        }
        for name, shares in groups.items()
    }  # fmt: skip


def summary(logs: list[float], within: list[bool]) -> dict[str, float]:
    return percent(logs) | {"inside": round(100 * statistics.fmean(within))}


def slices(point: Point) -> list[str]:
    """The names of the sets of points in which a point counts."""
    question, source, family = point.question, point.source, point.question.gpu.family
    if not point.trusted:
        return ["vLLM 0.12, whose prompts were cached (not fitted)"]
    users = "one user" if question.concurrency == 1 else "several users" if question.concurrency < 200 else "200 users and more"
    grade = "FP8" if question.weight_precision == "fp8" else "INT4" if "int4" in question.weight_precision else "16 bits and INT8"
    sets = (served.kind_of(question), grade, users)
    return ["all", *sets, f"{source}, {family}", *(f"this repository, H200, {name}" for name in sets if (source, family) == OURS)]


def table(errors: list[tuple[Point, dict[str, float]]], within: list[dict[str, bool]]) -> dict[str, dict[str, Any]]:
    sets: dict[str, dict[str, list[tuple[float, bool]]]] = defaultdict(lambda: defaultdict(list))
    for (point, values), shares in zip(errors, within, strict=True):
        for name in slices(point):
            for quantity, value in values.items():
                sets[name][quantity].append((value, shares[quantity]))
    return {
        name: {quantity: summary(*map(list, zip(*pairs, strict=True))) for quantity, pairs in quantities.items()}
        for name, quantities in sorted(sets.items())
    }


def ask() -> None:
    """Asks aiconfigurator about our own points of the H200, in the precisions that it knows for vLLM."""
    rows = [point.row for point in points() if point.row["id"].startswith("own-h200") and "int4" not in point.row["weight_precision"]]
    output = planner_vs_peers.ask_peer("aiconfigurator", {"rows": [planner_vs_peers.plain(row) for row in rows], "sweep": None})
    if isinstance(output, str):
        raise SystemExit(output)
    PEER.write_text(json.dumps({"asked": "aiconfigurator 0.12.0", "answers": output["answers"]}, indent=1) + "\n")


def peer(errors: list[tuple[Point, dict[str, float]]]) -> dict[str, dict[str, Any]]:
    """Percent, median and mean, by aiconfigurator and by constants without the point's group, on the points that it answered."""
    answers = {answer["id"]: answer for answer in json.loads(PEER.read_text())["answers"] if "error" not in answer}
    found: dict[str, dict[str, list[list[float]]]] = defaultdict(lambda: defaultdict(lambda: [[], []]))
    for point, ours in errors:
        answer = answers.get(point.row["id"])
        if not answer:
            continue
        theirs = point.logs(answer["tpot_ms"], answer["ttft_ms"])
        for name in ("all", *slices(point)[1:4]):
            for quantity in ours:
                both = found[name][quantity]
                both[0].append(theirs[quantity])
                both[1].append(ours[quantity])
    return {
        name: {quantity: dict(zip(("theirs", "ours"), map(percent, both), strict=True)) for quantity, both in quantities.items()}
        for name, quantities in sorted(found.items())
    }


def percent(logs: list[float]) -> dict[str, float]:
    percents = [100 * abs(math.expm1(error)) for error in logs]
    return {"points": len(logs), "median": round(statistics.median(percents), 1), "mean": round(statistics.fmean(percents), 1)}


def lines(result: dict[str, Any]) -> str:
    """The table of the page: percent of measured, median / mean, and the share of points inside the range."""
    head = ["| points | time per token | tokens/s | first token |", "|---|---|---|---|"]

    def cell(part: dict[str, float] | None) -> str:
        return f"{part['median']} / {part['mean']}, {part['inside']} % of {part['points']}" if part else "-"

    return "\n".join(
        head + [f"| {name} | {' | '.join(cell(parts.get(quantity)) for quantity in ('tpot', 'rate', 'ttft'))} |"
                for name, parts in result["left_out"].items()]
    )  # fmt: skip


def write(result: dict[str, Any]) -> None:
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    kept = {name: result[name] for name in ("host", "ranges")}
    CONSTANTS.write_text(json.dumps(kept, indent=2) + "\n")
    before, rest = PAGE.read_text().split(MARK, 1)
    PAGE.write_text(before + MARK + "\n" + lines(result) + "\n" + rest[rest.index("<!-- end -->") :])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.operations_accuracy", description=__doc__.splitlines()[0])
    parser.add_argument("--fit", action="store_true", help="search the constants anew: a minute of one core")
    parser.add_argument("--write", action="store_true", help="keep the constants, ranges and figures")
    parser.add_argument("--ask", action="store_true", help="ask aiconfigurator anew, in an environment of its own")
    options = parser.parse_args()
    if options.ask:
        ask()
    given = points()
    constants = searched(given) if options.fit else json.loads(RESULT.read_text())
    errors = [(point, point.errors(Host(**constants["without"][point.group]))) for point in given]
    within = held(errors)
    result = {
        "host": constants["host"],
        "without": constants["without"],
        "ranges": {name: [round(math.exp(end), 4) for end in both] for name, both in ranges(by_class(errors)).items()},
        "tested": tested(errors, within),
        "left_out": table(errors, within),
        "aiconfigurator": peer(errors),
    }
    print(json.dumps(result, indent=1))
    if options.write:
        write(result)


if __name__ == "__main__":
    main()
