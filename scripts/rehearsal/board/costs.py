# SPDX-License-Identifier: MIT
"""What an installation costs, beside what nobody can do without: hashing the image, decompressing it, writing its content to
flash and reading that back, each once and in the same guest.

Writing and reading are measured twice: as so many bytes, the least for any installer, and as the files of the archive, the least for
one that installs files. Times are the emulator's processor time, so that whatever else the host does changes little.
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
# the archive unpacked, and where its files are written
_ARCHIVE, _FILES = "/tmp/costs.tar", "/run/costs"
_SETTINGS = "/usr/lib/afero-ota/settings.sh"  # how sysupgrade makes file systems
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
    """The content written and read as so many bytes."""
    unavoidable_as_files: dict[str, float]
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
        as_files = self.seconds / sum(self.unavoidable_as_files.values())
        return [
            f"image {self.image / 2**20:.1f} MiB, written to flash {self.written / 2**20:.1f} MiB",
            f"installation, in seconds of the emulator: {_listed(self.steps)}",
            f"unavoidable, each once: {_listed(self.unavoidable)}; the installation takes {self.ratio:.2f} times as long",
            f"the same as files: {_listed(self.unavoidable_as_files)}; the installation takes {as_files:.2f} times as long",
            f"peak memory of sysupgrade and its children: {self.memory / 2**20:.1f} MiB, "
            f"{self.memory_with_cache / 2**20:.1f} MiB with the page cache",
        ]


def _listed(times: dict[str, float]) -> str:
    return f"{sum(times.values()):.2f} ({', '.join(f'{name} {seconds:.2f}' for name, seconds in times.items())})"


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
        parts, as_files = _unavoidable(self._guest, release.image, written, disk.SLOTS[inactive])
        return Costs(release.image.stat().st_size, written, steps, parts, as_files, own, peak)


def _emulator_seconds(guest: Guest) -> float:
    """Processor time that the emulator has used so far."""
    assert guest.process
    fields = Path(f"/proc/{guest.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _unavoidable(guest: Guest, image: Path, written: int, number: int) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of each part, as bytes and as files, with the partition of this number to write to.

    The bytes are scaled up when the partition is smaller than `written`.
    """
    with image.open("rb") as stream:
        start = stream.read(8)
    decompress = next((f"{command} <{PREFIX}.img" for magic, command in _DECOMPRESS if start.startswith(magic)), "")
    if start.startswith(_BUNDLE):
        guest.command(f"mkdir -p {_OPENED} && mount -t squashfs -o ro,loop {PREFIX}.img {_OPENED}")
        decompress = f"gzip -dc <{_OPENED}/rootfs.tar.gz"
    partition = f"/dev/mmcblk0p{number}"
    blocks = min(written, disk.partitions(guest.disk)[number - 1][1]) >> 16
    scale = written / (blocks << 16)
    # once, as in the installation: the emulator translates a program when it first runs
    both = {
        "hashing": _seconds(guest, f"sha256sum <{PREFIX}.img >/dev/null"),
        "decompressing": _seconds(guest, f"{decompress} >/dev/null"),
    }
    as_bytes = {
        "writing": _seconds(guest, f"dd if=/dev/zero of={partition} bs=65536 count={blocks} conv=fsync") * scale,
        "reading": _seconds(guest, f"dd if={partition} of=/dev/null bs=65536 count={blocks}") * scale,
    }
    # from memory, so that nothing but writing is measured
    guest.command(f"mkdir -p {_FILES} && {decompress} >{_ARCHIVE}", 300)
    # as small a journal and as few inodes as sysupgrade makes, so that all files have room
    options = '-b 4096 -m 1 -i 16384 -J size=4 -O "$MKFS_FEATURES" $MKFS_OPTIONS'
    mkfs = f". {_SETTINGS}; mkfs.ext4 -q -F {options} {partition}"
    guest.command(f"sh -c '{mkfs}' && mount -o noatime {partition} {_FILES}")
    as_files = {"writing": _seconds(guest, f"tar -xpf {_ARCHIVE} -C {_FILES} && umount {_FILES}")}
    guest.command(f"rm {_ARCHIVE} && mount -o ro {partition} {_FILES}")
    as_files["reading"] = _seconds(guest, f"find {_FILES} -type f -exec cat '{{}}' + >/dev/null")
    guest.command(f"umount {_FILES}")
    return {**both, **as_bytes}, {**both, **as_files}


def _seconds(guest: Guest, command: str) -> float:
    """What a command takes that finds nothing in the caches."""
    guest.command("sync; echo 3 >/proc/sys/vm/drop_caches")
    before = _emulator_seconds(guest)
    guest.command(command, 300)
    return _emulator_seconds(guest) - before


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
