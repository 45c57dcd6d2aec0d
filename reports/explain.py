"""`python -m stacks explain`: the rows of `outcomes.py` as people read them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

from reports.outcomes import ORDER, Row, tally
from settings.account import Outcome
from settings.error_messages import closest

WIDTH = 120
"""The width of the output, in characters, where it goes to no terminal."""
_STYLES = {"error": "bold red", "not supported": "red", "adjusted": "yellow", "translated": "cyan", "unused": "dim"}
_ONE_LINE: tuple[Outcome, ...] = ("passed through", "in force")
"""Outcomes that a place says more of than a reason."""


def selected(rows: Iterable[Row], key: str | None) -> tuple[Row, ...]:
    """The setting with this key, or all below it (`shard.config`). Raises KeyError with what to type instead."""
    rows = tuple(rows)
    if key is None:
        return rows
    found = tuple(row for row in rows if row.key == key) or tuple(row for row in rows if row.key.startswith((f"{key}.", f"{key}[")))
    if found:
        return found
    near = closest(key, [row.key for row in rows]) or closest(key, {row.key.rpartition(".")[0] for row in rows})
    raise KeyError(f"there is no setting {key}" + (f"; did you mean {near}?" if near else ""))


def show(rows: tuple[Row, ...], stack: str, console: Console) -> None:
    """One setting with all that is known of it, or a table of several, by outcome."""
    if len(rows) == 1:
        _block(rows[0], console)
        return
    _print(console, f"{len(rows)} settings of {stack}: {tally(rows)}")
    for outcome in ORDER:
        of_outcome = [row for row in rows if row.outcome == outcome]
        if not of_outcome:
            continue
        _print(console, f"\n{outcome} ({len(of_outcome)})", _STYLES.get(outcome, "bold"))
        if outcome in _ONE_LINE:
            _lines(of_outcome, console)
        else:
            for row in of_outcome:
                _print(console, _wrapped(f"  {row.key}: {row.change}", console.width, "    "))
                _print(console, _wrapped(f"      {row.because}", console.width, "      "), "dim")


def _block(row: Row, console: Console) -> None:
    console.print(Text.assemble((row.key, "bold"), ": ", (row.outcome, _STYLES.get(row.outcome, "green"))))
    codes = ", ".join(row.codes)
    for name, texts in (
        ("asked", [row.asked]),
        ("given", [row.given]),
        ("where", list(map(row.place_text, row.places))),
        ("because", [row.because]),
        ("source", [row.source]),
        ("finding", [f"{codes} in docs/findings.md" if codes else ""]),
    ):
        for index, text in enumerate(filter(None, texts)):
            _print(console, _wrapped(f"  {'' if index else name:<9}{text}", console.width, " " * 11))


def _lines(rows: list[Row], console: Console) -> None:
    """One line a setting: key, value, first place."""
    key, value = (
        min(max(len(text(row)) for row in rows), most) for text, most in ((lambda row: row.key, 48), (lambda row: row.change, 18))
    )
    for row in rows:
        room = max(20, console.width - max(key, len(row.key)) - value - 6)
        _print(console, f"  {row.key:<{key}}  {_cut(row.change, value):<{value}}  {_place(row, room)}".rstrip())


def _place(row: Row, width: int) -> str:
    """The beginning of a long path is left out first: it is the same for all of a pod's fields."""
    if not row.places:
        return ""
    place = row.places[0]
    if place.file or place.holds is None:
        return _cut(place.file if place.file and place.holds is not None else str(place), width)
    text = str(place)
    if len(text) <= width:
        return text
    tails = [place.path[at:] for at, letter in enumerate(place.path) if letter == "."]
    short = [f"{place.kind}: …{tail}" for tail in tails]
    return next((text for text in short if len(text) <= width), _cut(text, width))


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _wrapped(text: str, width: int, indent: str) -> str:
    return textwrap.fill(text, width, subsequent_indent=indent, break_on_hyphens=False, drop_whitespace=True) or text


def _print(console: Console, text: str, style: str = "") -> None:
    console.print(Text(text, style=style), soft_wrap=True)
