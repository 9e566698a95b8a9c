# SPDX-License-Identifier: MIT
"""What is in this OTA, for people: the manifest of a payload as Markdown, and what changed since an earlier one.

BitBake hashes only functions that stand in this file itself into the task that calls them (BBIMPORTS): what do_package_ota uses
stays here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..text import visible

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

SUFFIX = ".report.md"
_FACTS = (
    ("image", "image"),
    ("machine", "machine"),
    ("distro", "distro"),
    ("buildTime", "build time"),
    ("fstype", "image type"),
    ("file", "file"),
    ("sha256", "SHA-256"),
)


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """What was added (name to value), removed (name to value) and changed (name to [old, new]) from one mapping to another."""
    return {
        "added": {name: after[name] for name in sorted(after.keys() - before.keys())},
        "removed": {name: before[name] for name in sorted(before.keys() - after.keys())},
        "changed": {
            name: [before[name], after[name]]
            for name in sorted(before.keys() & after.keys())
            if before[name] != after[name]
        },
    }


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Two manifests compared: the difference of the sizes in bytes, and the `changes` of packages and of layers."""
    parts = {part: changes(before.get(part) or {}, after.get(part) or {}) for part in ("packages", "layers")}
    return {"size": int(after.get("size") or 0) - int(before.get("size") or 0), **parts}


def markdown(manifest: Mapping[str, Any], before: Mapping[str, Any] | None = None) -> str:
    """The report of one manifest; with an earlier one, the changes come first. Ends with a line end."""
    record = manifest.get("record") or {}
    lines = [f"# {_title(manifest)}", ""]
    if record.get("description"):
        lines += [visible(record["description"]), ""]
    if before is not None:
        lines += _changes(before, manifest)
    rows = [("version number", str(record.get("versionNumber") or "none"))]
    rows += [(shown, str(manifest[key])) for key, shown in _FACTS if manifest.get(key)]
    rows.append(("size", f"{int(manifest.get('size') or 0):,} bytes"))
    lines += _table(("fact", "value"), rows)
    for part in ("layers", "packages"):
        found = manifest.get(part) or {}
        if found:
            lines += [f"## {part.capitalize()} ({len(found)})", ""]
            lines += _table(("name", "revision" if part == "layers" else "version"), sorted(found.items()))
    return "\n".join(lines)


def _title(manifest: Mapping[str, Any]) -> str:
    record = manifest.get("record") or {}
    title = " ".join(str(record.get(key) or "") for key in ("name", "version")).strip()
    return visible(title or manifest.get("file"))


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    lines = [f"## Changes since {_title(before)}", ""]
    if before.get("sha256") == after.get("sha256"):
        return [*lines, "None: the two payloads are the same, byte for byte.", ""]
    found = compare(before, after)
    rows = [(part[:-1], name, old, new) for part in ("packages", "layers") for name, old, new in _rows(found[part])]
    lines += [f"The payload is {abs(found['size']):,} bytes {'larger' if found['size'] >= 0 else 'smaller'}.", ""]
    if not rows:
        return [*lines, "Packages and layers are the same.", ""]
    return lines + _table(("part", "name", "before", "now"), rows)


def _rows(found: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    rows = [(name, "", value) for name, value in found["added"].items()]
    rows += [(name, value, "") for name, value in found["removed"].items()]
    rows += [(name, old, new) for name, (old, new) in found["changed"].items()]
    return sorted(rows)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    cells = [header, ["---"] * len(header), *rows]
    # a pipe would end the cell
    return [f"| {' | '.join(visible(cell).replace('|', chr(92) + '|') for cell in row)} |" for row in cells] + [""]
