"""docs/guide-coverage.md: what becomes of each setting of the guide in prod. Generated, but for what follows `BY_HAND`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from planner import plan
from reports.outcomes import Row, outcomes, rendered, tally
from settings import files
from settings.flatten import written

PATH = files.ROOT / "docs" / "guide-coverage.md"
BY_HAND = "<!-- From here on written by hand. -->"
GUIDE = ("shard", "model", "sharding", "coordinator", "monitoring", "caching", "nodeTuning", "profiling", "loadTest", "targets")
"""The sections of the guide; the others are ours."""
_INTRODUCTION = """\
# Guide coverage

What becomes of each setting of the guide in `Pulumi.prod.yaml`. Made by `python -m stacks coverage --write` from the code that
renders; a test fails when this page is stale, and others find each value at its place: in what the program registers, and after a
rehearsal in the real cluster and in the stand-in for Azure.

| outcome | means |
|---|---|
| in force | a field of a resource, or a line of a file that a program of this repository reads, has the value |
| passed through | given to the image in the server's own file or environment; nothing here can verify what it does with it |
| translated | something else is honoured instead, as Azure or Kubernetes has it |
| adjusted | what was asked does not fit; another value is given |
| not supported | the GPU, the CPU or Kubernetes cannot do it |
| unused | rendered or not, nothing reads it while another setting has its value |
"""


def page(by_hand: str) -> str:
    """The whole page; `by_hand` is what follows the mark."""
    checked = files.from_file(files.stack_file_path("prod"), "prod")
    assert checked.settings, checked.problems
    there = written(checked.settings)
    made = plan(checked.settings)
    every = outcomes(checked.settings, made, rendered(made, "prod"), "prod")
    rows = [row for row in every if row.key in there and _section(row) in GUIDE]
    rows.sort(key=lambda row: checked.file.line_of(row.key) or 0)
    parts = [_INTRODUCTION, f"{len(rows)} settings: {tally(tuple(rows))}.\n"]
    parts += ["\n".join(_table(section, list(group))) for section, group in groupby(rows, key=_section)]
    return "\n".join([*parts, BY_HAND, by_hand.strip("\n")]) + "\n"


def stale(path: Path = PATH) -> str | None:
    """The page as it should be; None when it is."""
    now = path.read_text() if path.exists() else ""
    made = page(now.partition(BY_HAND)[2])
    return None if made == now else made


def _section(row: Row) -> str:
    return row.key.partition(".")[0]


def _table(section: str, rows: list[Row]) -> Iterator[str]:
    yield f"## {section}\n"
    yield "| setting | asked | outcome | given | where | because | source |"
    yield "|---|---|---|---|---|---|---|"
    for row in rows:
        places = "<br>".join(f"`{row.place_text(place)}`" for place in row.places)
        given = "" if row.given == row.asked else f"`{row.given}`"
        cells = (f"`{row.key.removeprefix(f'{section}.')}`", f"`{row.asked}`", row.outcome, given, places, row.because, row.source)
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
    yield ""
