# SPDX-License-Identifier: MIT
"""How a rollout is shown while it goes on: a live table on a terminal, lines elsewhere, events as JSON lines, and the page."""

from __future__ import annotations

import contextlib
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Callable

from .. import text
from ..plan import Plan, duration_text
from ..rollout import ledger, story
from ..rollout.acting import Watcher
from ..rollout.decision import HELD_UP, IN_FLIGHT, REPORTED, Decision, State
from .output import Output

_EVERY = 30.0  # seconds between two lines about the progress
_RATE_OVER = 600.0  # seconds over which the rate is measured

Say = Callable[[str], None]

COLUMNS = ("wave", "devices", "waiting", "held up", "pushed", "updating", "done", "failed", "silent", "other")


def row(name: str, counts: Mapping[State, int]) -> tuple[str, ...]:
    """One line of the table of waves."""

    def number(*states: State) -> int:
        return sum(counts.get(state, 0) for state in states)

    numbers = (
        sum(counts.values()),
        number(State.WAITING),
        number(*HELD_UP),
        number(State.PUSHED),
        number(State.UPDATING, State.TRIAL),
        number(State.DONE),
        number(State.FAILED),
        number(State.SILENT),
        number(State.UNREACHABLE, State.NEWER),
    )
    return (name, *(str(one) if one else "-" for one in numbers))


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
        line = ", ".join(f"{number} {word}" for word, number in story.by_word(decision.totals).items())
        if now < self._next or line == self._last:
            return
        self._next, self._last = now + self._every, line
        self._say(f"{decision.verdict.value}: {line}" + (f"; {self._pulse.words}" if self._pulse.words else ""))


class JsonLines:
    """Prints each entry of the journal as one line of JSON."""

    def noted(self, event: str, now: float, facts: Mapping[str, Any]) -> None:
        print(text.to_json({"time": ledger.stamp(now), "event": event, **facts}), flush=True)

    def decided(self, decision: Decision, now: float) -> None:
        """Nothing: what is decided is noted."""


class LiveTable:
    """A table on the terminal that is drawn anew, with the last problems below it."""

    def __init__(self, plan: Plan, update: Callable[[Any], None]):
        self._plan, self._update, self._pulse = plan, update, Pulse()
        self._said: deque[str] = deque(maxlen=6)
        self._lines = Lines(plan, self._said.append, lambda line: None)

    def noted(self, event: str, now: float, facts: Mapping[str, Any]) -> None:
        self._lines.noted(event, now, facts)

    def decided(self, decision: Decision, now: float) -> None:
        from rich import box
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        self._pulse.add(now, decision.totals)
        image = self._plan.image
        shown = Table(
            box=box.SIMPLE, title=Text(text.visible(f"{image.name} {image.version} ({image.version_number})"))
        )
        for number, column in enumerate(COLUMNS):
            shown.add_column(column, justify="right" if number else "left")
        for wave, counts in zip(self._plan.waves, decision.waves):
            shown.add_row(*(Text(text.visible(cell)) for cell in row(wave.name, counts)))
        if len(self._plan.waves) > 1:
            shown.add_section()
            shown.add_row(*row("all", decision.totals))
        state = f"{decision.verdict.value}{': ' if decision.control.aborted else ''}{decision.control.aborted}"
        last = [state + (f"; {self._pulse.words}" if self._pulse.words else ""), *self._said]
        self._update(Group(shown, *(Text(text.visible(line), overflow="ellipsis", no_wrap=True) for line in last)))


@contextlib.contextmanager
def shown(plan: Plan, output: Output) -> Iterator[Sequence[Watcher]]:
    """Who shows the rollout as it goes on, for the kind of output that is asked for."""
    if output.as_json:
        yield [JsonLines()]
    elif output.quiet or not sys.stderr.isatty():
        yield [Lines(plan, output.say, output.detail)]
    else:
        try:
            from rich.console import Console
            from rich.live import Live
        except ImportError:
            yield [Lines(plan, output.say, output.detail)]
            return
        with Live(console=Console(stderr=True), refresh_per_second=4, transient=True) as live:
            yield [LiveTable(plan, live.update)]
