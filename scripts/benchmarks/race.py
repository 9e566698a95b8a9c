# SPDX-License-Identifier: MIT
"""What is compared, and how: every contestant runs once per round, in turn, so that what else the machine does hits all alike."""

from __future__ import annotations

import shutil
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable

SCRIPTS = Path(__file__).resolve().parents[1]
OURS = str(SCRIPTS / "afero-ota")


class CannotRunError(Exception):
    """A part or a contestant that cannot run here; the text says why."""


@dataclass(frozen=True)
class Sample:
    """One run. value: in the part's unit. memory: peak of the largest process, in bytes; 0 where it was not measured."""

    value: float
    memory: int = 0


@dataclass(frozen=True)
class Contestant:
    """run: one run in the given round (from 0), with whatever must be prepared for it outside the time."""

    name: str
    run: Callable[[int], Sample]


@dataclass
class Row:
    """All runs of one contestant; missing: why it could not run."""

    name: str
    samples: list[Sample] = field(default_factory=list)
    missing: str = ""

    @property
    def values(self) -> list[float]:
        return [sample.value for sample in self.samples]

    @property
    def memory(self) -> int:
        return max((sample.memory for sample in self.samples), default=0)


@dataclass
class Table:
    """One comparison. base: the contestant that ratios refer to. target: what this project wants to reach, and whether it did."""

    name: str
    title: str
    base: str
    unit: str = "s"
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    target: str = ""
    met: bool | None = None

    def row(self, name: str) -> Row:
        """The row of that name, an empty one when there is none."""
        return next((row for row in self.rows if row.name == name), Row(name))

    def ratios(self, row: Row) -> list[float]:
        """What the row took in terms of the base, round by round."""
        return [mine / other for mine, other in zip(row.values, self.row(self.base).values) if other]

    def aim(self, text: str, name: str, limit: float, relative: bool = False) -> None:
        """Note a target: the median of a row, or of its ratios, is at most `limit`."""
        values = self.ratios(self.row(name)) if relative else self.row(name).values
        self.target, self.met = text, statistics.median(values) <= limit if values else None


@dataclass(frozen=True)
class Bench:
    """What a run is given. folder: for large files, empty. size: bytes of the large image."""

    folder: Path
    rounds: int = 3
    size: int = 1 << 30
    devices: tuple[int, ...] = (1_000,)
    records: int = 1_000

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def new_folder(self, name: str) -> Path:
        """A folder of a part's own, empty."""
        path = self.folder / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        return path

    def race(self, table: Table, contestants: Sequence[Contestant]) -> Table:
        """Run all contestants in every round, each round beginning with another one."""
        rows = {contestant.name: Row(contestant.name) for contestant in contestants}
        for number in range(self.rounds):
            first = number % len(contestants)
            for contestant in [*contestants[first:], *contestants[:first]]:
                row = rows[contestant.name]
                if row.missing:
                    continue
                try:
                    row.samples.append(contestant.run(number))
                    self.say(f"  {table.name}, round {number + 1}: {row.name} {row.values[-1]:.3g} {table.unit}")
                except CannotRunError as reason:
                    row.missing = str(reason)
                    self.say(f"  {table.name}: {row.name} cannot run: {reason}")
        table.rows += rows.values()
        return table


def spread(values: Sequence[float]) -> dict[str, float]:
    """Minimum, median and maximum."""
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def as_data(table: Table) -> dict[str, Any]:
    """A table as JSON has it."""
    rows = []
    for row in table.rows:
        entry: dict[str, Any] = {"name": row.name, "values": row.values, "memory": row.memory}
        if row.missing:
            entry["missing"] = row.missing
        if row.values:
            entry |= spread(row.values)
        if ratios := table.ratios(row):
            entry["ratio"] = spread(ratios)
        rows.append(entry)
    return {
        "name": table.name,
        "title": table.title,
        "unit": table.unit,
        "base": table.base,
        "rows": rows,
        "notes": table.notes,
        "target": table.target,
        "met": table.met,
    }
