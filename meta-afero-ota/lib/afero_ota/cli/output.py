# SPDX-License-Identifier: MIT
"""The one way in which commands print: results, tables and JSON, messages, errors, progress."""

from __future__ import annotations

import contextlib
import io
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Callable

from .. import text
from ..errors import OtaError

Progress = Callable[[str, int, int], None]  # what is being done, bytes done, bytes in all


@dataclass(frozen=True)
class Output:
    """Prints as --json, --quiet and --verbose ask for; shows the control characters of what it prints as text."""

    as_json: bool = False
    quiet: bool = False
    verbose: bool = False

    def result(self, data: Any, line: str) -> None:
        """The result of a command: data for --json, else one line for people."""
        self.document(data, text.visible(line))

    def document(self, data: Any, shown: str) -> None:
        """As `result`, for text of several lines."""
        if self.as_json:
            print(text.to_json(data, indent=2))
        elif not self.quiet:
            print(text.visible_lines(shown))

    def rows(self, header: Sequence[str], rows: Sequence[Sequence[object]], data: Any = None) -> None:
        """A table as the result; data: what --json prints, by default one object per row."""
        self.document([dict(zip(header, row)) for row in rows] if data is None else data, table(header, rows))

    def say(self, message: str) -> None:
        """A message on standard error."""
        if not self.quiet:
            print(text.visible(message), file=sys.stderr)

    def detail(self, message: str) -> None:
        """A message on standard error that only --verbose shows."""
        if self.verbose:
            print(text.visible(message), file=sys.stderr)

    def warn(self, warnings: Iterable[str]) -> None:
        for warning in warnings:
            self.say(f"warning: {warning}")

    def problem(self, shown: str) -> None:
        """A message on standard error, of one line or several, that even --quiet does not hide."""
        print(text.visible_lines(shown), file=sys.stderr)

    def error(self, error: OtaError) -> int:
        """Print why the command failed; returns its exit status."""
        if self.as_json:
            status = error.exit_status
            print(text.to_json({"error": type(error).__name__, "message": str(error), "status": status}, indent=2))
        else:
            self.problem(f"afero-ota: {text.message(error)}")
        return error.exit_status

    @contextlib.contextmanager
    def progress(self) -> Iterator[Progress | None]:
        """A bar for each part of the work on a terminal when rich is installed, else a line in place; elsewhere nothing."""
        if self.quiet or self.as_json or not sys.stderr.isatty():
            yield None
            return
        try:
            from rich import console, progress
        except ImportError:
            yield _line
            return
        columns = (progress.BarColumn(), progress.DownloadColumn(), progress.TransferSpeedColumn())
        bars = progress.Progress(
            "{task.description}", *columns, progress.TimeRemainingColumn(), console=console.Console(stderr=True)
        )
        tasks: dict[str, progress.TaskID] = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                bars.start()
                tasks[what] = bars.add_task(what)
            bars.update(tasks[what], completed=done, total=total)

        try:
            yield show
        finally:
            bars.stop()


def tolerate_any_terminal() -> None:
    """Let a terminal that cannot show a character show its number instead of ending the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns as wide as a terminal shows their cells, two spaces apart."""
    lines = [[text.visible(cell) for cell in line] for line in (header, *rows)]
    widths = [max(map(text.width, column)) for column in zip(*lines)]
    return "\n".join("  ".join(map(text.pad, line, widths)).rstrip() for line in lines)


def date(milliseconds: Any) -> str:
    """A time of the service (milliseconds since 1970) as UTC; "" for anything else."""
    if not isinstance(milliseconds, (int, float)):
        return ""
    with contextlib.suppress(OverflowError, OSError, ValueError):
        return time.strftime("%Y-%m-%d %H:%M", time.gmtime(milliseconds / 1000))
    return ""


def _line(what: str, done: int, total: int) -> None:
    print(f"\r{what} {done}/{total} bytes", end="\n" if done >= total else "", file=sys.stderr)
