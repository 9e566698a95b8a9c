# SPDX-License-Identifier: MIT
"""The journal: one JSON object per line, appended and flushed to the disk, for every step that changes something.

A run resumes from it, `afero-ota status` shows it, and it is the audit log. It never holds a secret.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from enum import Enum
from types import TracebackType
from typing import IO, Any, Callable

from . import __version__, text
from .errors import AbortedError, OtaError

Entry = dict[str, Any]  # one line of the file


class Step(Enum):
    """What was done; the values are what the file holds, and never change."""

    RECORD = "record"
    CREATE_RECORD = "create record"
    PUBLISH = "publish"
    DISSOCIATE = "dissociate"
    UPLOAD = "upload"
    MOVE = "move"
    SET_URL = "set url"
    ASSOCIATE = "associate"
    PUSH = "push"


class Outcome(Enum):
    """How far a step is; the values are what the file holds, and never change."""

    STARTED = "started"
    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "unknown"  # sent, and no usable answer came back
    FOUND = "found"
    CREATED = "created"
    NOTHING_TO_DO = "nothing to do"


class Journal:
    """An append-only file of steps; without a path, the same in memory only. Use as a context manager.

    observer: called with each entry as it is noted.
    """

    def __init__(self, path: str | None = None, observer: Callable[[Entry], None] | None = None):
        self.path, self._observer = path, observer
        self.entries: list[Entry] = read(path) if path else []
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

    def note(self, step: Step, outcome: Outcome, **facts: Any) -> None:
        """Append one line: time (UTC), tool version, step, outcome and facts."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        entry = {"time": now, "tool": __version__, "step": step.value, "outcome": outcome.value, **facts}
        self.entries.append(entry)
        if self._stream:
            self._stream.write(text.to_json(entry) + "\n")
            self._stream.flush()
            os.fsync(self._stream.fileno())
        if self._observer:
            self._observer(entry)

    @contextlib.contextmanager
    def step(self, step: Step, **facts: Any) -> Iterator[dict[str, Any]]:
        """Note a step as started, then as done with the facts that the block adds to the yielded ones, or as failed."""
        self.note(step, Outcome.STARTED, **facts)
        try:
            yield facts
        except Exception as error:
            self.note(step, Outcome.FAILED, **facts, error=f"{type(error).__name__}: {error}")
            raise
        self.note(step, Outcome.DONE, **facts)

    def last(self, step: Step, **facts: Any) -> Entry | None:
        """The newest entry of a step whose facts include the given ones, or None."""
        wanted = {"step": step.value, **facts}
        return next((entry for entry in reversed(self.entries) if wanted.items() <= entry.items()), None)


def read(path: str) -> list[Entry]:
    """The entries of a journal file, oldest first, without a line cut short by a crash; none when there is no file."""
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
