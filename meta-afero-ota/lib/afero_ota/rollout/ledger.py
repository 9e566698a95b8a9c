# SPDX-License-Identifier: MIT
"""The journal of a rollout: JSON lines beside the plan, from which a later run goes on where an earlier one stopped.

Every line has `time` (UTC) and `event`:

| event | facts |
|---|---|
| run | a client begins: plan (its digest), host, process, tool |
| push | device, set: noted and flushed to the disk before the request is sent |
| accepted, unanswered, withdrawn | device: what came of the request; withdrawn: the push did not reach the cloud |
| device | device, state, set: what the device shows now |
| retry | device, set: the device is to be pushed once more |
| control | opened, paused, aborted, by: waves that began, pause, abort |
| progress | verdict, until, totals, waves: devices by state |
| end | verdict, reason: the client ends |

`set` holds fields of `decision.Device` with their new values. The file never holds a secret.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timezone
from types import TracebackType
from typing import Any

from .. import __version__, text
from ..errors import AbortedError, OtaError, RefusedError
from ..plan import Plan
from .decision import Control, Device, State

Entry = dict[str, Any]  # one line of the file

_FIELDS = {one.name: one.type for one in fields(Device)}
_FIRST = b'{"event": "run"'  # what every journal begins with
# what the journal holds of a device that was not pushed, and of one that was
_UNPUSHED = ("listed", "online", "updating", "held_up")
_PUSHED = ("started", "trial", "done", "failed", "reason", "brief")


def path_of(plan_path: str) -> str:
    """Where the journal of a plan is, unless it is named: beside the plan."""
    return f"{plan_path}.journal.jsonl"


def worth_keeping(device: Device) -> Mapping[str, Any]:
    """The fields of a device that the journal must hold so that a later run knows it as well."""
    names = (*_PUSHED, *(() if device.pushed is not None else _UNPUSHED))
    return {name: getattr(device, name) for name in names}


def stamp(moment: float) -> str:
    """A time as the journal writes it: UTC, to the millisecond."""
    return datetime.fromtimestamp(moment, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment(entry: Mapping[str, Any]) -> float:
    """The time of an entry, seconds since 1970; 0 when it has none."""
    with contextlib.suppress(ValueError):
        return datetime.fromisoformat(str(entry.get("time")).replace("Z", "+00:00")).timestamp()
    return 0.0


@dataclass
class Known:
    """What a journal says of a rollout.

    in_doubt: pushes of which it is not known whether they reached the cloud. told: devices whose end by the clock was noted.
    run: the newest entry of a client that began; ended: that client ended by itself. time: of the newest entry.
    """

    devices: dict[str, Device]
    control: Control = field(default_factory=Control)
    in_doubt: set[str] = field(default_factory=set)
    told: dict[str, str] = field(default_factory=dict)
    run: Entry = field(default_factory=dict)
    ended: bool = False
    time: float = 0.0

    def add(self, entry: Entry) -> None:
        """Take in the next entry; one that makes no sense is passed over."""
        self.time = max(self.time, moment(entry))
        event, device_id = entry.get("event"), entry.get("device")
        device = self.devices.get(device_id) if isinstance(device_id, str) else None
        if event == "run":
            self.run, self.ended = entry, False
        elif event == "end":
            self.ended = True
        elif event == "control":
            opened = tuple(float(one) for one in entry.get("opened") or ())
            self.control = Control(opened, entry.get("paused") is True, str(entry.get("aborted") or ""))
        elif device is not None:
            self._device(str(event), str(device_id), device, entry)

    def _device(self, event: str, device_id: str, device: Device, entry: Entry) -> None:
        for name, value in (entry.get("set") or {}).items():
            if name in _FIELDS:
                setattr(device, name, value)
        if event == "push":
            self.in_doubt.add(device_id)
        elif event in ("accepted", "withdrawn", "retry"):
            self.in_doubt.discard(device_id)
        elif event == "device":
            self.told[device_id] = str(entry.get("state"))
        if device.started is not None or device.done is not None or device.failed is not None:
            self.in_doubt.discard(device_id)


def fold(plan: Plan, entries: Iterable[Entry]) -> Known:
    """What the entries of a journal say of a plan's rollout; a device that they do not name is taken to be ready."""
    targets = (target for wave in plan.waves for target in wave.devices)
    devices = {target.device_id: Device(listed=True, online=True, running=target.running) for target in targets}
    known = Known(devices)
    for entry in entries:
        known.add(entry)
    return known


def read(path: str) -> Iterator[Entry]:
    """The entries of a journal, oldest first, without lines torn by a crash; none when there is no file."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            for line in stream:
                with contextlib.suppress(ValueError):
                    entry = json.loads(line)
                    if isinstance(entry, dict) and isinstance(entry.get("event"), str):
                        yield entry
    except FileNotFoundError:
        return
    except OSError as error:
        raise OtaError(f"the journal {path} cannot be read: {error.strerror}") from None


def owner(entry: Mapping[str, Any]) -> str:
    """Which client an entry `run` is of, in words."""
    return f"process {entry.get('process')} on {entry.get('host')}, since {entry.get('time')}"


def in_use(path: str) -> bool:
    """Whether a client is at work with this journal."""
    try:
        with open(path, encoding="utf-8") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


class Ledger:
    """The journal of one plan, for writing; only one client has it. Use as a context manager.

    known: what the earlier runs left. Raises AbortedError when another client has it, RefusedError when it is another plan's.
    """

    def __init__(self, path: str, plan: Plan, now: float):
        self.path, self._plan, self._now = path, plan, now
        self.known = Known({})
        self._handle = -1
        self._size = 0

    def __enter__(self) -> Ledger:
        try:
            os.makedirs(os.path.dirname(os.path.abspath(self.path)), exist_ok=True)
            self._handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise OtaError(f"the journal {self.path} cannot be written: {error.strerror}") from None
        try:
            self._begin()
        except BaseException:
            os.close(self._handle)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._handle)

    def _begin(self) -> None:
        try:
            # the kernel takes the lock from a client that died
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            who = [entry for entry in read(self.path) if entry["event"] in ("run", "end")][-1:]
            named = owner(who[0]) if who and who[0]["event"] == "run" else "one that has only just begun"
            raise AbortedError(
                f"another client carries out this plan: {named} (journal {self.path}). Wait for it to end, or use "
                "`afero-ota status` to see how far it is"
            ) from None
        self._check_plan()
        self.known = fold(self._plan, read(self.path))
        self._size = os.fstat(self._handle).st_size
        # what a crash left of a line must not swallow the next one
        torn = self._size and os.pread(self._handle, 1, self._size - 1) != b"\n"
        facts = {"plan": self._plan.digest, "host": socket.gethostname(), "process": os.getpid(), "tool": __version__}
        self._write(("\n" if torn else "") + _line("run", max(self._now, self.known.time), facts))
        self.sync()

    def _check_plan(self) -> None:
        begun = next((entry for entry in read(self.path) if entry["event"] == "run"), None)
        if begun is None:
            # a file of another kind, or nothing but the first line, which a crash may have cut
            start, first = os.pread(self._handle, len(_FIRST), 0), os.pread(self._handle, 4096, 0)
            if _FIRST.startswith(start) and b"\n" not in first:
                return
        elif begun.get("plan") == self._plan.digest:
            return
        what = f"belongs to another plan ({begun.get('plan')})" if begun else "is no journal of a rollout"
        raise RefusedError(
            f"{self.path} {what}; this plan is {self._plan.digest}. Go on with the plan that was begun, or name another "
            "journal with --journal for a new rollout"
        )

    def note(self, event: str, now: float, **facts: Any) -> None:
        """Append one entry; it is on the disk after the next `sync`."""
        self._write(_line(event, now, facts))

    def sync(self) -> None:
        """Make sure that everything noted is on the disk."""
        try:
            os.fsync(self._handle)
        except OSError as error:
            raise self._full(error) from None

    def _write(self, line: str) -> None:
        data = line.encode()
        written = 0
        try:
            while written < len(data):
                written += os.write(self._handle, data[written:])
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._handle, self._size)  # no half line
            raise self._full(error) from None
        self._size += written

    def _full(self, error: OSError) -> OtaError:
        return OtaError(
            f"the journal {self.path} cannot be written: {error.strerror}. Nothing is pushed without a note of it. Make room "
            "and run the same command again: it goes on where it stopped"
        )


def _line(event: str, now: float, facts: Mapping[str, Any]) -> str:
    return text.to_json({"time": stamp(now), "event": event, **facts}) + "\n"


def ended_by_the_clock(state: State) -> bool:
    """Whether a device comes to this state because time passes, and not because it shows something."""
    return state in (State.SILENT, State.UNREACHABLE)
