# SPDX-License-Identifier: MIT
"""Numbers and changes in words, the same on the page and in Markdown."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from .contents import mode

if TYPE_CHECKING:
    from .changes import Changes, FileChange
    from .contents import File
    from .facts import Facts


def summary(changes: Changes) -> str:
    """The changes in one line."""
    since = f"since {changes.before.title}"
    if changes.none:
        return f"No change {since}: the payloads are the same, byte for byte"
    counts = {"changed": 0, "added": 0, "removed": 0}
    for one in changes.named:
        counts["added" if one.before is None else "removed" if one.after is None else "changed"] += 1
    # the noun stands with the first number: 1 package changed, 2 added
    found = [(number, word) for word, number in counts.items() if number]
    words = [f"{count(number, 'package')} {word}" for number, word in found[:1]]
    words += [f"{number:,} {word}" for number, word in found[1:]]
    if not words:
        words = [
            f"No package changed, {count(len(changes.files), 'file')} did" if changes.files else "No package changed"
        ]
    layers = [f"{count(len(changes.layers), 'layer')} changed"] if changes.layers else []
    return f"{', '.join(words + layers)} {since}"


def file_change(one: FileChange) -> str:
    """What happened to a file, in words."""
    old, new = one.before, one.after
    if old is None or new is None:
        return f"new, {_shown(new)}" if new else f"removed, {_shown(old)}" if old else ""
    words = []
    if (old.mode, old.uid, old.gid) != (new.mode, new.uid, new.gid):
        words.append(f"{mode(old)} → {mode(new)}")
    if old.size != new.size:
        words.append(f"{old.size:,} → {new.size:,} bytes")
    elif old.content != new.content:
        words.append("other content" if new.size else f"{old.content or 'empty'} → {new.content or 'empty'}")
    return ", ".join(words)


def sbom(facts: Facts) -> str:
    """The SBOM that the manifest names: file, format, and whether another build gives the same."""
    found = facts.manifest.get("sbom")
    if not isinstance(found, dict):
        return "no SBOM"
    known = f"{found.get('file')}, {found.get('format')}"
    return known if found.get("reproducible") else f"{known}, not reproducible"


def cves(facts: Facts) -> str:
    """How many CVEs have which status."""
    counts: dict[str, int] = {}
    for status in facts.cves.values():
        counts[status] = counts.get(status, 0) + 1
    return ", ".join(f"{number:,} {status}" for status, number in sorted(counts.items())) or "no CVE report"


def rights(file: File | None) -> str:
    """Permissions and package of a file."""
    return f"{mode(file)}{f' ({file.package})' if file.package else ''}" if file else ""


def duration(seconds: float) -> str:
    """A duration for people, such as 4 min 10 s."""
    whole = max(1, round(seconds))
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    if hours:
        return f"{hours:,} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def count(number: int, noun: str) -> str:
    """A number and its noun, in the plural where it must be."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def bytes_text(size: float) -> str:
    """A number of bytes for people: 1.2 MB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if abs(size) < 999.5 or unit == "GB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "bytes" or abs(size) >= 99.5 else f"{size:.1f} {unit}"


def grown(size: int) -> str:
    """By how many bytes something grew or shrank."""
    return f"{'+' if size > 0 else '−'}{bytes_text(abs(size))}" if size else "±0"


def _shown(file: File) -> str:
    if stat.S_ISLNK(file.mode):
        return f"link to {file.content}"
    return f"{mode(file)}, {file.size:,} bytes"
