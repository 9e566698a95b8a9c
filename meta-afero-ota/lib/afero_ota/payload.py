# SPDX-License-Identifier: MIT
"""From the image archive to the file that is uploaded (`hub_update.bin`)."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import ConfigError, Fault, OtaError

if TYPE_CHECKING:
    from typing import BinaryIO, Callable

    Progress = Callable[[int, int], None]  # (bytes done, bytes in all)

_BLOCK = 1 << 20
_SIZE = re.compile(r"(?:([0-9]+)([KMG]?))?", re.IGNORECASE)
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_FICLONE = 0x40049409  # linux/fs.h: share the blocks of another file


@dataclass(frozen=True)
class Payload:
    """The file to upload: path, SHA-256 (hexadecimal) and size in bytes."""

    path: str
    sha256: str
    size: int


def package(archive: str, destination: str, progress: Progress | None = None) -> Payload:
    """Make `destination` a byte-for-byte copy of `archive`, reading it once.

    Blocks are shared (reflink, else hard link) where the file system can; otherwise they are copied while hashed.
    Raises ConfigError for an archive that is missing or empty, OtaError when the destination cannot be written.
    """
    source = os.path.realpath(archive)
    check_file(source, archive)
    if os.path.realpath(destination) == source:
        return measure(destination, progress)
    folder = os.path.dirname(os.path.abspath(destination))
    temporary = os.path.join(folder, f".{os.path.basename(destination)}.{os.getpid()}")
    try:
        os.makedirs(folder, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        if _share(source, temporary):
            sha256, size = _hash(temporary, None, progress)
        else:
            with open(temporary, "wb") as copy:
                sha256, size = _hash(source, copy, progress)
                os.fsync(copy.fileno())
        os.replace(temporary, destination)
    except OSError as error:
        raise OtaError(f"{destination} cannot be written: {error.strerror} ({error.filename or folder})") from None
    finally:
        # rename() of one hard link onto another of the same file leaves both names
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
    return Payload(destination, sha256, size)


def byte_count(text: str, unit: int = 1) -> int:
    """The bytes of a size such as ``64M``; K, M and G are powers of 1024. unit: bytes of a number without a letter.

    Returns 0 for an empty text, raises ValueError for any other that is not a size.
    """
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise ValueError(text)
    number, letter = found.groups()
    return int(number or 0) * (_UNITS[letter.upper()] if letter else unit)


def check_limit(payload: Payload, limit: int) -> None:
    """Raise ConfigError when a payload has more bytes than the limit; 0 is no limit."""
    if limit and payload.size > limit:
        problem = f"the payload has {payload.size:,} bytes, {payload.size - limit:,} more than the {limit:,} allowed"
        remedy = "make the image smaller, compress it better (AFERO_OTA_IMAGE_FSTYPE), or raise the limit if every device has the room"
        raise ConfigError([Fault("AFERO_OTA_SIZE_LIMIT", problem, remedy)])


def measure(path: str, progress: Progress | None = None) -> Payload:
    """Hash a payload that is already there. Raises ConfigError when it is missing, unreadable or empty."""
    check_file(path)
    try:
        return Payload(path, *_hash(path, None, progress))
    except OSError as error:
        raise ConfigError([Fault(path, f"cannot be read: {error.strerror}", "check its permissions")]) from None


def check_file(path: str, shown: str = "") -> None:
    """Raise ConfigError when there is no file at `path` (`shown`: how the user named it), or an empty one."""
    try:
        size = os.stat(path).st_size if os.path.isfile(path) else None
    except OSError:
        size = None
    if size is None:
        raise ConfigError([Fault(shown or path, "no such file", "build the image first, or name its archive")])
    if size == 0:
        remedy = "build the image again; an empty image is never sent"
        raise ConfigError([Fault(shown or path, "the image file is empty", remedy)])


def _share(source: str, target: str) -> bool:
    try:
        with open(source, "rb") as original, open(target, "wb") as clone:
            fcntl.ioctl(clone.fileno(), _FICLONE, original.fileno())
        shutil.copymode(source, target)
        return True
    except OSError:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(target)
    try:
        os.link(source, target)
        return True
    except OSError:
        return False


def _hash(path: str, copy: BinaryIO | None, progress: Progress | None) -> tuple[str, int]:
    digest, done = hashlib.sha256(), 0
    with open(path, "rb") as stream:
        total = os.fstat(stream.fileno()).st_size
        while block := stream.read(_BLOCK):
            digest.update(block)
            if copy:
                copy.write(block)
            done += len(block)
            if progress:
                progress(done, total)
    return digest.hexdigest(), done
