# SPDX-License-Identifier: MIT
"""What an installation costs, beside what nobody can do without: hashing the image, decompressing it, writing the bytes to flash
and reading them back, each once and in the same guest.

Times are the emulator's processor time, so that whatever else the host does changes little.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from . import disk
from .guest import PREFIX, Guest
from .releases import Release

# the programs that decompress; the image's first bytes decide
_DECOMPRESS = ((b"\x1f\x8b", "gzip -dc"), (b"\xfd7zXZ", "xzcat"), (b"\x28\xb5\x2f\xfd", "zstd -dcq"))
# of a bundle: what decompresses the archive in it, which is a tar.gz here
_BUNDLE, _OPENED = b"hsqs", "/run/bundle"
_CGROUP = "/run/memory/update"
_STATISTICS = "/sys/block/mmcblk0/stat"
_SECTORS = "awk '{print $7}'"


@dataclass(frozen=True)
class Costs:
    """One installation. Times in seconds, sizes in bytes."""

    image: int
    written: int
    """To the flash."""
    steps: dict[str, float]
    """From the start of sysupgrade to its last step, the restart."""
    unavoidable: dict[str, float]
    memory: int
    """Most that sysupgrade and its children had, without the page cache."""
    memory_with_cache: int

    @property
    def seconds(self) -> float:
        """The installation's."""
        return sum(self.steps.values())

    @property
    def ratio(self) -> float:
        """How many times as long as the unavoidable the installation takes."""
        return self.seconds / sum(self.unavoidable.values())

    def lines(self) -> list[str]:
        """For people."""
        steps, parts = (
            ", ".join(f"{name} {seconds:.2f}" for name, seconds in times.items())
            for times in (self.steps, self.unavoidable)
        )
        return [
            f"image {self.image / 2**20:.1f} MiB, written to flash {self.written / 2**20:.1f} MiB",
            f"installation, in seconds of the emulator: {self.seconds:.2f} ({steps})",
            f"unavoidable, each once: {sum(self.unavoidable.values()):.2f} ({parts}); "
            f"the installation takes {self.ratio:.2f} times as long",
            f"peak memory of sysupgrade and its children: {self.memory / 2**20:.1f} MiB, "
            f"{self.memory_with_cache / 2**20:.1f} MiB with the page cache",
        ]


class Installation:
    """Starts sysupgrade in a guest that has an update delivered, and measures it until the guest restarts.

    The guest runs on; `costs` is to be called when the new system is up.
    """

    def __init__(self, guest: Guest):
        self._guest = guest
        self._before = int(guest.command(f"{_SECTORS} {_STATISTICS}"))
        _watch(guest)
        self._steps = [("starting", _emulator_seconds(guest))]
        guest.on_line = self._note
        guest.send(
            f"cp {PREFIX}.hdr /etc/; sh -c 'echo $$ > {_CGROUP}/cgroup.procs; exec /sbin/sysupgrade {PREFIX}.img'"
        )

    def _note(self, line: str) -> None:
        found = re.match(r"sysupgrade: \[\d+ s\] (\w+)", line)
        if found:
            self._steps.append((found.group(1), _emulator_seconds(self._guest)))
            if found.group(1) == "DONE":
                self._guest.on_line = None

    def costs(self, release: Release, inactive: str) -> Costs:
        """The figures; the inactive slot is overwritten for them."""
        samples = re.findall(r"BENCH COSTS (\d+) (\d+) (\d+)", self._guest.output)
        peak, own, sectors = (max(int(sample[column]) for sample in samples) for column in range(3))
        written = (sectors - self._before) * 512
        steps: dict[str, float] = {}
        for (name, before), (_, after) in zip(self._steps, self._steps[1:]):
            steps[name] = steps.get(name, 0) + after - before
        self._guest.deliver(release.image, release.header)
        parts = _unavoidable(self._guest, release.image, written, disk.SLOTS[inactive])
        return Costs(release.image.stat().st_size, written, steps, parts, own, peak)


def _emulator_seconds(guest: Guest) -> float:
    """Processor time that the emulator has used so far."""
    assert guest.process
    fields = Path(f"/proc/{guest.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _unavoidable(guest: Guest, image: Path, written: int, number: int) -> dict[str, float]:
    """Seconds of each part, with the partition of this number to write to. Scaled up when it is smaller than `written`."""
    with image.open("rb") as stream:
        start = stream.read(8)
    decompress = next((f"{command} <{PREFIX}.img" for magic, command in _DECOMPRESS if start.startswith(magic)), "")
    if start.startswith(_BUNDLE):
        guest.command(f"mkdir -p {_OPENED} && mount -t squashfs -o ro,loop {PREFIX}.img {_OPENED}")
        decompress = f"gzip -dc <{_OPENED}/rootfs.tar.gz"
    partition = f"/dev/mmcblk0p{number}"
    blocks = min(written, disk.partitions(guest.disk)[number - 1][1]) >> 16
    scale = written / (blocks << 16)
    commands = {
        "hashing": (f"sha256sum <{PREFIX}.img >/dev/null", 1.0),
        "decompressing": (f"{decompress} >/dev/null", 1.0),
        "writing": (f"dd if=/dev/zero of={partition} bs=65536 count={blocks} conv=fsync", scale),
        "reading": (f"dd if={partition} of=/dev/null bs=65536 count={blocks}", scale),
    }
    result = {}
    # once, as in the installation: the emulator translates a program when it first runs
    for name, (command, factor) in commands.items():
        guest.command("sync; echo 3 >/proc/sys/vm/drop_caches")
        before = _emulator_seconds(guest)
        guest.command(command, 300)
        result[name] = (_emulator_seconds(guest) - before) * factor
    return result


def _watch(guest: Guest) -> None:
    """Print memory and sectors written once a second, from now on."""
    steps = [
        "mkdir -p /run/memory",
        "mount -t cgroup2 none /run/memory",
        "echo +memory > /run/memory/cgroup.subtree_control",
        f"mkdir {_CGROUP}",
    ]
    guest.command(" && ".join(steps))
    values = f'$(cat memory.peak) $(sed -n "s/^anon //p" memory.stat) $({_SECTORS} {_STATISTICS})'
    guest.command(f'(cd {_CGROUP}; while sleep 1; do echo "BENCH COSTS {values}" > /dev/console; done) & true')
