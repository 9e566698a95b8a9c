# SPDX-License-Identifier: MIT
"""Simulates a disk that loses unflushed writes: QEMU logs all writes and flushes, and a prefix of the log is replayed.

QEMU's blklogwrites writes the format of Linux's dm-log-writes (Documentation/admin-guide/device-mapper/log-writes.rst).
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_MAGIC = 0x6A736677736872
_FLUSH, _FUA, _DISCARD = 1, 2, 4
_SUPER, _ENTRY = struct.Struct("<QQQI"), struct.Struct("<QQQQ")
SECTOR = 512


@dataclass(frozen=True)
class Write:
    """One entry of the log: bytes at an offset. A flush may have none."""

    offset: int
    data: bytes
    size: int
    flush: bool
    fua: bool
    discard: bool


def read_log(path: Path) -> Iterator[Write]:
    """The entries, in the order in which the disk accepted them."""
    with path.open("rb") as stream:
        magic, version, count, sector = _SUPER.unpack(stream.read(_SUPER.size))
        assert (magic, version) == (_MAGIC, 1), f"{path} is not a log of writes"
        stream.seek(sector)
        for _ in range(count):
            entry = stream.read(sector)
            first, sectors, flags, _length = _ENTRY.unpack_from(entry)
            discard = bool(flags & _DISCARD)
            size = sectors * sector
            data = b"" if discard else stream.read(size)
            yield Write(first * sector, data, size, bool(flags & _FLUSH), bool(flags & _FUA), discard)


def lose(log: list[Write], end: int, random_: random.Random) -> list[Write]:
    """What a disk keeps of the first `end` entries when the power fails: all before the last flush, and any part of the rest.

    The last of the kept writes may be torn at a sector boundary. Discards before the last flush take effect.
    """
    last = max((number for number in range(end) if log[number].flush), default=0)
    kept = list(log[:last])
    share = random_.random()
    loose = [write for write in log[last:end] if write.fua or random_.random() < share]
    if random_.random() < 0.5:
        # a disk may also reorder writes, as long as none of them overlap
        spans: set[int] = set()
        if all(_alone(write, spans) for write in loose):
            random_.shuffle(loose)
    if loose and not loose[-1].fua and len(loose[-1].data) > SECTOR and random_.random() < 0.5:
        whole = loose[-1]
        size = random_.randrange(1, len(whole.data) // SECTOR) * SECTOR
        loose[-1] = Write(whole.offset, whole.data[:size], size, whole.flush, whole.fua, whole.discard)
    return kept + loose


def _alone(write: Write, taken: set[int]) -> bool:
    sectors = set(range(write.offset // SECTOR, (write.offset + write.size) // SECTOR))
    if sectors & taken:
        return False
    taken |= sectors
    return True


def apply(writes: list[Write], disk: Path) -> None:
    """Apply the writes to a disk image, in this order."""
    with disk.open("r+b") as stream:
        for write in writes:
            stream.seek(write.offset)
            stream.write(bytes(write.size) if write.discard else write.data)
