# SPDX-License-Identifier: MIT
"""How a rollout is shown while it goes on: a live table on a terminal, lines elsewhere, events as JSON lines, and the page."""

from __future__ import annotations

import contextlib
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Callable

from .. import text
from ..plan import Plan
from ..rollout import ledger
from ..rollout.acting import Watcher
from ..rollout.decision import HELD_UP, Decision, State
from ..rollout.telling import Lines, Pulse
from .output import Output

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
