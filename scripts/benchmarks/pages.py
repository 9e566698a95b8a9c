# SPDX-License-Identifier: MIT
"""The results for people: tables in Markdown, and a page of its own with bars."""

from __future__ import annotations

from html import escape
from typing import Any

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; background: #fff }
h2 { margin: 2rem 0 .3rem; font-size: 1.1rem } p { margin: .3rem 0; color: #555 }
svg { width: 100%; height: auto; font: 13px system-ui, sans-serif } .ours { fill: #1b6ac9 } .peer { fill: #9aa5b1 }
.range { stroke: #222 } .text { fill: currentColor } .missed { color: #b42318 } .met { color: #1a7f37 }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #16181c } p { color: #aaa } .range { stroke: #ddd } }
"""
_BAR, _LEFT, _WIDTH = 26, 330, 900  # pixels: a bar's height, where bars begin, the whole


def markdown(document: dict[str, Any]) -> str:
    """All tables, the targets, and what could not be run."""
    lines = [f"{_machine(document)}; {document['rounds']} rounds.", ""]
    for table in document["tables"]:
        unit = table["unit"]
        against = f", against {table['base']}" if table["base"] else ""
        lines += [
            f"### {table['title']}",
            "",
            f"| | {unit}: median (min to max) | ratio{against} | memory |",
            "|---|---|---|---|",
        ]
        lines += [f"| {row['name']} | {_cells(row)} |" for row in table["rows"]]
        lines.append("")
        if table["target"]:
            lines += [f"Target: {table['target']}: {_verdict(table)}.", ""]
        for note in table["notes"]:
            lines += [note, ""]
    lines += [f"Left out: {name} ({reason})." for name, reason in document["left out"].items()]
    return "\n".join(lines).rstrip() + "\n"


def _machine(document: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in document["machine"].items())


def _cells(row: dict[str, Any]) -> str:
    if "median" not in row:
        return f"{row.get('missing', 'not run')} | | "
    ratio = (
        f"{row['ratio']['median']:.2f} ({row['ratio']['min']:.2f} to {row['ratio']['max']:.2f})"
        if "ratio" in row
        else ""
    )
    memory = f"{row['memory'] / (1 << 20):.0f} MiB" if row["memory"] else ""
    return f"{_short(row['median'])} ({_short(row['min'])} to {_short(row['max'])}) | {ratio} | {memory}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _verdict(table: dict[str, Any]) -> str:
    return {True: "met", False: "missed", None: "not measured"}[table["met"]]


def html(document: dict[str, Any]) -> str:
    """One page without scripts or anything from elsewhere: bars for the medians, lines from minimum to maximum."""
    body = [
        f"<p>{escape(_machine(document))}; {document['rounds']} rounds. Bars are medians, lines reach from minimum to maximum.</p>"
    ]
    for table in document["tables"]:
        body.append(f"<h2>{escape(table['title'])}</h2>")
        if table["target"]:
            body.append(f'<p>Target: {escape(table["target"])}: <b class="{_verdict(table)}">{_verdict(table)}</b></p>')
        body += [_chart(table), *(f"<p>{escape(note)}</p>" for note in table["notes"])]
    body += [f"<p>Left out: {escape(name)} ({escape(reason)})</p>" for name, reason in document["left out"].items()]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Benchmark</title><style>{_STYLE}</style>'
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body><h1>Benchmark</h1>\n'
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _chart(table: dict[str, Any]) -> str:
    rows = table["rows"]
    scale = (_WIDTH - _LEFT - 190) / max((row.get("max", 0.0) for row in rows), default=1.0)
    parts = []
    for number, row in enumerate(rows):
        top = number * _BAR
        parts.append(
            f'<text class="text" x="{_LEFT - 8}" y="{top + 17}" text-anchor="end">{escape(row["name"])}</text>'
        )
        if "median" not in row:
            parts.append(
                f'<text class="text" x="{_LEFT}" y="{top + 17}">{escape(row.get("missing", "not run"))}</text>'
            )
            continue
        kind = "ours" if "afero-ota" in row["name"] else "peer"
        start, end, middle = _LEFT + row["min"] * scale, _LEFT + row["max"] * scale, top + _BAR / 2
        parts.append(
            f'<rect class="{kind}" x="{_LEFT}" y="{top + 4}" width="{row["median"] * scale:.1f}" height="{_BAR - 8}"/>'
        )
        parts.append(f'<line class="range" x1="{start:.1f}" y1="{middle}" x2="{end:.1f}" y2="{middle}"/>')
        parts.append(
            f'<text class="text" x="{end + 8:.1f}" y="{top + 17}">{_short(row["median"])} {escape(table["unit"])}</text>'
        )
    return f'<svg viewBox="0 0 {_WIDTH} {len(rows) * _BAR}" role="img" aria-label="{escape(table["title"])}">{"".join(parts)}</svg>'
