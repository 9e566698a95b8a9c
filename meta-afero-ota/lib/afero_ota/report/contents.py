# SPDX-License-Identifier: MIT
"""What an image archive holds, file by file, in one pass over the archive and without unpacking it to the disk."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import lzma
import os
import shutil
import stat
import subprocess
import tarfile
import zlib
from typing import IO, TYPE_CHECKING, NamedTuple, cast

from ..errors import ConfigError, Fault

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_BLOCK = 1 << 18
_DIGITS = 16  # of a file's SHA-256: enough to see a change, a quarter of the text
_KINDS = {
    tarfile.SYMTYPE: stat.S_IFLNK,
    tarfile.DIRTYPE: stat.S_IFDIR,
    tarfile.CHRTYPE: stat.S_IFCHR,
    tarfile.BLKTYPE: stat.S_IFBLK,
    tarfile.FIFOTYPE: stat.S_IFIFO,
}


# what reading a damaged file may raise
UNREADABLE = (OSError, EOFError, zlib.error, lzma.LZMAError, tarfile.TarError)


class File(NamedTuple):
    """One entry of an archive. mode: kind and permissions, as in stat. size: bytes of a regular file, else 0.

    content: the first digits of a file's SHA-256, the target of a link, the numbers of a device.
    package: that brought it, "" for what was made while the image was put together.
    """

    mode: int
    uid: int
    gid: int
    size: int
    content: str
    package: str


def read(path: str, owners: Mapping[str, str] | None = None) -> dict[str, File]:
    """Absolute path to `File` of everything in a tar archive, compressed or not; {} for a file that is no tar archive.

    owners: absolute path to package. Raises ConfigError when the file cannot be read or is damaged.
    """
    files: dict[str, File] = {}
    owners = owners or {}
    try:
        with unpacked(path) as stream:
            try:
                archive = tarfile.open(fileobj=stream, mode="r|", bufsize=_BLOCK)  # noqa: SIM115 no archive: no block
            except tarfile.ReadError:
                return {}
            with archive:
                for member in archive:
                    name = _name(member.name)
                    files[name] = _file(archive, member, owners.get(name, ""))
                    # or tarfile keeps every member
                    archive.members = []  # type: ignore[attr-defined]
    except UNREADABLE as error:
        raise ConfigError([Fault(path, f"cannot be read: {error}", "package the image again")]) from None
    return files


@contextlib.contextmanager
def unpacked(path: str) -> Iterator[IO[bytes]]:
    """The content of a file without its compression (gzip, xz, zstd; another file as it is). Raises OSError, EOFError, …"""
    with open(path, "rb") as raw:
        magic = raw.read(6)
        raw.seek(0)
        if magic[:2] == b"\x1f\x8b":
            with gzip.open(raw) as stream:
                yield cast("IO[bytes]", stream)
        elif magic == b"\xfd7zXZ\0":
            with lzma.open(raw) as stream:
                yield cast("IO[bytes]", stream)
        elif magic[:4] == b"\x28\xb5\x2f\xfd":
            with _program(["zstd", "-dcq", "--memory=2048MB", "--", path]) as stream:
                yield stream
        else:
            yield raw


@contextlib.contextmanager
def _program(command: list[str]) -> Iterator[IO[bytes]]:
    """What a program writes. Python itself cannot read zstd before 3.14."""
    if not shutil.which(command[0]):
        raise OSError(f"there is no program {command[0]} to decompress it with")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout
        yield process.stdout
        # a reader that has seen the archive's end may leave padding behind
        while process.stdout.read(_BLOCK):
            pass
    if process.returncode:
        raise OSError(f"{command[0]} says that it is damaged")


def mode(file: File) -> str:
    """The permissions as `ls` shows them, with the owner when that is not root."""
    shown = stat.filemode(file.mode)
    return shown if file.uid == file.gid == 0 else f"{shown} {file.uid}:{file.gid}"


def _file(archive: tarfile.TarFile, member: tarfile.TarInfo, package: str) -> File:
    if member.islnk():
        # one more name of a file that was counted under its first name
        mode, size, content = stat.S_IFREG, 0, f"= {_name(member.linkname)}"
    elif member.isreg():
        mode, size, content = stat.S_IFREG, member.size, _digest(archive, member)
    else:
        mode, size = _KINDS.get(member.type, stat.S_IFREG), 0
        content = _text(member.linkname) if member.issym() else ""
        if member.ischr() or member.isblk():
            content = f"{member.devmajor}:{member.devminor}"
    return File(mode | stat.S_IMODE(member.mode), member.uid, member.gid, size, content, package)


def _name(name: str) -> str:
    return os.path.normpath(f"/{_text(name)}")


def _text(name: str) -> str:
    """A name as text that can be written as UTF-8, whatever bytes it has in the archive."""
    return name.encode("utf-8", "backslashreplace").decode()


def _digest(archive: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    digest, stream = hashlib.sha256(), archive.extractfile(member)
    while stream and (block := stream.read(_BLOCK)):
        digest.update(block)
    return digest.hexdigest()[:_DIGITS]
