# SPDX-License-Identifier: MIT
"""An image as Markdown, for logs, merge requests and mails."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..text import visible
from . import findings
from .words import bytes_text, cves, duration, file_change, sbom, summary

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .changes import Changes
    from .facts import Facts, Package

_MOST = 100  # rows of a table of files
_FACTS = (
    ("image", "image"),
    ("machine", "machine"),
    ("distro", "distro"),
    ("buildTime", "build time"),
    ("fstype", "image type"),
    ("file", "file"),
    ("sha256", "SHA-256"),
)


def markdown(facts: Facts, changes: Changes | None = None, compressed: findings.Compressed = ()) -> str:
    """The report as Markdown; changes since an earlier image come first. Ends with a line end."""
    lines = [f"# {visible(facts.title)}", ""]
    if facts.record.get("description"):
        lines += [visible(facts.record["description"]), ""]
    if changes is not None:
        lines += _changes(changes)
    lines += _table(("fact", "value"), _identity(facts))
    if compressed:
        rows = [(name, "no such program here" if size is None else f"{size:,} bytes") for name, size in compressed]
        lines += ["## This image, compressed by", "", *_table(("program", "size"), rows)]
    if facts.history:
        rows = [(one.version, f"{one.size:,} bytes") for one in (*facts.history, facts.release)]
        lines += ["## Size over the last releases", "", *_table(("version", "payload"), rows)]
    found = findings.remarkable(facts)
    if found:
        files = [(path, ", ".join(words), facts.files[path].package) for path, words in list(found.items())[:_MOST]]
        lines += [f"## Files to look at ({len(found)})", "", *_table(("file", "it is", "package"), files)]
    layers = facts.manifest.get("layers") or {}
    if layers:
        lines += [f"## Layers ({len(layers)})", "", *_table(("name", "revision"), sorted(layers.items()))]
    return "\n".join(lines + _packages(facts))


def _identity(facts: Facts) -> list[tuple[str, str]]:
    rows = [("version number", str(facts.record.get("versionNumber") or "none"))]
    rows += [(shown, str(facts.manifest[key])) for key, shown in _FACTS if facts.manifest.get(key)]
    rows.append(("size", f"{facts.size:,} bytes"))
    rows += [("SBOM", sbom(facts)), ("CVEs", cves(facts))]
    if facts.limit:
        rows.append(("size limit", f"{facts.limit:,} bytes"))
    if facts.files:
        rows.append(("unpacked", f"{facts.unpacked:,} bytes in {facts.count:,} files"))
    if facts.slot and facts.files:
        rows.append(("system slot", f"{findings.occupied(facts):,} of {facts.slot:,} bytes"))
    times = "; ".join(f"{duration(seconds)} at {speed}" for speed, seconds in findings.downloads(facts.size).items())
    return [*rows, ("download", times)]


def _packages(facts: Facts) -> list[str]:
    if any(package.licence or package.size for package in facts.packages.values()):
        rows = [(name, one.version, bytes_text(one.size), one.licence) for name, one in sorted(facts.packages.items())]
        return [f"## Packages ({len(rows)})", "", *_table(("name", "version", "size", "licence"), rows)]
    plain = facts.manifest.get("packages") or {}
    return [f"## Packages ({len(plain)})", "", *_table(("name", "version"), sorted(plain.items()))] if plain else []


def _changes(changes: Changes) -> list[str]:
    lines = [f"## Changes since {visible(changes.before.title)}", ""]
    if changes.none:
        return [*lines, "None: the two payloads are the same, byte for byte.", ""]
    size = changes.after.size - changes.before.size
    lines += [f"{visible(summary(changes))}.", ""]
    lines += [f"The payload is {abs(size):,} bytes {'larger' if size >= 0 else 'smaller'}.", ""]
    if changes.remarkable:
        found = [(one.path, f"new: {', '.join(one.remarks)}", one.package) for one in changes.remarkable[:_MOST]]
        lines += ["### Look at these first", "", *_table(("file", "it is", "package"), found)]
    rows = [("package", one.name, _version(one.before), _version(one.after)) for one in changes.named]
    rows += [("layer", name, old or "", new or "") for name, (old, new) in changes.layers.items()]
    rows += [("CVE", name, old or "", new or "") for name, (old, new) in changes.cves.items()]
    if not rows and not changes.files:
        return [*lines, "Packages and layers are the same.", ""]
    lines += _table(("part", "name", "before", "now"), rows) if rows else []
    for name, commits in changes.after.commits.items():
        lines += [f"### What changed in {visible(name)}", "", *(f"- {visible(one)}" for one in commits), ""]
    if changes.files:
        files = [(one.path, file_change(one), one.package) for one in changes.files]
        more = [f"… and {len(files) - _MOST:,} more.", ""] if len(files) > _MOST else []
        lines += [f"### Files ({len(files):,})", "", *_table(("file", "change", "package"), files[:_MOST]), *more]
    return lines


def _version(package: Package | None) -> str:
    return package.version if package else ""


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    cells = [header, ["---"] * len(header), *rows]
    # a pipe would end the cell
    return [f"| {' | '.join(visible(cell).replace('|', chr(92) + '|') for cell in row)} |" for row in cells] + [""]
