"""Ranges of the estimates: from errors of rows whose whole campaign, source, or engine on a GPU family a real refit had not seen."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from bench.performance.arrays import Data
from bench.performance.observations import Observation
from bench.performance.ridge import Differences, Refits
from planner.performance import estimate
from planner.performance.nearness import NAMES, nearness, range_classes, range_of

PROMISED = 0.8
OUTSIDE = 0.08
"""Share of groups at either end that a range leaves out: with a tenth, 71 to 78 % of groups that the range had not seen were inside."""
FEWEST_GROUPS = 15
"""That a class of ranges has: with fewer its ends are not known."""
FEWEST_CAMPAIGNS = 2
"""That an engine on a GPU family has whose own rows may widen its ranges: one campaign says nothing of how campaigns differ."""
MOST_SURE = 0.95
"""Share of an engine's rows on a GPU family that its ranges are widened for at most: beyond it stand single rows."""
FEWEST_ROWS = 6
"""A group of fewer rows is not left out by itself."""
LEAST = 0.02
"""The smallest factor of a range, as a logarithm."""


def source(o: Observation) -> str:
    """Who measured a row: the file's part of its id, and of collected results the benchmark that ran."""
    notes = o.row["notes"]
    return o.row["id"].rsplit("-", 1)[0] + (
        " InferenceMAX" if "InferenceMAX" in notes else " gap analysis" if "gap-analysis" in notes else ""
    )


def release(o: Observation) -> str:
    """One source's rows of one version of an engine; of the month, where the version is not stated."""
    return f"{source(o)}, {o.row['engine']} {o.row['engine_version'] or o.row['source_date'][:7]}"


def campaign(o: Observation) -> str:
    """The same on one GPU family."""
    return f"{release(o)} on {o.question.gpu.family}"


def engine_on_family(o: Observation) -> str:
    return f"{o.question.engine} on {o.question.gpu.family}"


PARTITIONS = {"campaign": campaign, "source": source, "engine on a GPU family": engine_on_family}
"""Ways to leave out whole groups."""


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """Rows, once for each partition, by fits that had not seen their group."""

    row: np.ndarray
    partition: np.ndarray
    error: np.ndarray
    """Logarithm of estimated / measured."""
    near: np.ndarray
    """How near the row was to what that fit had seen."""


def seen(rows: list[Observation]) -> dict[str, object]:
    """What a fit of these rows has seen, so that an estimate can say how near a question is."""
    found: dict[str, object] = {
        level: sorted({o.work.keys[level] for o in rows}) for level in ("family,engine", "shape,engine", "generation")
    }
    found["combinations"] = _combinations(rows)
    lengths = ("input_tokens", "output_tokens", "concurrency")
    found["limits"] = {name: [f(getattr(o.question, name) for o in rows) for f in (min, max)] for name in lengths}
    return found


def _combinations(rows: list[Observation]) -> dict[str, dict]:
    """What each combination was measured with, by target."""
    found: dict[str, dict] = {}
    for o in rows:
        own = found.setdefault(o.group, {}).setdefault(o.target, {"generation": [], "precision": []})
        for level in ("generation", "precision"):
            if o.work.keys[level] not in own[level]:
                own[level] = sorted({*own[level], o.work.keys[level]})
        for name in ("input_tokens", "output_tokens", "concurrency"):
            value = round(getattr(o.question, name), 2)
            low, high = own.get(name, (value, value))
            own[name] = [min(low, value), max(high, value)]
    return found


def left_out(data: Data, whole: Differences) -> LeftOut:
    """Leaves out each group of each partition; the same rows under two names are left out once, and count twice."""
    names = {partition: np.array([name_of(o) for o in data.rows]) for partition, name_of in PARTITIONS.items()}
    groups = [(partition, of_rows == name) for partition, of_rows in names.items() for name in np.unique(of_rows)]
    groups = [(partition, left) for partition, left in groups if (left & ~data.kept_out).sum() >= FEWEST_ROWS]
    once = {left.tobytes(): left for _, left in groups}
    _IN_WORKERS.append(Refits(data, ~data.kept_out, whole))
    with multiprocessing.get_context("fork").Pool(os.cpu_count()) as pool:
        found = dict(zip(once, pool.imap(_without, once.values()), strict=True))
    _IN_WORKERS.clear()
    parts = []
    for partition, left in groups:
        rows = np.flatnonzero(left)
        predicted, near = found[left.tobytes()]
        parts.append((rows, np.full(len(rows), partition), predicted - data.logs[rows], near))
    row, partition, error, near = (np.concatenate(part) for part in zip(*parts, strict=True))
    return LeftOut(row=row, partition=partition, error=error, near=near)


_IN_WORKERS: list[Refits] = []
"""What the processes of `left_out` share: each is a fork that has it already."""


def _without(left: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Predicted logarithms of the rows left out, and how near each is to what the fit of the others has seen."""
    refits, start = _IN_WORKERS[0], time.perf_counter()
    data = refits.data
    remaining = seen([o for o, out in zip(data.rows, left | data.kept_out, strict=True) if not out])
    near = [nearness(data.target[i], data.rows[i].work, remaining) for i in np.flatnonzero(left)]
    predicted = refits.without(left)
    print(f"without {left.sum()} rows: {time.perf_counter() - start:.0f} s", flush=True)
    return predicted, near


def of_partition(data: Data, left: LeftOut, partition: str) -> np.ndarray:
    """Error of each row when its group of a partition was left out; not a number where it was not."""
    error, chosen = np.full(data.count, np.nan), left.partition == partition
    error[left.row[chosen]] = left.error[chosen]
    return error


def _groups(data: Data) -> np.ndarray:
    """Rows that err alike: one combination in one campaign."""
    return np.array([f"{campaign(o)}|{o.group}" for o in data.rows])


def _campaigns(groups: np.ndarray) -> set[str]:
    """The campaigns of groups that are named as above."""
    return {group.split("|")[0] for group in groups}


def ranges(data: Data, left: LeftOut, known: np.ndarray) -> dict[str, list[float]]:
    """Measured over estimated at the two ends, by class, of the known of the rows left out.

    Each group of rows that err alike counts as one, as a question's own rows will. Where an engine's own rows on a GPU family say that
    these ranges do not hold there, they are widened (`_widening`).
    """
    group, members, cells = _groups(data), defaultdict(list), defaultdict(list)
    for j in np.flatnonzero(known & ~data.kept_out[left.row]):
        o = data.rows[left.row[j]]
        cells[o.target, o.question.engine, o.question.gpu.family].append(j)
        for name in range_classes(o.target, left.near[j], o.question.engine, o.question.gpu.family):
            members[name].append(j)
    found = {}
    for name, at in members.items():
        names, each, size = np.unique(group[left.row[at]], return_inverse=True, return_counts=True)
        if name in estimate.TARGETS or len(names) >= FEWEST_GROUPS:
            low, high = _weighted_quantiles(-left.error[at], 1 / size[each], (OUTSIDE, 1 - OUTSIDE))
            found[name] = [min(low, -LEAST), max(high, LEAST)]
    for (target, engine, family), at in cells.items():
        ends = {near: range_of(found, target, near, engine, family) for near in NAMES}
        widening = _widening(-left.error[at], np.array([ends[near] for near in left.near[at]]), group[left.row[at]])
        if widening > 1:
            found |= {range_classes(target, near, engine, family)[0]: [widening * end for end in ends[near]] for near in NAMES}
    return {name: [round(float(np.exp(end)), 3) for end in ends] for name, ends in found.items()}


def _widening(measured: np.ndarray, ends: np.ndarray, group: np.ndarray) -> float:
    """The factor on the ends of ranges with which they hold what is promised of an engine's own rows on one GPU family; 1 where these
    are of too few campaigns.

    `measured` over estimated and each row's two ends are logarithms, `group` names the rows that err alike. The quantile over n groups is
    80 % x (n + 1) / n, as a conformal prediction takes it (Lei et al., arXiv 1604.04173): the fewer groups, the more of them a range must
    hold to hold the next one.
    """
    names, each, size = np.unique(group, return_inverse=True, return_counts=True)
    if len(_campaigns(names)) < FEWEST_CAMPAIGNS:
        return 1.0
    needed = np.where(measured > 0, measured / ends[:, 1], measured / ends[:, 0])
    share = min(PROMISED * (len(names) + 1) / len(names), MOST_SURE)
    return max(1.0, float(_weighted_quantiles(needed, 1 / size[each], share)))


def _weighted_quantiles(values: np.ndarray, weights: np.ndarray, shares: tuple[float, float] | float) -> np.ndarray:
    order = np.argsort(values)
    reached = (np.cumsum(weights[order]) - weights[order] / 2) / weights.sum()
    return np.interp(shares, reached, values[order])


@dataclass(frozen=True, kw_only=True)
class Held:
    """Says for each row left out whether it was inside its range, and the range's half width as a factor. Both are not a number where
    no other source has measured the quantity."""

    inside: np.ndarray
    half_width: np.ndarray


def held(data: Data, left: LeftOut) -> Held:
    """Ranges tested: those of a source's rows of one version of an engine, on whatever GPU, come from all other rows."""
    fold = np.array([release(o) for o in data.rows])[left.row]
    inside, width = np.zeros(len(left.row), bool), np.zeros(len(left.row))
    for name in np.unique(fold):
        found = ranges(data, left, fold != name)
        for j in np.flatnonzero(fold == name):
            o = data.rows[left.row[j]]
            if o.target not in found:
                width[j] = np.nan
                continue
            low, high = range_of(found, o.target, left.near[j], o.question.engine, o.question.gpu.family)
            inside[j], width[j] = low <= np.exp(-left.error[j]) <= high, np.sqrt(high / low)
    return Held(inside=inside, half_width=width)


def summary(data: Data, left: LeftOut, test: Held, chosen: np.ndarray) -> dict[str, float | None]:
    """Returns, for the chosen rows, the percentage inside by row and as the mean over groups that err alike, and the median half width."""
    chosen = chosen & np.isfinite(test.half_width)
    if not chosen.any():
        return {"rows": 0, "groups": 0, "campaigns": 0, "inside": None, "groups_inside": None, "half_width": None}
    names, each = np.unique(_groups(data)[left.row[chosen]], return_inverse=True)
    inside = test.inside[chosen]
    of_groups = np.bincount(each, inside) / np.bincount(each)
    return {
        "rows": int(chosen.sum()), "groups": len(names), "campaigns": len(_campaigns(names)), "inside": round(100 * float(inside.mean())),
        "groups_inside": round(100 * float(of_groups.mean())), "half_width": round(float(np.median(test.half_width[chosen])), 2),
    }  # fmt: skip
