# SPDX-License-Identifier: MIT
"""What a rollout does next: a pure function of its plan, of what is known about each device, and of the time.

Nothing here pushes, polls, waits or writes. The caller shows each device as the cloud lists it (`Device.see`), notes each push
before it is sent (`Device.push`), and asks `decide` what follows. All times are seconds since 1970, by the caller's clock.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from .. import outcome
from ..outcome import Kind, Outcome
from ..plan import Plan, Rules, Wave


class State(enum.Enum):
    """Where a device stands."""

    WAITING = "waiting"  # for its wave, or for a slot
    OFFLINE = "offline"  # or not in the device list; it waits without a slot
    BUSY = "busy"  # with an update that is not ours; it waits without a slot
    PUSHED = "pushed"
    UPDATING = "updating"
    TRIAL = "on trial"  # it runs the new version, and did not confirm it yet
    DONE = "done"
    FAILED = "failed"
    SILENT = "silent"  # it did not begin, or did not end, in time
    UNREACHABLE = "unreachable"  # it could not be pushed before the limit
    NEWER = "newer"  # somebody gave it a newer version: the service never downgrades


IN_FLIGHT = frozenset({State.PUSHED, State.UPDATING, State.TRIAL})
HELD_UP = frozenset({State.OFFLINE, State.BUSY})
REPORTED = frozenset({State.DONE, State.FAILED, State.SILENT})


class Verdict(enum.Enum):
    """What becomes of the rollout."""

    RUNNING = "running"
    SOAKING = "soaking"  # the wave has ended, and is watched before the next one or before the end
    PAUSED = "paused"
    ABORTED = "aborted"
    FINISHED = "finished"


class Sighting(NamedTuple):
    """A device as the cloud lists it. running: attribute 2005; reason: attribute 65019."""

    online: bool
    updating: bool
    running: int | None
    reason: Outcome | None = None


@dataclass
class Device:
    """What is known about one device. Everything but the last sighting is worth keeping in a journal.

    before: `Outcome.raw` when it was pushed. reason: why it failed; brief: the same by exit status, such as ``refused 6``.
    """

    listed: bool = False
    online: bool = False
    updating: bool = False
    running: int | None = None
    raw: str = ""
    held_up: float | None = None
    pushed: float | None = None
    before: str = ""
    started: float | None = None
    trial: bool = False
    done: float | None = None
    failed: float | None = None
    reason: str = ""
    brief: str = ""
    attempts: int = 0

    @property
    def ready(self) -> bool:
        """Whether a push could begin at once."""
        return self.listed and self.online and not self.updating

    def push(self, now: float) -> None:
        """A push is about to be sent. Raises ValueError when one was sent already."""
        if self.pushed is not None:
            raise ValueError("this device was pushed already")
        self.pushed, self.before, self.attempts = now, self.raw, self.attempts + 1

    def refuse(self, now: float, reason: str) -> None:
        """The cloud refused the push."""
        self._fail(now, f"push refused: {reason}", "push refused")

    def retry(self) -> None:
        """Forget the last push and how it ended, so that the device is pushed once more."""
        self.pushed = self.started = self.failed = self.done = None
        self.trial, self.reason, self.brief = False, "", ""

    def see(self, sighting: Sighting | None, version_number: int, now: float) -> None:
        """The device is listed like this now; None: it is not listed."""
        self.listed = sighting is not None
        if sighting is None:
            self.online = self.updating = False
        else:
            self.online, self.updating = sighting.online, sighting.updating
            self.running = self.running if sighting.running is None else sighting.running
            self.raw = sighting.reason.raw if sighting.reason else self.raw
            self._judge(sighting.reason, version_number, now)
        self.held_up = None if self.ready else now if self.held_up is None else self.held_up

    def _judge(self, said: Outcome | None, version_number: int, now: float) -> None:
        news = said if self._is_answer(said, version_number) else None
        if self.pushed is not None and self.started is None:
            installing = said is not None and said.text == outcome.INSTALLING and said.raw != self.before
            if news or installing or self.updating or self.running == version_number:
                self.started = now
        if news and news.failed:
            self._fail(now, news.reason, news.brief)
        elif self.running == version_number or (self.done is not None and (self.running or 0) > version_number):
            self.trial = news is not None and news.kind is Kind.RESTARTED
            self.done = None if self.trial else now if self.done is None else self.done
            self.failed, self.reason, self.brief = None, "", ""
        elif self.trial or self.done is not None:
            # it ran the new version and does not any more, without a word
            self._fail(now, f"rolled back: runs {self.running} again", "")

    def _is_answer(self, said: Outcome | None, version_number: int) -> bool:
        return self.pushed is not None and outcome.is_news(said, self.before, version_number, self.pushed)

    def _fail(self, now: float, reason: str, brief: str) -> None:
        self.failed = now if self.failed is None or self.reason != reason else self.failed
        self.reason, self.brief, self.done, self.trial = reason, brief, None, False


@dataclass(frozen=True)
class Control:
    """What is decided for good, or by people. opened: when each wave began; aborted: why, empty when it was not."""

    opened: tuple[float, ...] = ()
    paused: bool = False
    aborted: str = ""


@dataclass(frozen=True)
class Standing:
    """Where one device stands. since: when it came to that, if it is known; until: when it changes by itself."""

    state: State
    reason: str = ""
    since: float | None = None
    until: float | None = None


@dataclass(frozen=True)
class Decision:
    """What follows now.

    push: devices to push at once, in this order. control: to be kept, and given to the next call. until: the time at which the
    decision changes although nothing is heard; None when there is no such time. watched: whether devices are still in flight.
    waves: for each wave, its devices by state. reasons: failed and silent devices by reason.
    """

    verdict: Verdict
    control: Control
    push: tuple[str, ...]
    until: float | None
    watched: bool
    standings: Mapping[str, Standing]
    waves: tuple[Mapping[State, int], ...]
    reasons: Mapping[str, int]
    totals: Mapping[State, int] = field(default_factory=dict)


def decide(plan: Plan, devices: Mapping[str, Device], control: Control, now: float) -> Decision:
    """What to do now. devices: every device of the plan by its id; one that is missing was never seen."""
    view = _View(plan, devices, now)
    control = view.open_waves(control)
    standings = view.standings
    totals = sum(view.counts, Counter[State]())
    aborted = control.aborted or view.abort(len(control.opened))
    control = replace(control, aborted=aborted)
    pushes = () if aborted or control.paused else view.pushes(len(control.opened), totals)
    return Decision(
        _verdict(control, totals, view.soaking_until),
        control,
        pushes,
        view.until(),
        any(totals[state] for state in IN_FLIGHT),
        standings,
        tuple(view.counts),
        Counter(one.reason for one in standings.values() if one.state in (State.FAILED, State.SILENT)),
        totals,
    )


def standing(device: Device, rules: Rules, version_number: int, opened: float | None, now: float) -> Standing:
    """Where a device stands; opened: when its wave began, None when it did not."""
    if device.failed is not None:
        return Standing(State.FAILED, device.reason, device.failed)
    if device.done is not None:
        return Standing(State.DONE, "", device.done)
    if device.pushed is not None:
        return _in_flight(device, rules, device.pushed, now)
    if (device.running or 0) > version_number:
        return Standing(State.NEWER, f"runs {device.running}")
    if opened is None or device.ready:
        return _WAITING
    since = max(opened, device.held_up or opened)
    end = since + rules.offline_limit
    word = "is updating" if device.updating else "is offline" if device.listed else "is not in the device list"
    if now >= end:
        return Standing(State.UNREACHABLE, word, end)
    return Standing(State.BUSY if device.updating else State.OFFLINE, word, since, end)


_WAITING = Standing(State.WAITING)


def _in_flight(device: Device, rules: Rules, pushed: float, now: float) -> Standing:
    begin, end = pushed + rules.start_limit, pushed + rules.finish_limit
    late = device.started is None or device.started > begin
    if late and now >= min(begin, end):
        return Standing(State.SILENT, "silent: did not begin to update in time", min(begin, end))
    if now >= end:
        return Standing(State.SILENT, "silent: did not end the update in time", end)
    if device.trial:
        return Standing(State.TRIAL, "", device.started, end)
    if device.started is not None:
        return Standing(State.UPDATING, "", device.started, end)
    return Standing(State.PUSHED, "", pushed, min(begin, end))


def _verdict(control: Control, totals: Mapping[State, int], soaking_until: float | None) -> Verdict:
    if control.aborted:
        return Verdict.ABORTED
    if not any(totals[state] for state in (*IN_FLIGHT, *HELD_UP, State.WAITING)) and soaking_until is None:
        return Verdict.FINISHED
    if control.paused:
        return Verdict.PAUSED
    return Verdict.RUNNING if soaking_until is None else Verdict.SOAKING


class _View:
    """A plan's devices at one moment."""

    def __init__(self, plan: Plan, devices: Mapping[str, Device], now: float):
        self.plan, self.devices, self.now = plan, devices, now
        self.standings: dict[str, Standing] = {}
        self.counts: list[Counter[State]] = []
        self.soaking_until: float | None = None
        self._fell_short = ""

    def open_waves(self, control: Control) -> Control:
        """Look at every wave, and begin those whose turn it is."""
        opened, turn = list(control.opened), not (control.paused or control.aborted)
        for number, wave in enumerate(self.plan.waves):
            if number == len(opened) and turn:
                opened.append(self.now)
            self._look(wave, opened[number] if number < len(opened) else None)
            if number == len(opened) - 1:
                turn = self._passed(number, wave, opened[number]) and turn
        return replace(control, opened=tuple(opened))

    def _look(self, wave: Wave, opened: float | None) -> None:
        counts: Counter[State] = Counter()
        version_number, now = self.plan.image.version_number, self.now
        for target in wave.devices:
            found = standing(self.devices.get(target.device_id, _UNSEEN), wave.rules, version_number, opened, now)
            self.standings[target.device_id] = found
            counts[found.state] += 1
        self.counts.append(counts)

    def _passed(self, number: int, wave: Wave, opened: float) -> bool:
        """Whether the wave has ended well, and was watched long enough."""
        counts = self.counts[number]
        if counts[State.WAITING] or any(counts[state] for state in IN_FLIGHT):
            return False
        held_up = any(counts[state] for state in HELD_UP)
        wanted = wave.rules.min_success * (len(wave.devices) - counts[State.NEWER])
        last = number == len(self.plan.waves) - 1
        if counts[State.DONE] < wanted - 1e-9 and not last:
            if not held_up:
                self._fell_short = (
                    f"{wave.name}: {counts[State.DONE]} of {len(wave.devices)} devices run the new version, and "
                    f"{wave.rules.min_success:.4g} of them must before the next wave"
                )
            return False
        standings = (self.standings[target.device_id] for target in wave.devices)
        ends = [one.since or opened for one in standings if one.state in REPORTED]
        end = max([opened, *ends]) + wave.rules.soak
        if self.now < end and not (last and held_up):
            self.soaking_until = end
        return self.now >= end

    def abort(self, opened: int) -> str:
        """Why the rollout must end now, or an empty text."""
        for wave, counts in zip(self.plan.waves[:opened], self.counts):
            reason = _named_reason(wave, self.devices, self.standings) or self._share(wave, counts)
            if reason:
                return reason
        return self._fell_short

    def _share(self, wave: Wave, counts: Mapping[State, int]) -> str:
        bad = counts[State.FAILED] + counts[State.SILENT]
        if not bad:
            return ""
        # who had the version before anybody pushed it says nothing about the image
        reported = bad + sum(
            1
            for target in wave.devices
            if self.standings[target.device_id].state is State.DONE
            and self.devices[target.device_id].pushed is not None
        )
        if reported < wave.rules.abort_minimum or bad <= wave.rules.abort_share * reported + 1e-9:
            return ""
        return f"{wave.name}: {bad} of {reported} devices failed or fell silent, more than {wave.rules.abort_share:.4g}"

    def pushes(self, opened: int, totals: Mapping[State, int]) -> tuple[str, ...]:
        """The devices that get a slot now, wave by wave."""
        taken, chosen = sum(totals[state] for state in IN_FLIGHT), list[str]()
        for wave, counts in zip(self.plan.waves[:opened], self.counts):
            free = wave.rules.in_flight - taken - len(chosen)
            if counts[State.WAITING] and free > 0:
                waiting = (one.device_id for one in wave.devices if self.standings[one.device_id] is _WAITING)
                chosen += [device_id for device_id, _ in zip(waiting, range(free))]
        return tuple(chosen)

    def until(self) -> float | None:
        """When something changes by itself."""
        times = [one.until for one in self.standings.values() if one.until is not None]
        if self.soaking_until is not None:
            times.append(self.soaking_until)
        return min(times, default=None)


_UNSEEN = Device()


def _named_reason(wave: Wave, devices: Mapping[str, Device], standings: Mapping[str, Standing]) -> str:
    """The first failure whose reason the plan names, in words; empty when there is none."""
    if not wave.rules.abort_on:
        return ""
    for target in wave.devices:
        found = standings[target.device_id]
        if found.state in (State.FAILED, State.SILENT):
            brief = devices[target.device_id].brief
            if any(outcome.fits(pattern, (found.reason, brief)) for pattern in wave.rules.abort_on):
                return f"{wave.name}: device {target.device_id}: {found.reason}"
    return ""


def failed_devices(standings: Mapping[str, Standing]) -> Sequence[str]:
    """The devices that a retry would push again."""
    return [device for device, one in standings.items() if one.state in (State.FAILED, State.SILENT)]
