# SPDX-License-Identifier: MIT
"""A command, its time and its memory."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from .race import CannotRunError, Contestant, Sample

_LOOK = 0.02  # seconds between two looks at the memory


def measure(command: Sequence[str], cwd: Path, env: Mapping[str, str] | None = None) -> Sample:
    """Run a command to its end: wall time in seconds, and the peak resident memory of the largest of its processes.

    Raises CannotRunError with what it said when the program is missing or fails.
    """
    if not shutil.which(command[0], path=(env or os.environ).get("PATH")):
        raise CannotRunError(f"{command[0]} is not installed")
    started = time.monotonic()
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=dict(env) if env else None,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    watch = _Watch(process.pid)
    with watch:
        output, _ = process.communicate()
        seconds = time.monotonic() - started
    if process.returncode:
        last = (output.strip().splitlines() or ["no output"])[-1]
        raise CannotRunError(f"{Path(command[0]).name} ended with status {process.returncode}: {last[:200]}")
    return Sample(seconds, watch.peak)


def contestants(
    commands: Mapping[str, Sequence[str]], folder: Path, env: Mapping[str, str] | None = None
) -> list[Contestant]:
    """A contestant for each command."""

    def contestant(name: str, command: Sequence[str]) -> Contestant:
        return Contestant(name, lambda _: measure(command, folder, env))

    return [contestant(name, command) for name, command in commands.items()]


class _Watch:
    """Looks at a process and its descendants from a thread: ru_maxrss would be at least that of this Python."""

    def __init__(self, pid: int):
        self.peak, self._pid, self._end = 0, pid, threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._end.wait(_LOOK):
            for pid in _family(self._pid):
                self.peak = max(self.peak, _high_water(pid))


def _family(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):
            found += map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split())
    return found


def _high_water(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0
