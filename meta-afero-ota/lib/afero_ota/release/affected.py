# SPDX-License-Identifier: MIT
"""Which releases contain a package or have a CVE, which devices run them, and which releases are free of it.

Reads of each release its index, its manifest, and for a CVE the extract of its report; each is compared with the index.
"""

from __future__ import annotations

import json
import operator
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError, Fault
from . import collecting, folder, versions

_CVE = re.compile(r"CVE-[0-9]{4}-[0-9]{4,}", re.IGNORECASE)
_NAME = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9+._-]*)\s*")
_CONDITION = re.compile(r"\s*(<=|>=|==?|<|>)\s*([0-9A-Za-z][^\s,<>=]*)\s*")
_COMPARISONS: dict[str, Callable[[int, int], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    "=": operator.eq,
    "==": operator.eq,
    ">=": operator.ge,
    ">": operator.gt,
}
OPEN = "Unpatched"  # what cve-check and sbom-cve-check call a CVE that nothing was done about
_REMEDY = "write openssl, 'openssl<3.0.14', 'openssl>=3.0,<3.0.14' or CVE-2024-4741"


@dataclass(frozen=True)
class Query:
    """What is looked for: a CVE, or a package or recipe (name) whose version fits all conditions (operator, version)."""

    text: str
    name: str = ""
    conditions: tuple[tuple[str, str], ...] = ()
    cve: str = ""


@dataclass(frozen=True)
class Release:
    """One release and what was found in it. affected: None when the release does not say.

    found: what fits ("openssl 3.0.13"). contains: it has the package, or its report mentions the CVE, fitting or not.
    """

    path: str
    name: str
    version: str
    version_number: str
    affected: bool | None
    found: tuple[str, ...] = ()
    contains: bool = False


@dataclass(frozen=True)
class Answer:
    """releases: affected ones, oldest first. devices: ids by versionNumber. fixes: later releases that are not affected.

    silent: releases that do not say. unknown: devices whose version is that of no release, or that show none.
    """

    releases: tuple[Release, ...]
    fixes: tuple[Release, ...]
    silent: tuple[Release, ...]
    devices: Mapping[str, Sequence[str]]
    unknown: tuple[str, ...]


def parse(text: str) -> Query:
    """A query as a person types it. Raises ConfigError."""
    if _CVE.fullmatch(text.strip()):
        return Query(text, cve=text.strip().upper())
    name = _NAME.match(text)
    rest = text[name.end() :] if name else text
    parts = [_CONDITION.fullmatch(part) for part in rest.split(",")] if rest else []
    conditions = tuple((part[1], part[2]) for part in parts if part)
    try:
        for _, version in conditions:
            versions.key(version)
    except ValueError:
        parts = [None]
    if not name or not all(parts) or name[1].upper().startswith("CVE-"):
        raise ConfigError([Fault(text, "is no package, condition or CVE", _REMEDY)], where="what to look for")
    return Query(text, name[1], conditions)


def look(releases: str, query: Query) -> list[Release]:
    """Every release of the folder, oldest first. Raises ConfigError when a file that is read is not what was written."""
    found = [_look(path, query) for path in collecting.releases_in(releases)]
    return sorted(found, key=lambda one: (one.name, _number(one.version_number), versions.key(one.version)))


def answer(found: Sequence[Release], running: Iterable[tuple[str, int | None]] = ()) -> Answer:
    """Affected releases, the devices that run them, and what fixes it.

    found: from `look`. running: device ids and the versionNumber that each runs, None when it shows none.
    """
    known = {one.version_number for one in found}
    devices: dict[str, list[str]] = {}
    unknown = []
    for device_id, number in running:
        if str(number) in known:
            devices.setdefault(str(number), []).append(device_id)
        else:
            unknown.append(device_id)
    hit = [one for one in found if one.affected]
    first: dict[str, int] = {}
    for position, one in enumerate(found):
        if one.affected:
            first.setdefault(one.name, position)
    fixes = [
        one for position, one in enumerate(found) if one.affected is False and position > first.get(one.name, position)
    ]
    return Answer(
        tuple(hit), tuple(fixes), tuple(one for one in found if one.affected is None), devices, tuple(unknown)
    )


def _number(version_number: str) -> int:
    return int(version_number) if version_number.isdecimal() else 0


def _look(path: str, query: Query) -> Release:
    index = folder.read_index(path)
    said = (path, str(index.get("name")), str(index.get("version")), str(index.get("versionNumber")))
    if query.cve:
        return Release(*said, *_cve(path, index, query.cve))
    payload = os.path.basename(str(index.get("payload")))
    document = json.loads(folder.read_verified(path, f"{payload}.manifest.json", index))
    return Release(*said, *_package(document, query))


def _cve(path: str, index: Mapping[str, Any], cve: str) -> tuple[bool | None, tuple[str, ...], bool]:
    if collecting.CVES not in index["files"]:
        return None, (), False
    statuses = collecting.statuses_of(folder.read_verified(path, collecting.CVES, index), cve)
    open_in = tuple(f"{recipe}: {status}" for recipe, status in sorted(statuses.items()) if status == OPEN)
    # a report that does not mention it says nothing: it may be older than the CVE
    return (bool(open_in) if statuses else None), open_in, bool(statuses)


def _package(document: Mapping[str, Any], query: Query) -> tuple[bool | None, tuple[str, ...], bool]:
    if not document.get("packages"):
        return None, (), False
    parts = {kind: (document.get(f"{kind}s") or {}).get(query.name) for kind in ("recipe", "package")}
    there = {kind: str(version) for kind, version in parts.items() if version is not None}
    fitting = tuple(f"{kind} {query.name} {version}" for kind, version in there.items() if _fits(version, query))
    return bool(fitting), fitting, bool(there)


def _fits(version: str, query: Query) -> bool:
    return all(_COMPARISONS[sign](versions.compare_said(version, said), 0) for sign, said in query.conditions)
