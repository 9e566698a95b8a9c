# SPDX-License-Identifier: MIT
"""A fleet of simulated devices inside the service: no process each, and the same fleet for the same seed.

What will become of a push is drawn when it arrives, as a list of events with their times; a device's state at any moment
follows from the events that are due, so it does not matter how often anybody looks.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .profile import Profile, Range

_NEVER = float("inf")
_TRIAL = "restarted, not confirmed"


@dataclass
class Member:
    """One device. Times are seconds since 1970; `events` are due in order, each with what it changes."""

    id: str
    device_type: str
    friendly_name: str
    tags: list[str]
    number: int
    available: bool = True
    updating: bool = False
    reported: float = 0.0
    line: str = ""  # /afero_nv/reboot_reason
    line_time: float = 0.0
    returns: float = 0.0  # when it is online (again)
    fate: str = ""
    events: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    pushes: list[dict[str, Any]] = field(default_factory=list)

    def advance(self, now: float) -> None:
        """Let happen what is due."""
        while self.events and self.events[0][0] <= now:
            moment, changes = self.events.pop(0)
            for name, value in changes.items():
                setattr(self, name, value)
            if "line" in changes:
                self.line_time = moment
            if self.available:
                self.reported = moment

    def row(self) -> dict[str, Any]:
        """The same facts under the same names as a row of the store's table of devices."""
        return {
            "id": self.id,
            "device_type": self.device_type,
            "friendly_name": self.friendly_name,
            "number": self.number,
            "updating": self.updating,
            "available": self.available,
            "reported": int(self.reported * 1000),
            "behaviour": "fleet",
            "reason": self.line,
            "reason_time": int(self.line_time * 1000),
            "tags": self.tags,
        }


class Fleet:
    """`size` devices. speed: how many of the profile's seconds pass in one real second."""

    def __init__(self, size: int, seed: int, profile: Profile, device_type: str, speed: float = 1.0):
        self.seed, self.profile, self.speed, self.started = seed, profile, speed, time.time()
        self._members = {member.id: member for member in (self._make(i, device_type) for i in range(size))}
        self.device_types = {member.device_type for member in self._members.values()}

    def __iter__(self) -> Iterator[Member]:
        """All devices as they are now."""
        now = time.time()
        for member in self._members.values():
            member.advance(now)
            yield member

    def get(self, device: str) -> Member | None:
        """One device as it is now."""
        member = self._members.get(device)
        if member:
            member.advance(time.time())
        return member

    def drop(self, device: str) -> bool:
        """Take a device out; False when the fleet has no such one."""
        return self._members.pop(device, None) is not None

    def push(self, member: Member, image: str, number: int, size: int) -> None:
        """A push has arrived; what follows is set from here on."""
        now = time.time()
        member.advance(now)
        member.pushes.append(
            {
                "image": image,
                "versionNumber": str(number),
                "time": int(now * 1000),
                "whileUpdating": member.updating or bool(member.events and member.fate),
                "needless": member.number >= number,
            }
        )
        if member.pushes[-1]["whileUpdating"] or member.pushes[-1]["needless"] or member.returns == _NEVER:
            return
        start = max(now, member.returns)
        story = Story(self, member, start, number, size)
        member.fate = story.fate
        member.events = sorted(member.events + story.events, key=lambda event: event[0])

    def pause(self, draw: random.Random, limits: Range) -> float:
        """Real seconds for a range of the profile."""
        return draw.uniform(*limits) / self.speed

    def _make(self, index: int, device_type: str) -> Member:
        draw, profile = random.Random(f"{self.seed}:{index}"), self.profile
        name = hashlib.sha256(f"{self.seed}:{index}".encode()).hexdigest()
        number = int(draw.choices(list(profile.running), list(profile.running.values()))[0])
        tags = [tag for tag, share in profile.tags.items() if draw.random() < share]
        foreign = draw.random() < profile.other_type
        friendly_name = f"{draw.choice(profile.sites)} {index + 1:05}"
        kind = "another-device-type" if foreign else device_type
        member = Member(name[:16], kind, friendly_name, tags, number, reported=self.started, line_time=self.started)
        if draw.random() < profile.offline:
            back = draw.random() < profile.offline_returns
            member.available, pause = False, self.pause(draw, profile.offline_seconds)
            member.returns = self.started + pause if back else _NEVER
            if back:
                member.events = [(member.returns, {"available": True})]
        elif draw.random() < profile.updating:
            member.updating = True
            member.events = [(self.started + self.pause(draw, profile.updating_seconds), {"updating": False})]
        return member


class Story:
    """What becomes of one push: `fate` in a word or two, and the events that lead there."""

    def __init__(self, fleet: Fleet, member: Member, start: float, number: int, size: int):
        self._fleet, self._member, self._number, self._moment = fleet, member, number, start
        self._draw = random.Random(f"{fleet.seed}:{member.id}:{number}:{len(member.pushes)}")
        self.events: list[tuple[float, dict[str, Any]]] = []
        self.fate = self._choose()
        self._wait(fleet.profile.start_seconds)
        self._tell(size)

    def _choose(self) -> str:
        profile = self._fleet.profile
        # what a device refuses once, it refuses again
        fixed = random.Random(f"{self._fleet.seed}:{self._member.id}:{self._number}")
        shares: dict[str, float] = {f"refused {reason}": share for reason, share in profile.refused.items()}
        refusal = _pick(fixed.random(), shares)
        if refusal:
            return refusal
        shares = {"silent": profile.silent, "interrupted": profile.interrupted}
        shares |= {f"failed {reason}": share for reason, share in profile.failed.items()}
        shares |= {f"rolled back, {reason}": share for reason, share in profile.rolled_back.items()}
        return _pick(self._draw.random(), shares) or "ok"

    def _tell(self, size: int) -> None:
        profile, kind = self._fleet.profile, self.fate.split(" ")[0].rstrip(",")
        if kind == "silent":
            return self._then(available=False, returns=_NEVER)
        self._then(updating=True)
        download = size / self._draw.uniform(*profile.download_rate) / self._fleet.speed
        if kind == "interrupted":
            self._moment += download * self._draw.random()
            self._then(available=False)
            self._wait(profile.restart_seconds)
            return self._then(available=True, updating=False, line="reboot")
        self._moment += download
        self._then(line="full_ota")
        self._wait(profile.install_seconds)
        if kind in ("refused", "failed"):
            return self._then(updating=False, line=f"ota {self._number} {self.fate}")
        self._restart(self._number, _TRIAL)
        self._wait(profile.confirm_seconds)
        if kind == "ok":
            return self._then(line=f"ota {self._number} ok")
        self._restart(self._member.number, self.fate)

    def _restart(self, number: int, outcome: str) -> None:
        """The device goes away and comes back with a version and a line."""
        self._then(available=False)
        self._wait(self._fleet.profile.restart_seconds)
        self._then(available=True, updating=False, number=number, line=f"ota {self._number} {outcome}")

    def _wait(self, limits: Range) -> None:
        self._moment += self._fleet.pause(self._draw, limits)

    def _then(self, **changes: Any) -> None:
        self.events.append((self._moment, changes))


def _pick(dice: float, shares: dict[str, float]) -> str:
    """The name whose share the dice fell into; empty when it fell behind all of them."""
    for name, share in shares.items():
        if dice < share:
            return name
        dice -= share
    return ""
