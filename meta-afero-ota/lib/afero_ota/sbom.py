# SPDX-License-Identifier: MIT
"""What OE-Core's classes wrote about an image (SBOM, VEX, CVE reports), kept beside its payload and named in its manifest.

The payload's hash ties them together: an SPDX 3 document must list a file with the hash of the payload.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from typing import TYPE_CHECKING

from .errors import ConfigError, Fault, OtaError
from .files import write_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from .payload import Payload

# what may lie beside a payload: key in the manifest, and what its file name ends in
KINDS = {
    "sbom": ".spdx.json",
    "vex": ".vex.json",
    "cve": ".cve.json",
    "cveSpdx": ".cve.spdx.json",
    "cveText": ".cve.txt",
}
SPDX_2 = "SPDX-2.2"
_ARCHIVE = ".spdx.tar.zst"  # SPDX 2.2: one document for each package, in an archive
_FORMATS = {"vex": "cve-check JSON", "cve": "cve-check JSON", "cveText": "text"}
_BLOCK = 1 << 20


def keep(
    found: Mapping[str, str], payload: Payload, dated: bool = False, content: str = ""
) -> dict[str, dict[str, Any]]:
    """Put the files `found` (kind to path) beside the payload; returns what the manifest says of them, by kind.

    dated: the image's file name holds the time of the build, and with it the SBOM. content: SHA-256 of the image in a payload that
    wraps it, such as a bundle. Raises ConfigError for a file that is missing or
    no SPDX, and OtaError for an SPDX 3 document that does not list the payload.
    """
    listed = content or payload.sha256
    return {kind: _keep(kind, path, payload.path, listed, dated) for kind, path in found.items()}


def _keep(kind: str, path: str, payload: str, listed: str, dated: bool) -> dict[str, Any]:
    is_sbom, is_archive = kind == "sbom", path.endswith(_ARCHIVE)
    target = payload + (_ARCHIVE if is_archive else KINDS[kind])
    said = SPDX_2 if is_archive else _FORMATS.get(kind, "")
    if is_archive or said:
        _copy(path, target)
    else:
        document = canonical(read(path))
        said = f"SPDX-{_spec_version(document)}"
        if is_sbom:
            _check_lists(document, listed, path)
        write_text(target, json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n")
    facts = {"file": os.path.basename(target), "format": said, **measure(target)}
    return {**facts, "reproducible": not (is_archive or dated)} if is_sbom else facts


def measure(path: str) -> dict[str, Any]:
    """SHA-256 (hexadecimal) and size (bytes) of a file. Raises OSError."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
        return {"sha256": digest.hexdigest(), "size": stream.tell()}


def read(path: str) -> dict[str, Any]:
    """An SPDX 3 document. Raises ConfigError when there is none."""
    remedy = "build the image again"
    try:
        with open(path, encoding="utf-8") as stream:
            document = json.load(stream)
    except OSError as error:
        raise ConfigError([Fault(path, f"the SBOM cannot be read: {error.strerror}", remedy)]) from None
    except ValueError as error:
        raise ConfigError([Fault(path, f"is not JSON ({error})", remedy)]) from None
    if not isinstance(document, dict) or not isinstance(document.get("@graph"), list):
        raise ConfigError([Fault(path, "is not an SPDX 3 document: it has no @graph", remedy)])
    return document


def canonical(document: Mapping[str, Any]) -> dict[str, Any]:
    """The same graph in an order and with names that depend on its content only.

    scarthgap writes as many CreationInfo nodes as there were documents, often equal ones, in an order that differs from run to run.
    """
    graph = document["@graph"]
    infos = {_text(node): node for node in graph if node.get("type") == "CreationInfo"}
    names = {key: f"_:CreationInfo{number}" for number, key in enumerate(sorted(infos))}
    renamed = {
        node["@id"]: names[_text(node)] for node in graph if node.get("type") == "CreationInfo" and "@id" in node
    }
    rest = [_renamed(node, renamed) for node in graph if node.get("type") != "CreationInfo"]
    first = [{**infos[key], "@id": name} for key, name in names.items()]
    return {**document, "@graph": first + sorted(rest, key=lambda node: node.get("spdxId") or _text(node))}


def _text(node: Mapping[str, Any]) -> str:
    return json.dumps({key: value for key, value in node.items() if key != "@id"}, sort_keys=True)


def _renamed(node: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    info = node.get("creationInfo")
    return {**node, "creationInfo": names[info]} if isinstance(info, str) and info in names else node


def file_hashes(document: Mapping[str, Any]) -> Iterator[str]:
    """The SHA-256 of every file that an SPDX 3 document lists."""
    for node in document["@graph"]:
        if node.get("type") == "software_File":
            for one in node.get("verifiedUsing") or ():
                if isinstance(one, dict) and one.get("algorithm") == "sha256":
                    yield str(one.get("hashValue")).lower()


def _check_lists(document: Mapping[str, Any], sha256: str, path: str) -> None:
    if sha256 not in file_hashes(document):
        raise OtaError(
            f"{path}: none of the files in the SBOM has the payload's SHA-256 {sha256}, so it describes another image. "
            "Build the image again; AFERO_OTA_IMAGE_FSTYPE must be one of its IMAGE_FSTYPES."
        )


def _spec_version(document: Mapping[str, Any]) -> str:
    return next((str(node["specVersion"]) for node in document["@graph"] if node.get("specVersion")), "3")


def _copy(source: str, target: str) -> None:
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        raise ConfigError([Fault(source, f"cannot be copied: {error.strerror}", "build the image again")]) from None


def verify(folder: str, manifest: Mapping[str, Any]) -> None:
    """Compare the files that a manifest names, in its folder, with what it says. Raises ConfigError naming each that differs."""
    faults = []
    for kind in KINDS:
        said = manifest.get(kind)
        if isinstance(said, dict):
            fault = compare(os.path.join(folder, os.path.basename(str(said.get("file")))), str(said.get("sha256")))
            faults += [fault] if fault else []
    if faults:
        raise ConfigError(faults, where="the files beside the payload")


def compare(path: str, sha256: str) -> Fault | None:
    """The fault of a file that does not have this SHA-256, with both hashes; None when it does."""
    remedy = "take it from a backup, or package the image again"
    try:
        found = measure(path)["sha256"]
    except OSError as error:
        return Fault(path, f"cannot be read: {error.strerror}; expected SHA-256 {sha256}", remedy)
    return None if found == sha256 else Fault(path, f"has SHA-256 {found}, expected {sha256}", remedy)
