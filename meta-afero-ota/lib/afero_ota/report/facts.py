# SPDX-License-Identifier: MIT
"""What is known of one image: the facts that its report tells, and the file that keeps them beside the payload.

The file (`hub_update.bin.report.json`) holds the manifest as well, so that it alone is enough to compare a later image with.
"""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from .. import manifest as manifests
from ..errors import ConfigError, Fault
from . import contents, cves
from .contents import File

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

SUFFIX = ".report.json"
FORMAT = 1
_RELEASES = 20  # the most earlier ones that a file remembers


class Package(NamedTuple):
    """One package. size: bytes of its files in the image."""

    version: str
    recipe: str
    licence: str
    size: int


class Release(NamedTuple):
    """What is remembered of an earlier image. size: bytes of the payload; unpacked: of its files, 0 when not known."""

    version: str
    sha256: str
    size: int
    unpacked: int


@dataclass(frozen=True)
class Facts:
    """What is known of an image; everything but the manifest may be empty.

    limit, slot: bytes that the payload and its files may have, 0 when there is no limit. history: earlier images, oldest first.
    commits: what a layer's history says of the time since the image before, newest first. cves: CVE id to status.
    """

    manifest: Mapping[str, Any]
    packages: Mapping[str, Package] = field(default_factory=dict)
    files: Mapping[str, File] = field(default_factory=dict)
    limit: int = 0
    slot: int = 0
    history: Sequence[Release] = ()
    commits: Mapping[str, Sequence[str]] = field(default_factory=dict)
    cves: Mapping[str, str] = field(default_factory=dict)

    @property
    def record(self) -> Mapping[str, Any]:
        """The OTA record in the image."""
        found = self.manifest.get("record")
        return found if isinstance(found, dict) else {}

    @property
    def title(self) -> str:
        """Name and version of the record, or the name of the payload."""
        words = " ".join(str(self.record.get(key) or "") for key in ("name", "version")).strip()
        return words or str(self.manifest.get("file") or "")

    @property
    def size(self) -> int:
        """Bytes of the payload."""
        return int(self.manifest.get("size") or 0)

    @property
    def unpacked(self) -> int:
        """Bytes of all files in the image, 0 when they are not known."""
        return sum(file.size for file in self.files.values())

    @property
    def count(self) -> int:
        """How many files there are, links included, folders not."""
        return sum(1 for file in self.files.values() if not stat.S_ISDIR(file.mode))

    @property
    def owned(self) -> bool:
        """Whether it is known which package a file belongs to."""
        return any(file.package for file in self.files.values())

    @property
    def release(self) -> Release:
        """What later images remember of this one."""
        version = str(self.record.get("version") or self.manifest.get("file") or "")
        return Release(version, str(self.manifest.get("sha256") or ""), self.size, self.unpacked)


def gather(
    payload: str,
    manifest: Mapping[str, Any],
    packages: Mapping[str, Mapping[str, Any]] | None = None,
    since: Sequence[Facts] = (),
) -> Facts:
    """The facts of a payload, reading it once.

    packages: as `packages.collect` wrote them. since: earlier images, oldest first. Raises ConfigError for a damaged payload.
    """
    known = packages or {}
    owners = {path: name for name, package in known.items() for path in package["files"]}
    files = contents.read(payload, owners)
    versions: Mapping[str, str] = manifest.get("packages") or {}
    sizes: dict[str, int] = {}
    for file in files.values():
        sizes[file.package] = sizes.get(file.package, 0) + file.size
    found = {}
    for name, version in versions.items():
        one = known.get(name) or {"recipe": "", "licence": "", "size": 0}
        found[name] = Package(version, one["recipe"], one["licence"], sizes.get(name, 0) if files else one["size"])
    reported = cves.read(os.path.dirname(payload), manifest)
    return Facts(manifest, found, files, history=remembered(since, str(manifest["sha256"])), cves=reported)


def remembered(since: Sequence[Facts], sha256: str) -> tuple[Release, ...]:
    """The releases that earlier images are and remember, oldest first, each once, and none with this hash."""
    releases = [release for facts in since for release in (*facts.history, facts.release)]
    known = {release.sha256: release for release in releases if release.sha256 != sha256}
    return tuple(known.values())[-_RELEASES:]


def load(path: str) -> Facts:
    """The facts of a payload, by the name of the payload, of its manifest or of its report's JSON file.

    The file beside the payload is used when it belongs to it, else the payload is read, if it is there. Raises ConfigError.
    """
    if path.endswith(SUFFIX):
        return _read(path)
    document = manifests.read(path)
    payload = path[: -len(manifests.SUFFIX)] if path.endswith(manifests.SUFFIX) else path
    if os.path.exists(payload + SUFFIX):
        facts = _read(payload + SUFFIX)
        if facts.manifest.get("sha256") == document["sha256"]:
            return facts
    return gather(payload, document) if os.path.isfile(payload) else Facts(document)


def dumps(facts: Facts) -> str:
    """The text of the file, the same for the same facts."""
    document = {
        "format": FORMAT,
        "manifest": facts.manifest,
        "packages": facts.packages,
        "files": facts.files,
        "limit": facts.limit,
        "slot": facts.slot,
        "history": facts.history,
        "commits": facts.commits,
        "cves": facts.cves,
    }
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"


def is_service(path: str, file: File) -> bool:
    """Whether a file makes something start at boot: a systemd unit, or a script or link of System V init."""
    folder, name = os.path.split(path)
    if stat.S_ISDIR(file.mode):
        return False
    if folder in ("/etc/systemd/system", "/lib/systemd/system", "/usr/lib/systemd/system"):
        return name.endswith((".service", ".socket", ".timer", ".path"))
    return folder == "/etc/init.d" and name not in ("rc", "rcS", "functions")


def remarks(path: str, file: File) -> tuple[str, ...]:
    """What a reviewer wants to know of a file: that it is setuid, setgid, world-writable, a device or a service."""
    kind = stat.S_IFMT(file.mode)
    found = []
    if kind == stat.S_IFREG:
        found += ["setuid"] if file.mode & stat.S_ISUID else []
        found += ["setgid"] if file.mode & stat.S_ISGID else []
    # a link's own permissions mean nothing; everybody may write into /tmp, but only remove what is theirs
    if file.mode & stat.S_IWOTH and kind != stat.S_IFLNK and not (kind == stat.S_IFDIR and file.mode & stat.S_ISVTX):
        found.append("world-writable")
    if kind in (stat.S_IFCHR, stat.S_IFBLK):
        found.append("device")
    return (*found, "service") if is_service(path, file) else tuple(found)


def _read(path: str) -> Facts:
    try:
        with open(path, encoding="utf-8") as stream:
            document = json.load(stream)
        if document["format"] != FORMAT or not isinstance(document["manifest"]["sha256"], str):
            raise ValueError
        return Facts(
            document["manifest"],
            {str(name): _package(row) for name, row in document["packages"].items()},
            {str(name): _file(row) for name, row in document["files"].items()},
            int(document["limit"]),
            int(document["slot"]),
            tuple(_release(row) for row in document["history"]),
            {str(name): tuple(map(str, lines)) for name, lines in document["commits"].items()},
            {str(name): str(status) for name, status in document["cves"].items()},
        )
    except OSError as error:
        raise ConfigError([Fault(path, f"cannot be read: {error.strerror}", "build the image again")]) from None
    except (ValueError, TypeError, KeyError, AttributeError):
        problem = f"is not the JSON of a report, of format {FORMAT}"
        raise ConfigError([Fault(path, problem, "name the .report.json file beside a payload")]) from None


def _package(row: Sequence[Any]) -> Package:
    version, recipe, licence, size = row
    return Package(str(version), str(recipe), str(licence), int(size))


def _file(row: Sequence[Any]) -> File:
    mode, uid, gid, size, content, package = row
    return File(int(mode), int(uid), int(gid), int(size), str(content), str(package))


def _release(row: Sequence[Any]) -> Release:
    version, sha256, size, unpacked = row
    return Release(str(version), str(sha256), int(size), int(unpacked))
