"""Small pictures for the documentation, as SVG: lines against a logarithmic axis, and bars."""

from __future__ import annotations

from collections.abc import Sequence
from math import log10

from msgspec import Struct

_WIDTH, _HEIGHT, _MARGIN = 420, 280, 56
_COLOURS = ("#999999", "#1f77b4", "#d62728", "#2ca02c")


class Series(Struct, frozen=True):
    """Points of one line."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


class Lines(Struct, frozen=True):
    """Lines from 0 up; the horizontal axis is logarithmic."""

    title: str
    x_title: str
    y_title: str
    series: Sequence[Series]

    def draw(self) -> list[str]:
        """The elements, in a box of the usual size."""
        largest = max(value for one in self.series for value in one.y) * 1.1
        low = log10(min(self.series[0].x))
        span = max(log10(max(self.series[0].x)) - low, 1e-9)

        def place(x: float, y: float) -> tuple[float, float]:
            across = _MARGIN + (log10(x) - low) / span * (_WIDTH - 2 * _MARGIN)
            return across, _HEIGHT - _MARGIN - y / largest * (_HEIGHT - 2 * _MARGIN)

        found = [*_frame(self.title), _text(_WIDTH / 2, _HEIGHT - 14, self.x_title)]
        found.append(_text(_MARGIN, _MARGIN - 8, self.y_title))
        for x in self.series[0].x:
            found.append(_text(place(x, 0)[0], _HEIGHT - _MARGIN + 16, f"{x:g}"))
        for number in range(1, 5):
            value = largest * number / 4
            found.append(_text(_MARGIN - 6, place(10**low, value)[1] + 4, f"{value:.2g}", "end"))
        for number, one in enumerate(self.series):
            colour = _COLOURS[number % len(_COLOURS)]
            points = " ".join("{:.1f},{:.1f}".format(*place(x, y)) for x, y in zip(one.x, one.y, strict=True))
            found.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
            found.append(_text(_MARGIN + 12, _MARGIN + 14 + 15 * number, one.name, "start", colour))
        return found


class Bars(Struct, frozen=True):
    """Bars side by side, each with its value above it."""

    title: str
    x_title: str
    bars: Sequence[tuple[str, float]]

    def draw(self) -> list[str]:
        """The elements, in a box of the usual size."""
        largest = max(max(value for _, value in self.bars), 1e-9) * 1.1
        room = (_WIDTH - 2 * _MARGIN) / len(self.bars)
        found = [*_frame(self.title), _text(_WIDTH / 2, _HEIGHT - 14, self.x_title)]
        for number, (name, value) in enumerate(self.bars):
            height = value / largest * (_HEIGHT - 2 * _MARGIN)
            left, top = _MARGIN + room * (number + 0.2), _HEIGHT - _MARGIN - height
            colour = _COLOURS[number % len(_COLOURS)]
            found.append(
                f'<rect x="{left:.1f}" y="{top:.1f}" width="{room * 0.6:.1f}" height="{height:.1f}" '
                f'fill="{colour}"/>'
            )
            middle = left + room * 0.3
            found.append(_text(middle, top - 4, f"{value:.3g}"))
            found.append(_text(middle, _HEIGHT - _MARGIN + 16, name))
        return found


def draw(charts: Sequence[Lines | Bars]) -> str:
    """One picture of all charts, side by side."""
    width = _WIDTH * len(charts)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {_HEIGHT}" '
        f'width="{width}" height="{_HEIGHT}" font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{_HEIGHT}" fill="white"/>',
    ]
    for number, chart in enumerate(charts):
        parts += [f'<g transform="translate({_WIDTH * number} 0)">', *chart.draw(), "</g>"]
    return "\n".join([*parts, "</svg>", ""])


def _frame(title: str) -> list[str]:
    left, right, bottom = _MARGIN, _WIDTH - _MARGIN, _HEIGHT - _MARGIN
    axes = f"M{left} {_MARGIN} V{bottom} H{right}"
    return [_text(_WIDTH / 2, 22, title), f'<path d="{axes}" fill="none" stroke="black"/>']


def _text(x: float, y: float, text: str, anchor: str = "middle", colour: str = "black") -> str:
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escaped}</text>'
