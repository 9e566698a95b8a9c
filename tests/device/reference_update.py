# SPDX-License-Identifier: MIT
"""One undisturbed update, measured: what it costs, and when each of its steps begins (power cuts are placed by that)."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from bench import Bench
from rehearsal.board import disk
from rehearsal.board.device import Device
from rehearsal.board.guest import PREFIX

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
        _watch_memory(device)
        start, written = len(device.output), _bytes_written(device)
        device.send(
            f"cp {PREFIX}.hdr /etc/; sh -c 'echo $$ > /run/memory/update/cgroup.procs; exec /sbin/sysupgrade {PREFIX}.img'"
        )
        found = device.expect(r"sysupgrade: ((?:FAILED|REFUSED).*)|DONE: the next start", 300)
        assert not found.group(1), found.group(1)
        device.expect(r"\nU-Boot 20\d\d")
        written = _bytes_written(device) - written
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
        samples = re.findall(r"BENCH MEMORY (\d+) (\d+)", device.output)
        raw = _raw_write(device, written)
    device.scrap()
    install, restart = at["U-Boot"] - at["checking"], at["running"] - at["U-Boot"]
    peak, own = (max(int(sample[column]) for sample in samples) / 2**20 for column in (0, 1))
    content = sum(path.stat().st_size for path in (release.image,))
    steps = ", ".join(f"{name} {result.seconds[name]:.1f}" for name, _ in STEPS[:9])
    result.figures = [
        f"boot: U-Boot {u_boot:.1f} s, power on to confirmed {boot:.1f} s; after the update {restart:.1f} s",
        f"install: {install:.1f} s for an image of {content / 2**20:.1f} MiB ({steps})",
        f"written to flash: {written / 2**20:.1f} MiB; writing that much without a file system takes {raw:.1f} s: the "
        f"installation takes {install / raw:.1f} times as long",
        f"peak memory of sysupgrade and its children: {own:.1f} MiB, {peak:.1f} MiB with the page cache",
    ]
    return result


def _watch_memory(device: Device) -> None:
    steps = [
        "mkdir -p /run/memory",
        "mount -t cgroup2 none /run/memory",
        "echo +memory > /run/memory/cgroup.subtree_control",
    ]
    steps.append("mkdir /run/memory/update")
    device.command(" && ".join(steps))
    sample = 'echo "BENCH MEMORY $(cat memory.peak) $(sed -n "s/^anon //p" memory.stat)" > /dev/console'
    device.command(f"(cd /run/memory/update; while sleep 1; do {sample}; done) & true")


def _bytes_written(device: Device) -> int:
    """What the emulator has written so far, to its disk and (little) to the console."""
    assert device.process
    found = re.search(r"(?m)^wchar: (\d+)$", Path(f"/proc/{device.process.pid}/io").read_text())
    assert found
    return int(found.group(1))


def _raw_write(device: Device, size: int) -> float:
    """Seconds that writing this many bytes to the inactive slot takes; scaled up when the slot is smaller."""
    blocks = min(size, disk.partitions(device.disk)[disk.SLOTS["A"] - 1][1]) >> 16
    output = device.command(f"time dd if=/dev/zero of=/dev/mmcblk0p2 bs=65536 count={blocks} conv=fsync", 300)
    found = re.search(r"real\s+(?:(\d+)m)?\s*([\d.]+)s", output)
    assert found, output
    return (int(found.group(1) or 0) * 60 + float(found.group(2))) * size / (blocks << 16)
