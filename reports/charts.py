"""Charts as inline SVG: lines on two logarithmic axes, bars and stacked bars. Colours are CSS classes of html.css, for light and dark."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

_WIDTH = 880
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 24, 16, 46
_ROW, _BAR, _LABELS, _VALUES = 30, 16, 300, 130


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A point of interest on a line."""

    x: float
    y: float
    words: str
    shown: bool
    """Whether the words are drawn beside the mark; hovering over it shows them in any case."""


@dataclass(frozen=True, kw_only=True)
class Line:
    name: str
    style: str
    """A CSS class that sets the colour: series-0 to series-3."""
    points: tuple[tuple[float, float], ...]
    dashed: bool = False
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Bar:
    name: str
    parts: tuple[tuple[float, str, str], ...]
    """Each part's value, CSS class and description."""
    text: str
    """The label at the end of the bar."""


def _text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'


def _svg(height: float, title: str, parts: Iterable[str]) -> str:
    return f'<svg viewBox="0 0 {_WIDTH} {height:.0f}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'


def _ticks(low: float, high: float) -> list[float]:
    """Returns 1, 2 and 5 times each power of ten inside the bounds."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return [step * 10.0**power for power in range(first, last + 1) for step in (1, 2, 5) if low <= step * 10.0**power <= high]


def lines(title: str, series: Sequence[Line], *, x_name: str, y_name: str, at_least_x: float, at_most_y: float) -> str:
    """Draws lines on two logarithmic axes; the area right of `at_least_x` and below `at_most_y` is where the targets are met."""
    height = 420
    xs = [x for line in series for x, _ in line.points] + [at_least_x]
    ys = [y for line in series for _, y in line.points] + [at_most_y]
    low_x, high_x, low_y, high_y = min(xs) / 1.2, max(xs) * 1.5, min(ys) / 1.3, max(ys) * 1.3

    def x_of(value: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * math.log(value / low_x) / math.log(high_x / low_x)

    def y_of(value: float) -> float:
        return height - _BOTTOM - (height - _TOP - _BOTTOM) * math.log(value / low_y) / math.log(high_y / low_y)

    right, bottom = _WIDTH - _RIGHT, height - _BOTTOM
    parts = [
        f'<rect x="{x_of(at_least_x):.1f}" y="{y_of(at_most_y):.1f}" width="{right - x_of(at_least_x):.1f}" '
        f'height="{bottom - y_of(at_most_y):.1f}" class="target"/>',
    ]
    for tick in _ticks(low_x, high_x):
        parts.append(f'<line x1="{x_of(tick):.1f}" x2="{x_of(tick):.1f}" y1="{_TOP}" y2="{bottom}" class="grid"/>')
        parts.append(_text(x_of(tick), bottom + 18, f"{tick:g}", "tick", "middle"))
    for tick in _ticks(low_y, high_y):
        parts.append(f'<line x1="{_LEFT}" x2="{right}" y1="{y_of(tick):.1f}" y2="{y_of(tick):.1f}" class="grid"/>')
        parts.append(_text(_LEFT - 8, y_of(tick) + 4, f"{tick:g}", "tick", "end"))
    parts.append(_text(right, height - 8, x_name, "axis", "end"))
    parts.append(_text(4, _TOP - 2, y_name, "axis"))
    for line in series:
        path = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in line.points)
        dashed = " dashed" * line.dashed
        parts.append(f'<polyline points="{path}" class="line {line.style}{dashed}"><title>{escape(line.name)}</title></polyline>')
        for mark in line.marks:
            x, y = x_of(mark.x), y_of(mark.y)
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" class="mark {line.style}"><title>{escape(mark.words)}</title></circle>')
            # The words go below the mark, because no line falls to the right.
            parts += [_text(x + 10, y + 19, mark.words, "value")] * mark.shown
    parts.append(_text(right - 8, y_of(at_most_y) - 8, "targets met below", "target-name", "end"))
    return _svg(height, title, parts)


def bars(title: str, rows: Sequence[Bar], *, most: float | None = None) -> str:
    """Draws one bar per row, its parts end to end. `most` is the value of the full width, by default that of the longest bar."""
    full = most or max(sum(value for value, _, _ in bar.parts) for bar in rows)
    room = _WIDTH - _LABELS - _VALUES
    parts = []
    for index, bar in enumerate(rows):
        top = 8 + index * _ROW
        parts.append(_text(_LABELS - 12, top + _BAR - 3, bar.name, "label", "end"))
        at = float(_LABELS)
        for value, style, what in bar.parts:
            width = room * value / full
            parts.append(
                f'<rect x="{at:.1f}" y="{top}" width="{max(width - 1, 0):.1f}" height="{_BAR}" class="{style}">'
                f"<title>{escape(what)}</title></rect>"
            )
            at += width
        parts.append(_text(at + 8, top + _BAR - 3, bar.text, "value"))
    return _svg(16 + len(rows) * _ROW, title, parts)


def legend(entries: Iterable[tuple[str, str]]) -> str:
    """CSS class and name of each."""
    return '<p class="legend">' + "".join(f'<span><i class="{style}"></i>{escape(name)}</span>' for style, name in entries) + "</p>"
