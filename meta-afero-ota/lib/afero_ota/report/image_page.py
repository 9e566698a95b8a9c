# SPDX-License-Identifier: MIT
"""An image as one self-contained HTML page: what changed, what takes the space, what to look at. No network, no time of its own.

All texts are escaped, and long lists cut, so that 5,000 packages with 100,000 files make less than 5 MB; the JSON has everything.
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from . import chart, findings, image_changes, treemap
from .page import Markup, document, element, join, own_file, text
from .words import bytes_text, count, cves, duration, grown, rights, sbom, summary

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .changes import Changes
    from .facts import Facts, Package

_MOST_FILES = 25  # of one package
_MOST_ROWS = 60  # of a short table
_IN_MAP = 90  # packages that have an area of their own
_WITH_FILES = 250  # packages whose largest files are listed
_MAPS = (("wide", 900, 420, 12), ("narrow", 300, 560, 6))  # class, pixels at least, height, files of a package


def html(facts: Facts, changes: Changes | None = None, compressed: findings.Compressed = ()) -> str:
    """The page of an image. changes: since an earlier one. compressed: by which program, and to how many bytes."""
    files = findings.by_package(facts)
    order = sorted(facts.packages.items(), key=lambda one: (-one[1].size, one[0]))
    numbers = {name: number for number, (name, _) in enumerate(order)}
    body = element(
        "main",
        _header(facts, changes),
        image_changes.section(changes) if changes else None,
        _space(facts, changes, files, numbers),
        element("div", _sizes(facts), _fits(facts, compressed), class_="pair"),
        element("div", _watch(facts), _kernel(facts), class_="pair"),
        _packages(facts, order, files),
        element("div", _licences(facts), _sbom(facts, changes), class_="pair"),
        _about(facts),
    )
    return document(f"{facts.title}: Afero OTA image", body, own_file("table.js"))


# ---- what it is ------------------------------------------------------------------------------------------------------


def _header(facts: Facts, changes: Changes | None) -> Markup:
    manifest, old = facts.manifest, changes.before if changes else None
    image = " for ".join(str(manifest[key]) for key in ("image", "machine") if manifest.get(key))
    tiles = [_tile(bytes_text(facts.size), "payload", grown(facts.size - old.size) if old else "")]
    if facts.files:
        more = grown(facts.unpacked - old.unpacked) if old and old.files else ""
        tiles.append(_tile(bytes_text(facts.unpacked), "unpacked", more))
    if _packages_in(facts):
        more = _more(_packages_in(facts) - _packages_in(old)) if old else ""
        tiles.append(_tile(f"{_packages_in(facts):,}", "packages", more))
    if facts.files:
        more = _more(facts.count - old.count) if old and old.files else ""
        tiles.append(_tile(f"{facts.count:,}", "files", more))
    tiles.append(_tile(str(facts.record.get("versionNumber") or "none"), "version number", ""))
    description = facts.record.get("description")
    return element(
        "header",
        element("p", f"Afero OTA image {image}", class_="kicker"),
        element("h1", facts.title),
        element("p", str(description)) if description else None,
        element("strong", summary(changes), class_=f"verdict {_tone(changes)}") if changes else None,
        element("ul", *tiles, class_="tiles"),
    )


def _tile(number: str, word: str, more: str) -> Markup:
    return element("li", element("b", number), element("span", f"{word}, {more}" if more else word))


def _tone(changes: Changes) -> str:
    return "bad" if changes.remarkable else "good" if changes.none else "going"


# ---- what takes the space --------------------------------------------------------------------------------------------


def _space(
    facts: Facts, changes: Changes | None, files: Mapping[str, list[tuple[str, int]]], numbers: Mapping[str, int]
) -> Markup | None:
    sizes = {name: package.size for name, package in facts.packages.items() if package.size > 0}
    loose = sum(size for _, size in files.get("", ()))
    if loose:
        sizes[""] = loose
    if not sizes:
        return None
    kinds = {one.name: "new" if one.before is None else "changed" for one in changes.packages} if changes else {}
    kinds.pop("", None)
    ordered = sorted(sizes.items(), key=lambda one: (-one[1], one[0]))
    maps = [
        treemap.draw(
            _groups(ordered, facts, files, numbers, kinds, parts), width, height, "What takes the space", class_
        )
        for class_, width, height, parts in _MAPS
    ]
    legend = [("same", "unchanged"), ("changed", "changed"), ("new", "new")] if changes else []
    return element(
        "section",
        element("h2", "What takes the space"),
        element(
            "p",
            "Areas of packages, and of files inside them, unpacked. A package leads to its row below.",
            class_="soft",
        ),
        *maps,
        element("ul", *(element("li", word, class_=f"swatch {key}") for key, word in legend), class_="legend")
        if legend
        else None,
        id="space",
    )


def _groups(
    ordered: Sequence[tuple[str, int]],
    facts: Facts,
    files: Mapping[str, list[tuple[str, int]]],
    numbers: Mapping[str, int],
    kinds: Mapping[str, str],
    parts: int,
) -> list[treemap.Group]:
    whole = sum(size for _, size in ordered)
    # what changed has an area of its own, however small
    most = list(ordered[:_IN_MAP]) + [one for one in ordered[_IN_MAP:] if one[0] in kinds][:_IN_MAP]
    groups = []
    for name, size in most:
        shown = name or ("no package" if facts.owned else "all files")
        version = f" {facts.packages[name].version}" if name else ""
        title = f"{shown}{version}: {bytes_text(size)}, {100 * size / whole:.1f}%"
        inside = [(posixpath.basename(path), one) for path, one in files.get(name, ())[:parts]]
        link = f"#p-{numbers[name]}" if name else ""
        groups.append(treemap.Group(shown, size, title, kinds.get(name, "same"), link, inside))
    rest = whole - sum(size for _, size in most)
    if rest:
        shown = f"{len(ordered) - len(most):,} others"
        title = f"{shown}: {bytes_text(rest)}, {100 * rest / whole:.1f}%"
        groups.append(treemap.Group(shown, rest, title, "same", "", ()))
    return groups


def _sizes(facts: Facts) -> Markup:
    releases = [*facts.history[-12:], facts.release]
    most = max(*(one.size for one in releases), facts.limit, 1)
    rows = []
    for number, one in enumerate(releases):
        last, before = one is releases[-1], releases[number - 1].size if number else None
        bar = chart.share([("done" if last else "held", one.size)], most, 10, bytes_text(one.size))
        more = "" if before is None else grown(one.size - before)
        cells = (
            element("td", element("b", one.version) if last else one.version, bar),
            element("td", bytes_text(one.size), class_="number"),
            element("td", more, class_="number"),
        )
        rows.append(element("tr", *cells))
    if facts.limit:
        bar = chart.share([("silent", facts.limit)], most, 4, bytes_text(facts.limit))
        rows.append(
            element(
                "tr",
                element("td", "limit", bar),
                element("td", bytes_text(facts.limit), class_="number"),
                element("td"),
            )
        )
    words = (
        "Of the payload; the newest is the last." if facts.history else "Of the payload. No earlier release is known."
    )
    return element(
        "section",
        element("h2", "Size over the last releases"),
        element("p", words, class_="soft"),
        element("table", element("tbody", *rows), class_="bars"),
    )


def _fits(facts: Facts, compressed: findings.Compressed) -> Markup:
    parts = [_room("The device's /tmp", facts.size, facts.limit, "AFERO_OTA_SIZE_LIMIT is not set")]
    if facts.files:
        parts.append(_room("A system slot", findings.occupied(facts), facts.slot, "the size of a slot is not known"))
    rows = [
        element("tr", element("td", name), element("td", duration(seconds), class_="number"))
        for name, seconds in findings.downloads(facts.size).items()
    ]
    more = None
    if compressed:
        most = max(size or 0 for _, size in compressed)
        lines = []
        for name, size in compressed:
            bar = chart.share([("held", size or 0)], most, 8, name)
            shown = "no such program here" if size is None else bytes_text(size)
            lines.append(element("tr", element("td", name, bar), element("td", shown, class_="number")))
        more = join(
            element("h3", "This image, compressed by"), element("table", element("tbody", *lines), class_="bars")
        )
    return element(
        "section",
        element("h2", "Does it fit, and how long does it take?"),
        *parts,
        element("h3", "Download"),
        element("table", element("tbody", *rows), class_="bars"),
        more,
    )


def _room(where: str, size: int, limit: int, unknown: str) -> Markup:
    if not limit:
        return element("p", element("b", where), f" needs room for {bytes_text(size)}; {unknown}.")
    verdict = "fits" if size <= limit else "does not fit"
    words = f" {verdict}: {bytes_text(size)} of {bytes_text(limit)} ({_percent(size / limit)})."
    key = "done" if size <= limit else "failed"
    return join(
        element("p", element("b", where), words),
        element("p", chart.share([(key, min(size, limit))], limit, 10, words), class_="bar"),
    )


# ---- what to look at -------------------------------------------------------------------------------------------------


def _watch(facts: Facts) -> Markup | None:
    if not facts.files:
        return None
    found, services = findings.remarkable(facts), findings.services(facts)
    rows = [
        element("tr", element("td", element("code", path), f" {', '.join(words)}, {rights(facts.files[path])}"))
        for path, words in list(found.items())[:_MOST_ROWS]
    ]
    rows += [element("tr", element("td", f"{len(found) - _MOST_ROWS:,} more"))] if len(found) > _MOST_ROWS else []
    shown = [posixpath.basename(path) for path in services]
    names = ", ".join(shown[:_MOST_ROWS]) + (
        f" and {len(shown) - _MOST_ROWS:,} more" if len(shown) > _MOST_ROWS else ""
    )
    return element(
        "section",
        element("h2", "Rights and services"),
        element("p", "Every file that is setuid, setgid, world-writable or a device.", class_="soft"),
        element("table", element("tbody", *rows), class_="bars") if rows else element("p", "None."),
        element("h3", f"Services ({len(services):,})"),
        element("p", text(names, 8000) if names else "None."),
    )


def _kernel(facts: Facts) -> Markup | None:
    if not facts.files:
        return None
    found = findings.kernel(facts)
    rows = [_pair(name, version) for name, version in found.packages.items()]
    rows += [
        _pair(f"Linux {version}", f"{count(number, 'module')}, {bytes_text(size)}")
        for version, (number, size) in found.modules.items()
    ]
    rows += [_pair(element("code", path), bytes_text(size)) for path, size in list(found.files.items())[:_MOST_ROWS]]
    none = element("p", "This image brings none: what the device starts with is not part of the update.")
    return element(
        "section",
        element("h2", "Kernel and device tree"),
        element("table", element("tbody", *rows), class_="bars") if rows else none,
    )


def _packages(
    facts: Facts, order: Sequence[tuple[str, Package]], files: Mapping[str, list[tuple[str, int]]]
) -> Markup | None:
    if not order:
        return None
    heads = ("Package", "Version", "Size", "Licence", "Recipe")
    measured = any(package.size for _, package in order)
    rows = "\n".join(
        _row(number, name, package, files.get(name, ()) if number < _WITH_FILES else (), measured)
        for number, (name, package) in enumerate(order)
    )
    form = element(
        "form",
        element("input", type="search", name="words", placeholder="Search name, version, licence", aria_label="Search"),
        element("output", class_="soft"),
        hidden=True,
    )
    return element(
        "section",
        element("h2", f"Packages ({len(order):,})"),
        element("p", "The largest first. A name opens the package's largest files.", class_="soft"),
        form,
        element(
            "table",
            element("thead", element("tr", *(element("th", element("span", one), scope="col") for one in heads))),
            element("tbody", Markup(f"\n{rows}\n")),
        ),
        id="packages",
        class_="rows",
        data_table="packages",
    )


def _row(number: int, name: str, package: Package, files: Sequence[tuple[str, int]], measured: bool) -> str:
    title = text(name, 80)
    if files:
        items = "".join(f"<li><code>{text(path)}</code> {bytes_text(size)}" for path, size in files[:_MOST_FILES])
        more = f"<li>… {len(files) - _MOST_FILES:,} more" if len(files) > _MOST_FILES else ""
        title = Markup(f"<details><summary>{title}</summary><ol>{items}{more}</ol></details>")
    size = bytes_text(package.size) if measured else ""
    return (
        f'<tr id="p-{number}"><td>{title}<td>{text(package.version, 60)}<td data-sort="{package.size}">{size}'
        f"<td>{text(package.licence, 120)}<td>{text(package.recipe, 60)}"
    )


def _licences(facts: Facts) -> Markup:
    found = findings.licences(facts)
    rows = [
        element("tr", element("td", name or "unknown"), element("td", count(number, "package"), class_="number"))
        for name, number, _ in found[:_MOST_ROWS]
    ]
    rows += [element("tr", element("td", f"{len(found) - _MOST_ROWS:,} more"))] if len(found) > _MOST_ROWS else []
    table = element("table", element("tbody", *rows), class_="bars")
    return element("section", element("h2", "Licences"), table if rows else element("p", "Not known."))


def _sbom(facts: Facts, changes: Changes | None) -> Markup:
    found = facts.manifest.get("sbom")
    about = f"SHA-256 {found.get('sha256')}, {int(found.get('size') or 0):,} bytes" if isinstance(found, dict) else None
    rows = [
        element("tr", element("td", name), element("td", f"{old or 'not listed'} → {new or 'not listed'}"))
        for name, (old, new) in list((changes.cves if changes else {}).items())[:_MOST_ROWS]
    ]
    open_ones = [name for name, status in sorted(facts.cves.items()) if status == "Unpatched"]
    return element(
        "section",
        element("h2", "SBOM and CVEs"),
        element("p", sbom(facts)),
        element("p", about, class_="soft") if about else None,
        element("h3", "CVEs"),
        element("p", f"{cves(facts)}."),
        element("p", text(", ".join(open_ones), 4000)) if open_ones else None,
        join(element("h3", "Changed"), element("table", element("tbody", *rows), class_="bars")) if rows else None,
    )


def _about(facts: Facts) -> Markup:
    manifest = facts.manifest
    rows = [
        ("Record", " ".join(str(facts.record.get(key) or "") for key in ("name", "version", "id")).strip()),
        ("SHA-256", str(manifest.get("sha256") or "")),
        ("Size", f"{facts.size:,} bytes"),
        ("File", str(manifest.get("file") or "")),
        ("Image", str(manifest.get("image") or "")),
        ("Machine", str(manifest.get("machine") or "")),
        ("Distribution", str(manifest.get("distro") or "")),
        ("Image type", str(manifest.get("fstype") or "")),
        ("Build time", str(manifest.get("buildTime") or "")),
        ("Tags", " ".join(map(str, facts.record.get("tags") or ()))),
    ]
    rows += [(f"Layer {name}", str(revision)) for name, revision in sorted((manifest.get("layers") or {}).items())]
    pairs: Iterable[Markup] = (join(element("dt", name), element("dd", value)) for name, value in rows if value)
    return element("section", element("h2", "About this image"), element("dl", *pairs))


# ---- words and numbers -----------------------------------------------------------------------------------------------


def _pair(name: str, value: str) -> Markup:
    return element("tr", element("td", name), element("td", value, class_="number"))


def _packages_in(facts: Facts) -> int:
    return len(facts.packages or facts.manifest.get("packages") or ())


def _percent(part: float) -> str:
    return f"{100 * part:.0f}%" if part >= 0.01 or not part else "less than 1%"


def _more(number: int) -> str:
    return f"{'+' if number > 0 else '−'}{abs(number):,}" if number else "±0"
