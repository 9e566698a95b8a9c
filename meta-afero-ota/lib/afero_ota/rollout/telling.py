# SPDX-License-Identifier: MIT
"""What a rollout tells while it goes on, in lines."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, Callable

from ..plan import Plan, duration_text
from . import story
from .decision import IN_FLIGHT, REPORTED, Decision, State

_EVERY = 30.0  # seconds between two lines about the progress
_RATE_OVER = 600.0  # seconds over which the rate is measured

Say = Callable[[str], None]


class Pulse:
    """How fast devices come to their end, and how long the rest will take at that rate."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()
        self._left = 0

    def add(self, now: float, totals: Mapping[State, int]) -> None:
        ended = sum(totals.get(state, 0) for state in REPORTED)
        self._left = sum(totals.get(state, 0) for state in (State.WAITING, *IN_FLIGHT))
        self._seen.append((now, ended))
        while self._seen[0][0] < now - _RATE_OVER:
            self._seen.popleft()

    @property
    def words(self) -> str:
        """The rate and the time that is left, empty while there is nothing to tell."""
        seconds, devices = (self._seen[-1][part] - self._seen[0][part] for part in (0, 1)) if self._seen else (0, 0)
        if seconds <= 0 or devices <= 0:
            return ""
        left = f", about {duration_text(float(int(self._left / devices * seconds)))} left" if self._left else ""
        return f"{devices / seconds * 60:.1f} devices a minute{left}"


class Lines:
    """Tells in lines. say: takes one line; detail: one that only some want to read."""

    def __init__(self, plan: Plan, say: Say, detail: Say, every: float = _EVERY):
        self._plan, self._say, self._detail, self._every = plan, say, detail, every
        self._opened, self._paused, self._next, self._last = 0, False, 0.0, ""
        self._pulse = Pulse()

    def noted(self, event: str, now: float, facts: Mapping[str, Any]) -> None:
        say = self._say
        if event == "control":
            self._control(facts)
        elif event == "device" and facts.get("state") in ("failed", "silent", "unreachable"):
            values = facts.get("set") or {}
            why, state = str(values.get("reason") or facts.get("why") or ""), str(facts["state"])
            # most reasons begin with the state
            say(f"device {facts['device']}: {why if why.startswith(state) else f'{state}: {why}'}")
        elif event == "outage":
            say(f"the cloud cannot be reached, nothing is pushed meanwhile: {facts.get('why')}")
        elif event == "unanswered":
            say(f"device {facts['device']}: the push got no answer; watching whether it begins ({facts.get('why')})")
        elif event == "withdrawn":
            say(f"device {facts['device']}: the push did not arrive ({facts.get('why')})")
        elif event == "push":
            self._detail(f"device {facts['device']}: pushed")

    def _control(self, facts: Mapping[str, Any]) -> None:
        say, by = self._say, f" by {facts['by']}" if facts.get("by") else ""
        for wave in self._plan.waves[self._opened : len(facts["opened"])]:
            say(f"{wave.name} begins: {len(wave.devices)} devices, at most {wave.rules.in_flight} at a time")
        self._opened = len(facts["opened"])
        if facts["paused"] != self._paused:
            self._paused = bool(facts["paused"])
            say(f"paused{by}: nothing is pushed until it is resumed" if self._paused else f"resumed{by}")
        if facts["aborted"]:
            say(f"aborted{by}: {facts['aborted']}; nothing more is pushed")

    def decided(self, decision: Decision, now: float) -> None:
        self._pulse.add(now, decision.totals)
        line = story.in_words(decision.totals)
        if now < self._next or line == self._last:
            return
        self._next, self._last = now + self._every, line
        self._say(f"{decision.verdict.value}: {line}" + (f"; {self._pulse.words}" if self._pulse.words else ""))
