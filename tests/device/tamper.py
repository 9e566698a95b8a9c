# SPDX-License-Identifier: MIT
"""Images that a device must refuse: each is made from a good one and differs from it in one respect."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path

MANIFEST, LISTING = "./etc/afero-ota/manifest", "./etc/afero-ota/listing"
COMPATIBLE, RECORD = "./etc/afero-ota/compatible", "./etc/full-ota-record.json"

Content = Callable[[bytes], bytes]
Defect = Callable[[Path, Path], None]


def rewrite(
    source: Path,
    target: Path,
    changed: dict[str, Content] | None = None,
    added: Iterable[tuple[tarfile.TarInfo, bytes]] = (),
    honest: bool = True,
    front: bool = False,
) -> None:
    """Copy an archive with these members changed, and others added at its end (front: at its beginning).

    honest: update manifest and listing to match, as if the image had been built that way.
    """
    changed, added = dict(changed or {}), list(added)
    with tarfile.open(source) as old:
        members = [(member, old.extractfile(member) if member.isreg() else None) for member in old]
        contents = [(member, stream.read() if stream else b"") for member, stream in members]
    contents = [(member, changed[member.name](data) if member.name in changed else data) for member, data in contents]
    if honest:
        known = {member.name: data for member, data in [*contents, *added] if member.isreg()}
        texts = {
            MANIFEST: _manifest(known),
            LISTING: _listing(known[LISTING].decode(), [member for member, _ in added]),
        }
        known[LISTING] = texts[LISTING].encode()
        texts[MANIFEST] = _manifest(known)
        contents = [
            (member, texts[member.name].encode() if member.name in texts else data) for member, data in contents
        ]
    with tarfile.open(target, "w:gz", compresslevel=1) as new:
        for member, data in [*added, *contents] if front else [*contents, *added]:
            if member.isreg():
                member.size = len(data)
            new.addfile(member, io.BytesIO(data) if member.isreg() else None)


def _manifest(files: dict[str, bytes]) -> str:
    names = sorted(name for name in files if name != MANIFEST)
    return "".join(f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in names)


def _listing(text: str, added: list[tarfile.TarInfo]) -> str:
    kinds = {tarfile.REGTYPE: 0o100000, tarfile.DIRTYPE: 0o040000}
    lines = text.splitlines()
    for member in added:
        if member.issym():
            lines.append(f"link - - {member.name} -> {member.linkname}")
        elif member.type in kinds:
            lines.append(f"{kinds[member.type] | member.mode:x} {member.uid} {member.gid} {member.name}")
    return "\n".join(lines) + "\n"


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.linkname, found.mode = kind, link, mode
    return found


# ---- one function for each defect: it takes the good image, and the path of the bad one to write ------------------------


def flipped_bit(good: Path, bad: Path) -> None:
    data = bytearray(good.read_bytes())
    data[len(data) // 2] ^= 0x10
    bad.write_bytes(data)


def truncated(good: Path, bad: Path) -> None:
    bad.write_bytes(good.read_bytes()[: good.stat().st_size * 2 // 3])


def empty(good: Path, bad: Path) -> None:
    bad.write_bytes(b"")


def foreign_machine(good: Path, bad: Path) -> None:
    rewrite(good, bad, {COMPATIBLE: lambda text: b"another-board\n"})


def too_large(good: Path, bad: Path) -> None:
    rewrite(good, bad, added=[(member("./etc/large"), bytes(80 << 20))])


def older_version(good: Path, bad: Path) -> None:
    rewrite(good, bad, {RECORD: lambda text: re.sub(rb'("versionNumber": *"?)\d+', rb"\g<1>0", text)})


def manifest_with_another_hash(good: Path, bad: Path) -> None:
    rewrite(
        good,
        bad,
        {MANIFEST: lambda text: text[:-80].rpartition(b"\n")[0] + b"\n" + b"0" * 64 + b"  ./sbin/x\n"},
        honest=False,
    )


def file_that_differs_from_the_manifest(good: Path, bad: Path) -> None:
    rewrite(good, bad, {"./etc/hello": lambda text: b"hollo\n"}, honest=False)


def mode_that_differs_from_the_listing(good: Path, bad: Path) -> None:
    wrong = {LISTING: lambda text: re.sub(rb"(?m)^81a4 (0 0 \./etc/hello)$", rb"89ed \1", text)}
    rewrite(good, bad, wrong, honest=True)


def header_in_the_image(good: Path, bad: Path) -> None:
    rewrite(good, bad, added=[(member("./etc/ota_type_5.hdr"), b"\5" * 216)])


def marker_in_the_image(good: Path, bad: Path) -> None:
    rewrite(good, bad, added=[(member("./etc/afero-ota/complete"), b"yes\n")])


def path_traversal(good: Path, bad: Path) -> None:
    rewrite(good, bad, added=[(member("./../../../data/user/file"), b"evil\n")], front=True)


def absolute_path(good: Path, bad: Path) -> None:
    rewrite(good, bad, added=[(member("/data/user/file"), b"evil\n")], front=True)


def path_through_a_link(good: Path, bad: Path) -> None:
    link = member("./etc/way", tarfile.SYMTYPE, "/data/user", 0o777)
    rewrite(good, bad, added=[(link, b""), (member("./etc/way/file"), b"evil\n")])


def hard_link_to_the_outside(good: Path, bad: Path) -> None:
    rewrite(good, bad, added=[(member("./etc/way", tarfile.LNKTYPE, "/data/user/file"), b"")])


def device_node(good: Path, bad: Path) -> None:
    node = member("./dev/disk", tarfile.BLKTYPE, mode=0o666)
    node.devmajor, node.devminor = 179, 0
    rewrite(good, bad, added=[(node, b"")])


def not_an_archive(good: Path, bad: Path) -> None:
    bad.write_bytes(b"#!/bin/sh\necho evil > /data/user/file\n" + bytes(5000))
