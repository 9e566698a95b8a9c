# SPDX-License-Identifier: MIT
"""What the demo prints: each step when it starts and ends, the emulated board's telling lines, and a table of all steps."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table

# the choice of a slot, sysupgrade's steps, the confirmation; everything else, syslog's copies included, is only in the log
_TELLING = re.compile(r"U-Boot \d{4}\.\d\d|afero-ota: |sysupgrade: |afero-ota-confirm: |.*Kernel panic")
_WIDTH = 100


@dataclass
class Step:
    """One row of the table; whoever works on the step fills in what it has found out."""

    name: str
    what: str
    size: int | None = None
    identity: str = ""
    seconds: float = 0.0


class Progress:
    """Prints to standard error, in colours only on a terminal; the table goes to standard output."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)

    @contextlib.contextmanager
    def step(self, name: str, what: str, command: str = "") -> Iterator[Step]:
        """A step of the journey, timed. command: what a user would type for it, printed when the step starts."""
        step, start = Step(name, what), time.monotonic()
        self._console.print(f"> {command or what}", style="bold")
        yield step
        step.seconds = time.monotonic() - start
        self.steps.append(step)
        size = "" if step.size is None else f"{step.size:,} bytes"
        facts = ", ".join(text for text in (size, *step.identity.splitlines()) if text)
        self._console.print(f"{step.seconds:6.1f} s  {facts}".rstrip(), style="green")

    def note(self, who: str, text: str) -> None:
        """A line from one of the parts."""
        self._console.print(f"{who:>8} | {text}", style="cyan")

    def console_line(self, line: str) -> None:
        """A line of the emulated board's console; most are not printed."""
        line = "".join(character for character in line if character.isprintable())
        if _TELLING.match(line):
            self.note("board", line)

    def show(self) -> None:
        """Print the table."""
        table = Table(box=box.SIMPLE_HEAD)
        for name in ("step", "what", "size", "time", "id"):
            table.add_column(name, justify="right" if name in ("size", "time") else "left", overflow="fold")
        for step in self.steps:
            size = "" if step.size is None else f"{step.size:,}"
            table.add_row(step.name, step.what, size, f"{step.seconds:.1f} s", step.identity)
        # a pipe has no width
        Console(width=max(_WIDTH, Console().width), highlight=False).print(table)
