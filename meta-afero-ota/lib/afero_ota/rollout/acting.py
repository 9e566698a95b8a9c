# SPDX-License-Identifier: MIT
"""Carries out a plan: polls the device list, decides, pushes, waits, and notes everything in the journal.

What to do is decided in decision.py. Here is what must not go wrong while doing it: a push is noted before it is sent and
never sent twice; nothing is decided on an old device list; the time never jumps.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable, Protocol

from ..errors import (
    AbortedError,
    AuthError,
    NetworkError,
    OtaError,
    RefusedError,
    RolloutAbortedError,
    SomeFailedError,
    UnknownOutcomeError,
)
from ..plan import Plan
from ..service import OtaService
from . import control, ledger
from .control import Wish
from .decision import Control, Decision, Device, Sighting, State, Verdict, decide, failed_devices
from .direct import SETTLE
from .ledger import Ledger
from .looking import Lookout

_GLANCE = 1.0  # seconds between two looks at the wishes


class Clock:
    """Seconds since 1970 that go neither back nor forward by a jump: the system's time at the start, and a steady count since.

    not_before: a time that is certainly past, such as that of the newest entry of a journal.
    """

    def __init__(self, not_before: float = 0.0):
        self._offset = max(time.time(), not_before) - time.monotonic()

    def now(self) -> float:
        """The time, to the millisecond that the journal keeps."""
        return round(self._offset + time.monotonic(), 3)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


@dataclass(frozen=True)
class Pace:
    """poll: seconds between two looks at the devices; rate: pushes a second; outage: for how long the cloud may be unreachable."""

    poll: float = 10.0
    rate: float = 5.0
    outage: float = 1800.0


class Watcher(Protocol):
    """Sees a rollout as it goes on."""

    def noted(self, event: str, now: float, facts: Mapping[str, Any]) -> None:
        """An entry of the journal."""

    def decided(self, decision: Decision, now: float) -> None:
        """What follows now; after every look at the devices and every push."""


class Rollout:
    """The rollout of one plan by this client. Errors end it; the next run goes on from the journal."""

    def __init__(
        self,
        plan: Plan,
        service: OtaService,
        journal: Ledger,
        watchers: Sequence[Watcher] = (),
        pace: Pace | None = None,
        clock: Clock | None = None,
        cloud_fits: Callable[[], None] = lambda: None,
    ):
        self.plan, self._service, self._journal, self._watchers = plan, service, journal, watchers
        known = journal.known
        self.devices, self.control = known.devices, known.control
        self._pace, self._clock = pace or Pace(), clock or Clock(known.time)
        self._doubts = _Doubts(known.in_doubt)
        self._told, self._totals = known.told, dict[State, int]()
        self._cloud_fits = cloud_fits
        self._lookout = Lookout(service, plan.account_id)
        self._looked = known.time or self._clock.now()
        self._next_poll = self._next_push = self._clock.now()
        self._blind_since: float | None = None

    @property
    def in_doubt(self) -> frozenset[str]:
        """Devices that were sent a push of which it is not known whether it arrived."""
        return frozenset(self._doubts.devices)

    def run(self, retry_failed: bool = False) -> Decision:
        """Go on until the rollout has ended and no device is in flight. Returns the last decision.

        retry_failed: first, push failed and silent devices again, and wait again for those that could not be reached.
        Raises the errors of `OtaService`; NetworkError only when the cloud was unreachable for `Pace.outage`.
        """
        while True:
            due = self._clock.now() >= self._next_poll
            if due:
                self._poll()
                if retry_failed and self._blind_since is None:
                    self._retry()
                    retry_failed = False
            decision = self._decide()
            if due:
                # from here: where looking takes longer than this pause, there would be no time left to push
                self._next_poll = self._clock.now() + self._pace.poll
            if decision and self._over(decision):
                self._note("end", verdict=decision.verdict.value, reason=decision.control.aborted)
                self._journal.sync()
                return decision
            if decision:
                self._push(decision.push)
            self._rest(decision)

    @staticmethod
    def _over(decision: Decision) -> bool:
        # an aborted rollout pushes nothing more, but tells what becomes of the devices in flight
        aborted = decision.verdict is Verdict.ABORTED and not decision.watched
        return aborted or decision.verdict is Verdict.FINISHED

    # ---- looking ---------------------------------------------------------------------------------------------------

    def _poll(self) -> None:
        try:
            shown = self._lookout.look(self.devices)
        except NetworkError as error:
            now = self._clock.now()
            self._blind_since = now if self._blind_since is None else self._blind_since
            self._note("outage", why=str(error))
            if now - self._blind_since >= self._pace.outage:
                raise
            return
        self._blind_since = None
        now = self._clock.now()
        for device_id, device in self.devices.items():
            self._see(device_id, device, shown.get(device_id), now)
        for device_id in self._doubts.not_received(self.devices, self._start_limits(), now):
            self._withdraw(device_id, "the device shows nothing of it")
        self._looked = now
        self._journal.sync()

    def _see(self, device_id: str, device: Device, sighting: Sighting | None, now: float) -> None:
        before = ledger.worth_keeping(device)
        device.see(sighting, self.plan.image.version_number, now)
        if device.started == now and device.pushed is not None:
            # it began some time since the last look, which may be long ago when no client ran
            device.started = min(now, max(device.pushed, self._looked))
        changes = {name: value for name, value in ledger.worth_keeping(device).items() if value != before.get(name)}
        if not changes:
            return
        if device.started is not None or device.done is not None or device.failed is not None:
            self._doubts.devices.discard(device_id)
        facts = {"running": str(device.running)} if device.running is not None else {}
        self._note("device", now, device=device_id, state=_state(device), set=changes, **facts)

    def _start_limits(self) -> Mapping[str, float]:
        if not self._doubts.devices:
            return {}
        waves = self.plan.waves
        return {one.device_id: wave.rules.start_limit for wave in waves for one in wave.devices}

    # ---- deciding --------------------------------------------------------------------------------------------------

    def _decide(self) -> Decision | None:
        """What follows from the last look at the devices; None while the cloud cannot be reached."""
        if self._blind_since is not None:
            return None
        # as of that look: a device whose time ran out since may have answered meanwhile
        now = self._looked
        self._obey(control.read(control.path_of(self._journal.path)))
        decision = decide(self.plan, self.devices, self.control, now)
        self._note_control(decision.control, "a rule of the plan" if decision.control.aborted else "")
        self._tell(decision, now)
        for watcher in self._watchers:
            watcher.decided(decision, now)
        return decision

    def _obey(self, wish: Wish) -> None:
        aborted = self.control.aborted or wish.aborted
        self._note_control(Control(self.control.opened, wish.paused, aborted), wish.by)

    def _note_control(self, new: Control, by: str) -> None:
        if new != self.control:
            self.control = new
            self._note("control", opened=list(new.opened), paused=new.paused, aborted=new.aborted, by=by)
            self._journal.sync()

    def _tell(self, decision: Decision, now: float) -> None:
        if decision.totals == self._totals:
            return
        self._totals = dict(decision.totals)
        for device_id, standing in decision.standings.items():
            word = standing.state.value
            if ledger.ended_by_the_clock(standing.state) and self._told.get(device_id) != word:
                self._told[device_id] = word
                self._note("device", now, device=device_id, state=word, why=standing.reason)
        totals = {state.value: number for state, number in decision.totals.items() if number}
        self._note("progress", now, verdict=decision.verdict.value, totals=totals)

    def _retry(self) -> None:
        now = self._looked
        decision = decide(self.plan, self.devices, self.control, now)
        if decision.control.aborted:
            raise RefusedError(
                f"this rollout was aborted ({decision.control.aborted}), which is for good; make a new plan: the devices that "
                "run the image are left out of it"
            )
        for device_id in failed_devices(decision.standings):
            device = self.devices[device_id]
            device.retry()
            self._doubts.devices.discard(device_id)
            changes = {**ledger.worth_keeping(device), "pushed": None}
            self._told.pop(device_id, None)
            self._note("retry", now, device=device_id, set=changes)
        for device_id, standing in decision.standings.items():
            if standing.state is State.UNREACHABLE:
                self._told.pop(device_id, None)
                self.devices[device_id].held_up = now
                self._note("retry", now, device=device_id, set={"held_up": now})
        self._journal.sync()

    # ---- pushing ---------------------------------------------------------------------------------------------------

    def _push(self, devices: Sequence[str]) -> None:
        for device_id in devices:
            self._wait_until(self._next_push)
            wish = control.read(control.path_of(self._journal.path))
            if wish.paused or wish.aborted or self._clock.now() >= self._next_poll:
                return
            self._next_push = self._clock.now() + 1 / self._pace.rate
            if not self._push_one(device_id):
                return

    def _push_one(self, device_id: str) -> bool:
        """Push one device; False when something is to be decided anew first."""
        device, now = self.devices[device_id], self._clock.now()
        device.push(now)
        values = {"pushed": now, "before": device.before, "attempts": device.attempts}
        self._note("push", now, device=device_id, set=values)
        # from here on the push counts as sent, whatever happens to this client
        self._journal.sync()
        self._doubts.add(device_id)
        try:
            self._service.push(self.plan.image.id, device_id)
        except UnknownOutcomeError as error:
            self._note("unanswered", device=device_id, why=str(error))
            return True
        except NetworkError as error:
            # the transport tells apart what may have arrived and what did not
            self._withdraw(device_id, str(error))
            self._next_poll = self._clock.now()
            return False
        except AuthError as error:
            self._withdraw(device_id, str(error))
            raise
        except OtaError as error:
            self._refused(device_id, error)
            return False
        self._doubts.devices.discard(device_id)
        self._note("accepted", device=device_id)
        return True

    def _refused(self, device_id: str, error: OtaError) -> None:
        """The cloud refused a push: for the sake of the device, or since the image is gone."""
        try:
            self._cloud_fits()
        except OtaError:
            self._withdraw(device_id, str(error))
            raise
        self._doubts.devices.discard(device_id)
        device, now = self.devices[device_id], self._clock.now()
        device.refuse(now, str(error))
        self._note("device", now, device=device_id, state=State.FAILED.value, set=ledger.worth_keeping(device))
        self._journal.sync()

    def _withdraw(self, device_id: str, why: str) -> None:
        """A push did not reach the cloud: the device was not pushed."""
        self._doubts.devices.discard(device_id)
        device = self.devices[device_id]
        device.pushed, device.before, device.attempts = None, "", device.attempts - 1
        self._note(
            "withdrawn", device=device_id, why=why, set={"pushed": None, "before": "", "attempts": device.attempts}
        )
        self._journal.sync()

    # ---- waiting, noting -------------------------------------------------------------------------------------------

    def _rest(self, decision: Decision | None) -> None:
        """Wait for the next look at the devices, or for a wish."""
        if decision is None or not decision.push or self.control.paused or self.control.aborted:
            self._wait_until(self._next_poll, wish=True)

    def _wait_until(self, moment: float, wish: bool = False) -> None:
        path = control.path_of(self._journal.path)
        before = control.read(path) if wish else None
        while (left := moment - self._clock.now()) > 0:
            self._clock.sleep(min(left, _GLANCE))
            if wish and control.read(path) != before:
                return

    def _note(self, event: str, now: float | None = None, **facts: Any) -> None:
        now = self._clock.now() if now is None else now
        self._journal.note(event, now, **facts)
        for watcher in self._watchers:
            watcher.noted(event, now, facts)


class _Doubts:
    """Pushes of which nobody knows whether they reached the cloud: no answer came, or the client was killed just then.

    Such a device is not pushed again, unless it was seen, from right after the push until its time to begin was over, to do
    nothing at all: online, not updating, and telling what it told before. Then the push cannot have arrived.
    """

    def __init__(self, devices: set[str]):
        self.devices = devices
        self._idle: set[str] = set()
        self._looked: set[str] = set()

    def add(self, device_id: str) -> None:
        self.devices.add(device_id)
        self._looked.discard(device_id)
        self._idle.discard(device_id)

    def not_received(self, devices: Mapping[str, Device], limits: Mapping[str, float], now: float) -> list[str]:
        """After a look at the devices: those that certainly did not get the push."""
        found = []
        for device_id in sorted(self.devices):
            device = devices[device_id]
            idle = device.ready and device.raw == device.before and device.started is None and device.pushed is not None
            first = device_id not in self._looked
            self._looked.add(device_id)
            if first and idle and now - (device.pushed or 0.0) <= SETTLE:
                self._idle.add(device_id)
            elif not idle:
                self._idle.discard(device_id)
            if device_id in self._idle and now >= (device.pushed or 0.0) + limits[device_id]:
                found.append(device_id)
        return found


def _state(device: Device) -> str:
    """The state that a device shows by itself, for the journal."""
    if device.failed is not None:
        return State.FAILED.value
    if device.done is not None:
        return State.DONE.value
    if device.pushed is not None:
        in_flight = State.UPDATING if device.started is not None else State.PUSHED
        return (State.TRIAL if device.trial else in_flight).value
    held_up = State.BUSY if device.updating else State.OFFLINE
    return (State.WAITING if device.ready else held_up).value


def exit_status(decision: Decision, in_doubt: frozenset[str] = frozenset()) -> int:
    """The exit status of a rollout that came to this decision. in_doubt: `Rollout.in_doubt`."""
    if decision.verdict is Verdict.ABORTED:
        return RolloutAbortedError.exit_status
    if decision.verdict is not Verdict.FINISHED:
        return AbortedError.exit_status
    if any(decision.standings[device_id].state is State.SILENT for device_id in in_doubt):
        return UnknownOutcomeError.exit_status
    bad = sum(decision.totals.get(state, 0) for state in (State.FAILED, State.SILENT, State.UNREACHABLE))
    return SomeFailedError.exit_status if bad else 0
