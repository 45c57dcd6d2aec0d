"""Reads a user's CSV with the measurements' columns, as spreadsheets and people write it: its rows by the names in its first line."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

COLUMNS = (
    "engine", "engine_version", "params_b", "layers", "hidden", "heads", "kv_heads", "intermediate", "vocab", "gpu", "tp", "pp",
    "weight_precision", "isl", "osl", "concurrency_or_batch", "kind",
)  # fmt: skip
"""The columns that a row must have. The others of the measurements' columns may be left out."""
TOO_MANY = "too many cells"
"""The key that marks a row with more cells than the header; its value is their number."""


class Impossible(ValueError):
    """A question that no machine can run, or that does not say enough. The text is one sentence that says why."""


def opened(path: Path) -> TextIO:
    """Opens a CSV as spreadsheets write it, with or without a byte order mark. Bytes that are not UTF-8 spoil only their own cell."""
    return path.open(newline="", encoding="utf-8-sig", errors="replace")


def records(lines: Iterable[str]) -> Iterator[dict[str, str]]:
    """Yields the rows by the names in the first line; missing cells are left out. Raises Impossible without such a line."""
    cells = filter(None, _cells(lines))
    header = [name.strip().lower() for name in next(cells, [])]
    if not set(COLUMNS) & set(header):
        raise Impossible(f"no first line with the columns {', '.join(COLUMNS)}, separated by commas")
    for row in cells:
        # Commas at the end of a line do not count as cells.
        yield dict(zip(header, row, strict=False)) | ({TOO_MANY: str(len(row))} if any(row[len(header) :]) else {})


def _cells(lines: Iterable[str]) -> Iterator[list[str]]:
    """Yields cells like `csv.reader`, but a quote without a closing one spoils only its own line, not all lines below it."""
    consumed: list[str] = []

    def recorded() -> Iterator[str]:
        for line in lines:
            consumed.append(line)
            yield line

    reader, width = csv.reader(recorded()), 0
    while True:
        consumed.clear()
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error:
            row = []
        width = width or len(row)
        if len(consumed) > 1 and len(row) != width:
            yield from map(_one_line, consumed)
        elif consumed:
            yield row or _one_line(consumed[0])


def _one_line(line: str) -> list[str]:
    try:
        return next(csv.reader([line]), [])
    except csv.Error:
        return [line[:80]]
