# SPDX-License-Identifier: MIT
"""The journal: one JSON object per line, appended and flushed to the disk, of every step that changed something.

It is the resume point, the audit log and the source of `afero-ota status`. It never holds a secret.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from types import TracebackType
from typing import IO, Any

from . import __version__
from .errors import AbortedError, OtaError


class Journal:
    """An append-only file of steps; without a path, the same in memory only. Use as a context manager."""

    def __init__(self, path: str | None = None):
        self.path = path
        self.entries: list[dict[str, Any]] = read(path) if path else []
        self._stream: IO[str] | None = None

    def __enter__(self) -> Journal:
        if self.path:
            try:
                os.makedirs(os.path.dirname(os.path.abspath(self.path)), exist_ok=True)
                self._stream = open(self.path, "a+", encoding="utf-8")  # noqa: SIM115 closed in __exit__
            except OSError as error:
                raise OtaError(f"the journal {self.path} cannot be written: {error.strerror}") from None
            try:
                fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                self._stream.close()
                raise AbortedError(f"another run is using the journal {self.path}; wait for it to end") from None
            self.entries = read(self.path)
            _end_torn_line(self._stream)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream:
            self._stream.close()
            self._stream = None

    def note(self, step: str, outcome: str, **facts: Any) -> None:
        """Append one line: time (UTC), tool version, step, outcome (started, done, failed, unknown) and facts."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        entry = {"time": now, "tool": __version__, "step": step, "outcome": outcome, **facts}
        self.entries.append(entry)
        if self._stream:
            self._stream.write(json.dumps(entry, sort_keys=True, ensure_ascii=False) + "\n")
            self._stream.flush()
            os.fsync(self._stream.fileno())

    @contextlib.contextmanager
    def step(self, step: str, **facts: Any) -> Iterator[dict[str, Any]]:
        """Note a step as started, then as done with what the block adds to the yielded facts, or as failed."""
        self.note(step, "started", **facts)
        try:
            yield facts
        except Exception as error:
            self.note(step, "failed", **facts, error=f"{type(error).__name__}: {error}")
            raise
        self.note(step, "done", **facts)

    def last(self, step: str, **facts: Any) -> dict[str, Any] | None:
        """The newest entry of a step whose facts include the given ones, or None."""
        wanted = {"step": step, **facts}
        return next((entry for entry in reversed(self.entries) if wanted.items() <= entry.items()), None)


def read(path: str) -> list[dict[str, Any]]:
    """The entries of a journal file, oldest first; a line torn by a crash is passed over; no file, no entries."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            lines = stream.readlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise OtaError(f"the journal {path} cannot be read: {error.strerror}") from None
    entries = []
    for line in lines:
        with contextlib.suppress(ValueError):
            entry = json.loads(line)
            if isinstance(entry, dict) and "step" in entry:
                entries.append(entry)
    return entries


def _end_torn_line(stream: IO[str]) -> None:
    # a crash in the middle of a write must not swallow the next line too
    stream.seek(0, os.SEEK_END)
    size = stream.tell()
    if size:
        stream.seek(0)
        if not stream.read().endswith("\n"):
            stream.write("\n")
    stream.seek(0, os.SEEK_END)
