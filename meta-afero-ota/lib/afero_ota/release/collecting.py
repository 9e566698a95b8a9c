# SPDX-License-Identifier: MIT
"""What goes into a release: the payload and what lies beside it, configuration, journals of the upload and of rollouts."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from .. import journal, manifest, text
from ..errors import ConfigError, Fault, RefusedError
from ..journal import Entry, Outcome, Step
from ..record import OtaRecord
from ..rollout import ledger, planning
from ..sbom import compare
from . import folder

CONFIGURATION, JOURNALS, CVES = "configuration", "journals", "cves.json"
_READ_ONLY = (Outcome.FOUND.value, Outcome.NOTHING_TO_DO.value)


@dataclass(frozen=True)
class Collected:
    """The folder of a release, and what of it this call wrote (paths in it, "" for the release itself)."""

    path: str
    written: tuple[str, ...]


def path_of(releases: str, record: OtaRecord) -> str:
    """Where the release of a record is: `<name>/<version>` below `releases`."""
    return os.path.join(releases, *map(_segment, (record.name, record.version)))


def collect(
    releases: str, payload: str, more: Iterable[str] = (), journals: Iterable[str] = (), plans: Iterable[str] = ()
) -> Collected:
    """Put a payload into the folder of releases, with what lies beside it; add the journals that tell what became of it.

    more: further files, such as kas's dump, lock file and provenance attestation. journals: of uploads and pushes. plans: of rollouts
    of this version. Does nothing when all of it is there. Raises ConfigError for a file that is missing or is not what the manifest
    says, RefusedError when the version is there with another content, or a plan is for another version.
    """
    document = manifest.read(payload)
    record = OtaRecord(document.get("record") or {})
    if not record.name or not record.version:
        raise ConfigError(
            [
                Fault(
                    manifest.path_of(payload), "has no record, which names the release", "package it with --record FILE"
                )
            ]
        )
    target, written = path_of(releases, record), []
    sources = {**_beside(payload), **_named(CONFIGURATION, more)}
    _check(payload, document, sources)
    facts = {
        "name": record.name,
        "version": record.version,
        "versionNumber": record.version_number,
        **{key: document[key] for key in ("image", "machine", "distro") if document.get(key)},
        "payload": os.path.basename(payload),
    }
    additions = _additions(record, document, journals, plans)
    if folder.write(target, sources, _cves(payload, document), facts):
        written.append("")
    for name, files, texts in additions:
        if folder.write(os.path.join(target, JOURNALS, name), files, texts, {}):
            written.append(os.path.join(JOURNALS, name))
    return Collected(target, tuple(written))


def verify(path: str) -> dict[str, Any]:
    """The index of a release, when all its files and journals are as they were written, and payload, SBOM and manifest belong
    together. Raises ConfigError naming each file that is not."""
    index = folder.verify(path)
    _check_chain(path, index)
    journals = os.path.join(path, JOURNALS)
    for name in sorted(os.listdir(journals)) if os.path.isdir(journals) else ():
        if not name.startswith("."):
            folder.verify(os.path.join(journals, name))
    return index


def verify_around(payload: str) -> None:
    """Verify the release that a payload, or its manifest, lies in; nothing when it lies in none. Raises ConfigError."""
    path = os.path.dirname(os.path.abspath(payload))
    if os.path.exists(os.path.join(path, folder.INDEX)):
        verify(path)


def attested(attestation: str, sha256: str) -> bool:
    """Whether an in-toto attestation, such as kas's of the provenance, names a file with this SHA-256."""
    try:
        with open(attestation, encoding="utf-8") as stream:
            subjects = json.load(stream).get("subject") or ()
        return any(subject["digest"].get("sha256") == sha256 for subject in subjects)
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return False


def releases_in(releases: str) -> list[str]:
    """The folders of all releases, sorted by path. Raises ConfigError when there is no such folder."""
    if not os.path.isdir(releases):
        raise ConfigError([Fault(releases, "no such folder", "make a release first: afero-ota release")])
    found = []
    for name in sorted(os.listdir(releases)):
        versions = os.path.join(releases, name)
        if not name.startswith(".") and os.path.isdir(versions):
            found += [os.path.join(versions, one) for one in sorted(os.listdir(versions)) if not one.startswith(".")]
    return [path for path in found if os.path.isdir(path)]


def _segment(name: str) -> str:
    # "." and ".." lead elsewhere, and names with a leading dot are not releases
    escaped = quote(name, safe=" ()+,@=~")
    return "%2E" + escaped[1:] if escaped.startswith(".") else escaped


def _beside(payload: str) -> dict[str, str]:
    directory, base = os.path.split(os.path.abspath(payload))
    names = [name for name in sorted(os.listdir(directory)) if name == base or name.startswith(f"{base}.")]
    return {name: os.path.join(directory, name) for name in names if os.path.isfile(os.path.join(directory, name))}


def _named(directory: str, paths: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in paths:
        name = os.path.join(directory, os.path.basename(path))
        if os.path.realpath(found.setdefault(name, path)) != os.path.realpath(path):
            raise ConfigError([Fault(path, f"has the same name as {found[name]}", "rename one of them")])
    return found


def _check(payload: str, document: Mapping[str, Any], sources: Mapping[str, str]) -> None:
    """Refuse what does not belong together before anything is written."""
    base, expected = os.path.basename(payload), {os.path.basename(payload): str(document["sha256"])}
    if base not in sources:
        raise ConfigError([Fault(payload, "no such file", "build the image first, or name its payload")])
    expected.update(_described(document))
    faults = [compare(sources.get(name, name), sha256) for name, sha256 in expected.items()]
    found = [fault for fault in faults if fault]
    if found:
        raise ConfigError(found, where="the payload and the files beside it")


def _described(document: Mapping[str, Any]) -> dict[str, str]:
    """The files that a manifest names beside the payload, with their SHA-256."""
    named = [one for one in document.values() if isinstance(one, dict) and {"file", "sha256"} <= one.keys()]
    return {os.path.basename(str(one["file"])): str(one["sha256"]) for one in named}


def _check_chain(path: str, index: Mapping[str, Any]) -> None:
    """Somebody may change a file and its line in the index; the manifest, and the record in the cloud, name it too."""
    payload = os.path.join(path, os.path.basename(str(index.get("payload"))))
    document = manifest.read(payload)
    expected = {os.path.basename(payload): str(document["sha256"]), **_described(document)}
    faults = [
        Fault(
            os.path.join(path, name),
            f"has SHA-256 {folder.sha256_of(index, name)}, its manifest says {sha256}",
            "take the folder from a backup",
        )
        for name, sha256 in expected.items()
        if folder.sha256_of(index, name) != sha256
    ]
    if faults:
        raise ConfigError(faults, where=f"the release {path}")


def _cves(payload: str, document: Mapping[str, Any]) -> dict[str, str]:
    """A small file that says of each CVE what the report says: a report has megabytes of descriptions."""
    for kind in ("cve", "vex"):
        if isinstance(document.get(kind), dict):
            path = os.path.join(os.path.dirname(payload), os.path.basename(str(document[kind]["file"])))
            # a line for each CVE, which is found without reading the others
            lines = ",\n".join(
                f"{text.to_json(cve)}: {text.to_json(said)}" for cve, said in sorted(_issues(path).items())
            )
            return {CVES: f'{{"source": "{kind}", "cves": {{\n{lines}\n}}}}\n'}
    return {}


def statuses_of(extract: bytes, cve: str) -> dict[str, str]:
    """What the extract of a report says of a CVE: recipe to status, {} when it does not mention it."""
    start = extract.find(f'\n"{cve}": '.encode())
    if start < 0:
        return {}
    line = extract[start + 1 : extract.index(b"\n", start + 1)].rstrip(b",")
    found: dict[str, dict[str, str]] = json.loads(b"{" + line + b"}")
    return found[cve]


def _issues(path: str) -> dict[str, dict[str, str]]:
    """CVE to recipe to status (Patched, Unpatched, Ignored, …), from a report in the form of cve-check.bbclass."""
    found: dict[str, dict[str, str]] = {}
    try:
        with open(path, encoding="utf-8") as stream:
            for package in json.load(stream)["package"]:
                for issue in package.get("issue") or ():
                    found.setdefault(str(issue["id"]), {})[str(package["name"])] = str(issue.get("status"))
    except (ValueError, KeyError, TypeError, AttributeError):
        problem = "is not a report in the form of cve-check.bbclass"
        raise ConfigError([Fault(path, problem, "package the image again")]) from None
    return found


def _additions(
    record: OtaRecord, document: Mapping[str, Any], journals: Iterable[str], plans: Iterable[str]
) -> list[tuple[str, dict[str, str], dict[str, str]]]:
    """Name, files and texts of each folder of journals."""
    found: list[tuple[str, dict[str, str], dict[str, str]]] = []
    for path in journals:
        entries = [entry for entry in journal.read(path) if _is_about(entry, record, str(document["sha256"]))]
        pushes = [entry for entry in entries if entry["step"] == Step.PUSH.value]
        others = [entry for entry in entries if entry["step"] != Step.PUSH.value]
        uploads = [entry for entry in others if entry.get("outcome") not in _READ_ONLY]
        for what, chosen in (("upload", uploads), ("push", pushes)):
            if chosen:
                found.append((_dated(what, chosen), {}, {f"{what}.jsonl": _lines(chosen)}))
    for path in plans:
        found += _rollout(path, record)
    return found


def _rollout(path: str, record: OtaRecord) -> list[tuple[str, dict[str, str], dict[str, str]]]:
    plan = planning.read(path)
    if str(plan.image.version_number) != record.version_number:
        raise RefusedError(
            f"{path} is for versionNumber {plan.image.version_number}, and the release is {record.version_number}"
        )
    entries = list(ledger.read(ledger.path_of(path)))
    if not entries:
        return []
    page = f"{os.path.splitext(path)[0]}.html"
    paths = [one for one in (path, ledger.path_of(path), page) if os.path.exists(one)]
    stem = os.path.splitext(os.path.basename(path))[0]
    return [(_dated(f"rollout-{_segment(stem)}", entries), {os.path.basename(one): one for one in paths}, {})]


def _is_about(entry: Entry, record: OtaRecord, sha256: str) -> bool:
    return (
        entry.get("versionNumber") == record.version_number
        or entry.get("sha256") == sha256
        or (entry.get("name"), entry.get("version")) == (record.name, record.version)
    )


def _dated(what: str, entries: Sequence[Entry]) -> str:
    """A name with the time of the newest entry, without what a file name should not have: rollout-plan-20261125T041500Z."""
    time = str(entries[-1].get("time", "")).partition(".")[0].rstrip("Z")
    return f"{what}-{_segment(time.replace('-', '').replace(':', ''))}Z"


def _lines(entries: Iterable[Entry]) -> str:
    return "".join(text.to_json(entry) + "\n" for entry in entries)
