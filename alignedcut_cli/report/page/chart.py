"""Line charts as SVG without scripts: Okabe-Ito colours, and a separate dash and marker for each line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from alignedcut_cli.report.page.html import Safe, tag

__all__ = ["STYLES", "Line", "chart", "legend"]

STYLES = 7
WIDTH, HEIGHT = 320, 210
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 24, 36
_DASHES = (None, "7 3", "2 3", "9 3 2 3", "4 2", "12 3", "1 2")
_R = 3.2


@dataclass(frozen=True)
class Line:
    """One line: points (x, y), a band (low, high) at each if known, and the points that have a ring."""

    name: str
    points: Sequence[tuple[float, float]]
    band: Sequence[tuple[float, float]] | None = None
    rings: Sequence[int] = ()
    style: int = 0


def chart(
    title: str,
    lines: Sequence[Line],
    *,
    x: str,
    y: str,
    span: tuple[float, float] | None = None,
    reference: tuple[float, float, str] | None = None,
) -> Safe:
    """One panel. `span` is the range of y if fixed; `reference` a grey band (low, high, name), such as a noise ceiling."""
    xs = [point[0] for line in lines for point in line.points]
    ys = [point[1] for line in lines for point in line.points]
    ys += [end for line in lines for pair in line.band or () for end in pair]
    ys += list(reference[:2]) if reference else []
    low, high = span or (min(0.0, *ys), max(ys))
    frame = _Frame(min(xs), max(xs), low, high if high > low else low + 1)
    parts = [*frame.axes(x, y)]
    if reference:
        top, bottom = frame.y(reference[1]), frame.y(reference[0])
        parts.append(
            tag(
                "rect",
                x=LEFT,
                width=WIDTH - LEFT - RIGHT,
                y=f"{top:.1f}",
                height=f"{max(1.5, bottom - top):.1f}",
                cls="ceiling",
            )
        )
    for line in lines:
        parts += _drawn(frame, line)
    heading = tag("text", title, x=LEFT, y=14, cls="title")
    return tag(
        "svg",
        heading,
        *parts,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=f"{title}: {y} over {x}",
        cls="chart",
    )


@dataclass(frozen=True)
class _Frame:
    first: float
    last: float
    low: float
    high: float

    def x(self, value: float) -> float:
        share = 0.5 if self.last == self.first else (value - self.first) / (self.last - self.first)
        return LEFT + 6 + share * (WIDTH - LEFT - RIGHT - 12)

    def y(self, value: float) -> float:
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    def axes(self, x: str, y: str) -> list[Safe]:
        found = []
        for value in _ticks(self.low, self.high):
            place = f"{self.y(value):.1f}"
            found.append(
                tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=place, y2=place, cls="zero" if value == 0 else "grid")
            )
            found.append(tag("text", f"{value:.4g}", x=LEFT - 5, y=f"{self.y(value) + 3.5:.1f}", text_anchor="end"))
        found += [
            tag("text", f"{value:.4g}", x=f"{self.x(value):.1f}", y=HEIGHT - BOTTOM + 14, text_anchor="middle")
            for value in _ticks(self.first, self.last)
        ]
        middle = (TOP + HEIGHT - BOTTOM) / 2
        found.append(tag("text", x, x=(LEFT + WIDTH) / 2, y=HEIGHT - 6, text_anchor="middle"))
        turned = f"rotate(-90 11 {middle})"
        return [*found, tag("text", y, x=11, y=middle, text_anchor="middle", transform=turned)]


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers, about five, from low to high."""
    if high <= low:
        return [low]
    step = 10 ** math.floor(math.log10((high - low) / 4))
    step *= next(k for k in (1, 2, 5, 10) if (high - low) / (k * step) <= 5)
    return [round(n * step, 10) for n in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _drawn(frame: _Frame, line: Line) -> list[Safe]:
    places = [(frame.x(x), frame.y(y)) for x, y in line.points]
    style = line.style % STYLES
    found = []
    if line.band:
        ends = [
            (frame.x(x), frame.y(low), frame.y(high))
            for (x, _), (low, high) in zip(line.points, line.band, strict=True)
        ]
        if len(ends) == 1:
            ((x, low, high),) = ends
            found.append(tag("line", x1=f"{x:.1f}", x2=f"{x:.1f}", y1=f"{low:.1f}", y2=f"{high:.1f}", cls=f"s{style}"))
        else:
            edge = [f"{x:.1f},{high:.1f}" for x, _, high in ends] + [
                f"{x:.1f},{low:.1f}" for x, low, _ in reversed(ends)
            ]
            found.append(tag("polygon", points=" ".join(edge), cls=f"band f{style}"))
    if len(places) > 1:
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        found.append(tag("polyline", points=joined, cls=f"s{style}", stroke_dasharray=_DASHES[style]))
    found += [_marker(style, x, y) for x, y in places]
    return found + [
        tag("circle", cx=f"{places[n][0]:.1f}", cy=f"{places[n][1]:.1f}", r=7, cls=f"ring s{style}") for n in line.rings
    ]


def _marker(style: int, x: float, y: float) -> Safe:
    """The marker of a style: circle, square, triangle, diamond, its mirror image, bar, cross."""
    r = _R
    if style == 0:
        return tag("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=r, cls="f0")
    shapes = {
        1: [(-r, -r), (r, -r), (r, r), (-r, r)],
        2: [(0, -r * 1.2), (r * 1.2, r), (-r * 1.2, r)],
        3: [(0, -r * 1.3), (r * 1.3, 0), (0, r * 1.3), (-r * 1.3, 0)],
        4: [(0, r * 1.2), (r * 1.2, -r), (-r * 1.2, -r)],
        5: [(-r * 1.4, -1.2), (r * 1.4, -1.2), (r * 1.4, 1.2), (-r * 1.4, 1.2)],
        6: [(-1.2, -r * 1.4), (1.2, -r * 1.4), (1.2, r * 1.4), (-1.2, r * 1.4)],
    }
    points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in shapes[style])
    return tag("polygon", points=points, cls=f"f{style}")


def legend(names: Sequence[tuple[str, int]]) -> Safe:
    """The key of some lines: their names with colour, dash and marker."""
    items = []
    for name, style in names:
        stroke = tag(
            "line", x1=0, x2=30, y1=7, y2=7, cls=f"s{style % STYLES}", stroke_dasharray=_DASHES[style % STYLES]
        )
        items.append(
            tag("li", tag("svg", stroke, _marker(style % STYLES, 15, 7), viewBox="0 0 30 14", aria_hidden="true"), name)
        )
    return tag("ul", *items, cls="legend")
