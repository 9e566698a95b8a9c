# SPDX-License-Identifier: MIT
"""One undisturbed update, measured: what it costs, and when each of its steps begins (power cuts are placed by that)."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from bench import Bench
from rehearsal.board.costs import Installation

# each step in order, and the output with which it begins
STEPS = (
    ("checking", r"sysupgrade: \[\d+ s\] checking"),
    ("slot off", r"sysupgrade: \[\d+ s\] slot B goes out of use"),
    ("formatting", r"sysupgrade: \[\d+ s\] formatting"),
    ("unpacking", r"sysupgrade: \[\d+ s\] unpacking"),
    ("flushing", r"sysupgrade: \[\d+ s\] flushing"),
    ("verifying", r"sysupgrade: \[\d+ s\] verifying"),
    ("completing", r"sysupgrade: \[\d+ s\] completing"),
    ("switching", r"sysupgrade: \[\d+ s\] switching"),
    ("restarting", r"sysupgrade: \[\d+ s\] DONE"),
    ("U-Boot", r"\nU-Boot 20\d\d"),
    ("choosing", r"afero-ota: order"),
    ("loading", r"afero-ota: starting slot B"),
    ("kernel", r"Starting kernel"),
    ("confirming", r"BENCH INIT"),
    ("running", r"BENCH READY"),
)


@dataclass
class Rehearsal:
    """What was measured."""

    pending: Path
    """The disk after the switch and before the new system's first start."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Duration of each step but the last."""
    figures: list[str] = field(default_factory=list)


def rehearse(bench: Bench) -> Rehearsal:
    """Update a device from release 1, the factory's, to release 2."""
    release = bench.release(2)
    device = bench.device("rehearsal")
    result = Rehearsal(bench.folder / "pending.img")
    with device:
        assert device.wait_until_up() == "A"
        boot = device.time_of(r"BENCH READY")[0]
        u_boot = device.time_of(r"Starting kernel")[0]
        device.deliver(release.image, release.header)
        start = len(device.output)
        installation = Installation(device)
        found = device.expect(r"sysupgrade: ((?:FAILED|REFUSED).*)|DONE: the next start", 300)
        assert not found.group(1), found.group(1)
        device.expect(r"\nU-Boot 20\d\d")
        # the new system has not started yet
        shutil.copy(device.disk, result.pending)
        device.wait_until_up()
        device.check("B", release)
        moments = []
        for _, pattern in STEPS:
            moment, start = device.time_of(pattern, start)
            moments.append(moment)
        names = [name for name, _ in STEPS]
        result.seconds = {name: after - before for name, before, after in zip(names, moments, moments[1:])}
        at = dict(zip(names, moments))
        costs = installation.costs(release, inactive="A")
    device.scrap()
    install, restart = at["U-Boot"] - at["checking"], at["running"] - at["U-Boot"]
    steps = ", ".join(f"{name} {result.seconds[name]:.1f}" for name, _ in STEPS[:9])
    result.figures = [
        f"boot: U-Boot {u_boot:.1f} s, power on to confirmed {boot:.1f} s; after the update {restart:.1f} s",
        f"install: {install:.1f} s ({steps})",
        *costs.lines(),
    ]
    return result
