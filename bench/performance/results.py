"""Where a fit's results lie, and which input each of them came from."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

_ROOT = Path(__file__).parents[2]
FITTED = _ROOT / "planner/performance/data/fitted.json"
"""What the planner reads: constants, ranges, and what the fit has seen."""
REPORT = _ROOT / "bench/results/performance_fit.json"
"""The errors of the fit, by quantity and by group."""
RANGES = _ROOT / "bench/results/performance_ranges.json"
"""What the ranges hold on rows left out."""
LEFT_OUT = _ROOT / "bench/results/performance_left_out.csv"
"""The estimate of each row by fits that had not seen its combination, or its campaign."""
PAGE = _ROOT / "docs/performance-model.md"
_INPUT = "# input "


def write_json(path: Path, identity: str, content: Mapping[str, object], indent: int) -> None:
    """One object, with the identity of the input it came from."""
    path.write_text(json.dumps({"input": identity, **content}, indent=indent, sort_keys=True) + "\n")


def write_left_out(identity: str, rows: Iterable[tuple[str, ...]]) -> None:
    """Rows of (id, quantity, estimate, without_campaign) below a line with the identity of their input."""
    with LEFT_OUT.open("w", newline="") as file:
        file.write(f"{_INPUT}{identity}\n")
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("id", "quantity", "estimate", "without_campaign"))
        writer.writerows(rows)


def left_out() -> list[dict[str, str]]:
    """The rows of `LEFT_OUT`."""
    with LEFT_OUT.open(newline="") as file:
        file.readline()
        return list(csv.DictReader(file))


def input_of(path: Path) -> str:
    """The identity of the input that a result came from."""
    if path.suffix == ".csv":
        return path.open().readline().removeprefix(_INPUT).strip()
    return json.loads(path.read_text())["input"]
