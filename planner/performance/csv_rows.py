"""Someone's CSV in the measurements' columns, as spreadsheets and hands write it: its rows by the names in its first line."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

COLUMNS = (
    "engine", "engine_version", "params_b", "layers", "hidden", "heads", "kv_heads", "intermediate", "vocab", "gpu", "tp", "pp",
    "weight_precision", "isl", "osl", "concurrency_or_batch", "kind",
)  # fmt: skip
"""Columns that a row must have; the rest of the measurements' columns may be left out."""
TOO_MANY = "too many cells"
"""A key of a row of which nobody knows which cell is which."""


class Impossible(ValueError):
    """A question that no machine can run, or that does not say enough; the text says why in one sentence."""


def opened(path: Path) -> TextIO:
    """A CSV as spreadsheets write it: with or without a byte order mark; what is no UTF-8 spoils the cell that holds it, not the file."""
    return path.open(newline="", encoding="utf-8-sig", errors="replace")


def records(lines: Iterable[str]) -> Iterator[dict[str, str]]:
    """Rows of someone's CSV by the names in its first line; a cell that is not there is left out. Raises Impossible without such a line."""
    cells = filter(None, _cells(lines))
    header = [name.strip().lower() for name in next(cells, [])]
    if not set(COLUMNS) & set(header):
        raise Impossible(f"no first line with the columns {', '.join(COLUMNS)}, separated by commas")
    for row in cells:
        # Commas at the end of a line are no cells.
        yield dict(zip(header, row, strict=False)) | ({TOO_MANY: str(len(row))} if any(row[len(header) :]) else {})


def _cells(lines: Iterable[str]) -> Iterator[list[str]]:
    """As `csv.reader`, but a quote that nothing closes spoils its own line, not all below it."""
    taken: list[str] = []

    def remembered() -> Iterator[str]:
        for line in lines:
            taken.append(line)
            yield line

    reader, width = csv.reader(remembered()), 0
    while True:
        taken.clear()
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error:
            row = []
        width = width or len(row)
        if len(taken) > 1 and len(row) != width:
            yield from map(_one_line, taken)
        elif taken:
            yield row or _one_line(taken[0])


def _one_line(line: str) -> list[str]:
    try:
        return next(csv.reader([line]), [])
    except csv.Error:
        return [line[:80]]
