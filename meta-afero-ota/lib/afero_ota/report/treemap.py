# SPDX-License-Identifier: MIT
"""A squarified treemap (Bruls, Huizing, van Wijk 2000) as SVG: areas of groups and, inside them, of their parts.

A charting library would be many times the size of the page that it is shipped in; this is one algorithm. The width follows the page,
while texts keep their size: horizontal places are percentages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .page import Markup, element
from .words import bytes_text

if TYPE_CHECKING:
    from collections.abc import Sequence

_LETTER, _LINE = 7, 17  # pixels that a letter and a line of a label take
_SMALLEST = 3  # pixels; nothing smaller is drawn inside a group

Box = tuple[float, float, float, float]  # left, top, width, height


class Group(NamedTuple):
    """A group of the map. size: its area. class_: its colour in page.css. link: where it leads, "" for nowhere.

    parts: name and size of what is in it; they need not fill it.
    """

    name: str
    size: int
    title: str
    class_: str
    link: str
    parts: Sequence[tuple[str, int]]


def draw(groups: Sequence[Group], width: int, height: int, label: str, class_: str) -> Markup:
    """The map of groups. width: pixels below which it is not shown. height: of the drawing, in pixels."""
    groups = sorted(groups, key=lambda group: -group.size)
    boxes = squarify([group.size for group in groups], (0, 0, width, height))
    drawn = [_group(group, box, width) for group, box in zip(groups, boxes)]
    return element("svg", *drawn, height=height, role="group", aria_label=label, class_=f"treemap {class_}")


def squarify(sizes: Sequence[int], box: Box) -> list[Box]:
    """Boxes of areas in proportion to the sizes (more than 0, largest first) that fill a box and are as square as they can be."""
    left, top, width, height = box
    boxes: list[Box] = []
    rest, start = float(sum(sizes)), 0
    while start < len(sizes) and width > 0 and height > 0:
        side, scale = min(width, height), width * height / rest
        end, row = start + 1, sizes[start] * scale
        worst = _worst(row, row, row, side)
        # a row takes the next one as long as that makes its worst box squarer
        while end < len(sizes):
            area = sizes[end] * scale
            longer = _worst(sizes[start] * scale, area, row + area, side)
            if longer > worst:
                break
            end, row, worst = end + 1, row + area, longer
        depth, at = row / side, 0.0
        for size in sizes[start:end]:
            length = size * scale / depth
            boxes.append((left, top + at, depth, length) if height <= width else (left + at, top, length, depth))
            at += length
        rest -= sum(sizes[start:end])
        start = end
        if height <= width:
            left, width = left + depth, width - depth
        else:
            top, height = top + depth, height - depth
        if rest <= 0:
            break
    return boxes


def _worst(largest: float, smallest: float, row: float, side: float) -> float:
    """The aspect ratio of the least square box in a row of this area along a side."""
    return max(side * side * largest / (row * row), row * row / (side * side * smallest))


def _group(group: Group, box: Box, width: int) -> Markup:
    left, top, wide, high = box
    label = _cut(group.name, wide - 8) if high >= _LINE else ""
    inside = [element("rect", width="100%", height="100%", class_="cell"), element("title", group.title)]
    if label and high >= 2 * _LINE:
        inside += _parts(group, wide, high)
    if label:
        inside.append(element("text", label, x=4, y=13))
    drawn = element(
        "svg",
        *inside,
        x=f"{100 * left / width:.2f}%",
        y=top,
        width=f"{100 * wide / width:.2f}%",
        height=high,
        class_=group.class_,
    )
    return element("a", drawn, href=group.link) if group.link else drawn


def _parts(group: Group, wide: float, high: float) -> list[Markup]:
    whole = max(group.size, 1)
    parts = [part for part in group.parts if part[1] > 0]
    rest = whole - sum(size for _, size in parts)
    sizes = [size for _, size in parts]
    area: Box = (2, _LINE + 1, wide - 4, high - _LINE - 3)
    if rest > 0:
        # what is not named takes its share, and stays blank
        share = 1 - rest / whole
        area = (*area[:2], area[2] * share, area[3]) if area[2] > area[3] else (*area[:3], area[3] * share)
    drawn = []
    for (name, size), (left, top, width, height) in zip(parts, squarify(sizes, area)):
        if width < _SMALLEST or height < _SMALLEST:
            continue
        part = element(
            "rect",
            element("title", f"{name}: {bytes_text(size)}"),
            x=f"{100 * left / wide:.2f}%",
            y=top,
            width=f"{100 * width / wide:.2f}%",
            height=height,
            class_="part",
        )
        drawn.append(part)
        label = _cut(name, width - 6) if height >= _LINE else ""
        if label:
            drawn.append(element("text", label, x=f"{100 * left / wide:.2f}%", dx=3, y=top + 13, class_="file"))
    return drawn


def _cut(name: str, width: float) -> str:
    """What of a name fits, "" when that would say nothing."""
    letters = int(width / _LETTER)
    if len(name) <= letters:
        return name
    return f"{name[: letters - 1]}…" if letters >= 6 else ""
