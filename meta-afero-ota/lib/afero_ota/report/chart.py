# SPDX-License-Identifier: MIT
"""Charts as SVG whose width follows the page while the text keeps its size; colours come from CSS classes."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence

from .page import Markup, element, join

_COLUMNS = 400  # more steps than a screen can show only make the page larger
_WIDE = 1000  # units of the drawing, in both directions
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_TIME_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)

Point = tuple[float, Mapping[str, int]]  # seconds since 1970, and how many of each class from then on


def steps(points: Sequence[Point], bands: Sequence[str], label: str, marks: Mapping[str, float], height: int) -> Markup:
    """How many there are over time, as bands on top of each other, the first at the bottom.

    points: by time. bands: classes. marks: times to point out, by the word for each. height: of the drawing, in pixels.
    """
    columns = _thinned(points)
    start, end = columns[0][0], max(columns[-1][0], columns[0][0] + 1)
    highest = max(1, *(sum(counts.get(band, 0) for band in bands) for _, counts in columns))
    xs = [(when - start) / (end - start) * _WIDE for when, _ in columns]
    below, areas = [0] * len(columns), []
    for band in bands:
        above = [low + counts.get(band, 0) for low, (_, counts) in zip(below, columns)]
        if above != below:
            scale = [_WIDE * (1 - value / highest) for value in (*above, *below)]
            path = _area(xs, scale[: len(xs)], scale[len(xs) :])
            areas.append(element("path", class_=f"area {band}", d=path))
        below = above
    values = _value_ticks(highest)
    lines = [
        element("line", x2="100%", y1=_y(value, highest, height), y2=_y(value, highest, height), class_="grid")
        for value in values
    ]
    numbers = [
        element("text", f"{value:,}", x="100%", dx=-8, y=_y(value, highest, height) + 4, text_anchor="end")
        for value in values
    ]
    box = f"0 0 {_WIDE} {_WIDE}"
    return element(
        "div",
        element("svg", *numbers, height=height + 40, class_="axis", aria_hidden="true"),
        element(
            "svg",
            *lines,
            element("svg", *areas, viewBox=box, preserveAspectRatio="none", height=height, y=16),
            *_marks(marks, start, end, height),
            *_time_axis(start, end, height),
            height=height + 40,
            role="img",
            aria_label=label,
        ),
        class_="chart",
    )


def share(parts: Sequence[tuple[str, int]], whole: int, height: int, label: str, class_: str | None = None) -> Markup:
    """One horizontal bar of parts (class, number) of a whole, side by side."""
    rectangles, left = [], 0.0
    for band, number in parts:
        if number > 0:
            width = 100 * number / max(whole, 1)
            rectangles.append(element("rect", x=f"{left:.2f}%", width=f"{width:.2f}%", height=height, class_=band))
            left += width
    return element("svg", *rectangles, height=height, role="img", aria_label=label, class_=class_)


def day(moment: float) -> str:
    """A date of UTC, such as ``25 Nov``."""
    parts = time.gmtime(moment)
    return f"{parts.tm_mday} {_MONTHS[parts.tm_mon - 1]}"


def clock(moment: float, seconds: bool = True) -> str:
    """A time of day in UTC."""
    return time.strftime("%H:%M:%S" if seconds else "%H:%M", time.gmtime(moment))


def _thinned(points: Sequence[Point]) -> list[Point]:
    """At most so many columns; of several points in one column the last is kept, and time never runs back."""
    start, span = points[0][0], max(point[0] for point in points) - points[0][0]
    columns: dict[int, Point] = {-1: points[0]}
    latest = start
    for when, counts in points[1:]:
        latest = max(latest, when)
        columns[int((latest - start) / span * _COLUMNS) if span else 0] = (latest, counts)
    return list(columns.values())


def _area(xs: Sequence[float], above: Sequence[float], below: Sequence[float]) -> Markup:
    path = [f"M{xs[0]:.1f} {above[0]:.1f}"]
    for number in range(1, len(xs)):
        if above[number] != above[number - 1]:
            path.append(f"H{xs[number]:.1f}V{above[number]:.1f}")
    path.append(f"H{_WIDE}V{below[-1]:.1f}")
    for number in range(len(xs) - 1, 0, -1):
        if below[number] != below[number - 1]:
            path.append(f"H{xs[number]:.1f}V{below[number - 1]:.1f}")
    return Markup("".join(path) + f"H{xs[0]:.1f}Z")


def _y(value: float, highest: int, height: int) -> float:
    return 16 + height * (1 - value / highest)


def _value_ticks(highest: int) -> list[int]:
    size = 10 ** int(math.log10(highest))
    step = next(one for one in (size // 5, size // 2, size, size * 2, size * 5) if one and highest / one <= 5)
    return list(range(0, highest + 1, step))


def _time_axis(start: float, end: float, height: int) -> list[Markup]:
    days = math.ceil((end - start) / 86_400 / 4) * 86_400
    step = next((one for one in _TIME_STEPS if (end - start) / one <= 4), days)
    ticks = []
    for number in range(math.ceil(start / step), int(end / step) + 1):
        when = number * step
        place = 100 * (when - start) / (end - start)
        word = day(when) if when % 86_400 == 0 else clock(when, step < 60)
        anchor = "start" if place < 8 else "end" if place > 92 else "middle"
        ticks.append(element("text", word, x=f"{place:.2f}%", y=height + 34, text_anchor=anchor))
        ticks.append(
            element("line", x1=f"{place:.2f}%", x2=f"{place:.2f}%", y1=height + 16, y2=height + 21, class_="grid")
        )
    return ticks


def _marks(marks: Mapping[str, float], start: float, end: float, height: int) -> list[Markup]:
    drawn, free = [], 0.0
    for word, when in marks.items():
        place = 100 * (when - start) / (end - start)
        if place < 0 or place > 100:
            continue
        drawn.append(element("line", x1=f"{place:.2f}%", x2=f"{place:.2f}%", y1=4, y2=height + 16, class_="mark"))
        # a word needs room, also on a phone
        if free <= place <= 80:
            drawn.append(element("text", word, x=f"{place:.2f}%", dx=4, y=11))
            free = place + 20
    return [join(*drawn)]
