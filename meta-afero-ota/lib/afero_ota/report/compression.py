# SPDX-License-Identifier: MIT
"""To how many bytes each compression program brings an image."""

from __future__ import annotations

import shutil
import subprocess
import threading
from typing import TYPE_CHECKING

from ..errors import ConfigError, Fault
from . import contents

if TYPE_CHECKING:
    from collections.abc import Sequence

# as OE-Core calls them for images, and the best that zstd has for a small device
PROGRAMS = (("gzip", "-9"), ("xz", "-9"), ("zstd", "-3"), ("zstd", "-19"))
_BLOCK = 1 << 20


def measure(path: str) -> list[tuple[str, int | None]]:
    """Program and size in bytes of the file at `path`, unpacked and compressed by it; None where there is no such program.

    The programs run side by side and the image is read once; xz -9 takes 700 MB of memory. Raises ConfigError when the file cannot be read.
    """
    running = [_Program(program) for program in PROGRAMS if shutil.which(program[0])]
    try:
        with contents.unpacked(path) as stream:
            while block := stream.read(_BLOCK):
                for program in running:
                    program.feed(block)
    except contents.UNREADABLE as error:
        raise ConfigError([Fault(path, f"cannot be compressed: {error}", "package the image again")]) from None
    finally:
        sizes = {program.command: program.end() for program in running}
    return [(" ".join(program), sizes.get(program)) for program in PROGRAMS]


class _Program:
    """A compression program that runs; only the number of bytes that it writes is kept."""

    def __init__(self, command: Sequence[str]):
        self.command = tuple(command)
        self._size = 0
        self._process = subprocess.Popen([*command, "-c"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._reader = threading.Thread(target=self._count)
        self._reader.start()

    def feed(self, block: bytes) -> None:
        assert self._process.stdin
        self._process.stdin.write(block)

    def end(self) -> int | None:
        """The bytes that it made, None when it failed."""
        assert self._process.stdin
        self._process.stdin.close()
        self._reader.join()
        return self._size if self._process.wait() == 0 else None

    def _count(self) -> None:
        assert self._process.stdout
        with self._process.stdout as stream:
            while block := stream.read(_BLOCK):
                self._size += len(block)
