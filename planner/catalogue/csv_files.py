"""Reads the tables in `data/`, in which every figure has its source and date (see data/README.md)."""

from __future__ import annotations

import csv
from pathlib import Path

_DATA = Path(__file__).parent / "data"


def rows(name: str) -> list[dict[str, str]]:
    """Returns the rows of a table in `data/`, each by the names in its first line."""
    with (_DATA / name).open(newline="") as file:
        return list(csv.DictReader(file))


def number(cell: str) -> float | None:
    """Returns the number in a cell; None for an empty one. Raises ValueError for other text."""
    return float(cell) if cell else None
