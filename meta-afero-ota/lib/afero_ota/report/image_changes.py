# SPDX-License-Identifier: MIT
"""The part of an image's page that says what changed since an earlier one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .page import Markup, element, join
from .words import count, file_change, grown, rights

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .changes import Changes, FileChange, PackageChange
    from .facts import Package

_FEW = 12  # changes that are shown opened
_MANY = 40  # changes that are shown at all before somebody asks for more
_MOST_FILES = 25  # of one package
_MOST_LINES = 4_000  # of all lists of files
_MOST_ROWS = 60  # of files to look at


def section(changes: Changes) -> Markup | None:
    """What changed since an earlier image; None when nothing did."""
    if changes.none:
        return None
    items, lines = [], _MOST_LINES
    loose = "Made while the image was put together" if changes.after.owned else "Files"
    for one in sorted(changes.packages, key=_urgency):
        shown = one.files[: min(_MOST_FILES, lines)]
        items.append(_change(one, shown, loose, len(changes.packages) <= _FEW))
        lines -= len(shown)
    known = changes.before.files and changes.after.files
    more = element("summary", f"{len(items) - _MANY:,} more")
    unknown = "Files were not compared: those of one of the images are not known."
    return element(
        "section",
        element("h2", f"What changed since {changes.before.title}"),
        None if known else element("p", unknown, class_="soft"),
        _remarkable(changes),
        element("ul", *items[:_MANY], class_="changes") if items else element("p", "Packages and files are the same."),
        element("details", more, element("ul", *items[_MANY:], class_="changes")) if items[_MANY:] else None,
        _layers(changes),
        id="changes",
    )


def _urgency(one: PackageChange) -> tuple[bool, bool]:
    return not any(file.remarks for file in one.files), bool(one.name) and one.after is None


def _remarkable(changes: Changes) -> Markup | None:
    files = changes.remarkable
    if not files:
        return None
    items = [
        element(
            "li",
            element("strong", f"new: {', '.join(one.remarks)}"),
            " ",
            element("code", one.path),
            f" {rights(one.after)}",
        )
        for one in files[:_MOST_ROWS]
    ]
    items += [element("li", f"{len(files) - _MOST_ROWS:,} more")] if len(files) > _MOST_ROWS else []
    return element("div", element("h3", "Look at these first"), element("ul", *items), class_="why")


def _change(one: PackageChange, files: Sequence[FileChange], loose: str, few: bool) -> Markup:
    kind = "new" if one.before is None else "gone" if one.after is None else "changed"
    if not one.name:
        kind = "changed"
    details = None
    if files:
        # what a removed package held matters to few
        opened = few and kind != "gone" and len(one.files) <= _FEW
        title = element("summary", count(len(one.files), "file"))
        details = element("details", title, _file_changes(files, len(one.files)), open=opened)
    return element(
        "li",
        element("b", one.name or loose, class_=f"swatch {kind}"),
        element("span", _versions(one.before, one.after)),
        element("span", grown(one.size), class_="number"),
        details,
    )


def _versions(old: Package | None, new: Package | None) -> str:
    if old is None or new is None:
        return f"{new.version}, added" if new else f"{old.version}, removed" if old else ""
    shown = f"{old.version} → {new.version}" if old.version != new.version else f"{new.version}, same version"
    return (
        shown
        if old.licence == new.licence
        else f"{shown}; licence {old.licence or 'unknown'} → {new.licence or 'unknown'}"
    )


def _file_changes(files: Sequence[FileChange], number: int) -> Markup:
    items = []
    for one in files:
        marks = [element("strong", f" {word}") for word in one.remarks]
        items.append(element("li", element("code", one.path), f" {file_change(one)}", *marks))
    if number > len(files):
        items.append(element("li", f"… {number - len(files):,} more, which the JSON has"))
    return element("ol", *items)


def _layers(changes: Changes) -> Markup | None:
    if not changes.layers:
        return None
    items = []
    for name, (old, new) in changes.layers.items():
        title = join(element("b", name), f" {_revision(old)} → {_revision(new)}")
        commits = changes.after.commits.get(name, ())
        more = element("ol", *(element("li", line) for line in commits))
        if commits:
            title = element("details", element("summary", title, f", {count(len(commits), 'commit')}"), more, open=True)
        items.append(element("li", title))
    return join(element("h3", "Layers"), element("ul", *items, class_="plain"))


def _revision(value: str | None) -> str:
    if not value:
        return "none"
    branch, _, revision = value.rpartition(":")
    return f"{branch}:{revision[:12]}{' (modified)' if value.endswith('(modified)') else ''}" if branch else value
