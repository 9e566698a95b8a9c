# SPDX-License-Identifier: MIT
"""Power cuts with a disk that loses writes which it has accepted but not yet flushed.

The emulated SD card has no flush command. So an update is recorded on a virtio disk with the same device names, while QEMU logs
every write and flush. Each test cuts that log at some entry, drops some of the unflushed writes, and starts the device, through
U-Boot, from what is left.
"""

from __future__ import annotations

import random
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

import replay
from bench import Bench
from reference_update import Rehearsal
from rehearsal.board import disk
from rehearsal.board.device import Device

pytestmark = pytest.mark.long
REPLAYS = 20


@dataclass
class Recording:
    """A disk at the beginning, and everything that was written to it afterwards."""

    start: Path
    log: list[replay.Write]
    flushes: int


def logged_device(bench: Bench, name: str, start: Path, slot: str) -> tuple[Device, Path, Path]:
    """A device, a copy of its disk, and the log of writes. It starts without U-Boot, which would use the SD card."""
    device = bench.device(name, start=start)
    original = disk.copy_sparse(device.disk, device.disk.with_suffix(".start"))
    log = device.disk.with_suffix(".writes")
    log.touch()
    number = disk.SLOTS[slot]
    offset = disk.partitions(device.disk)[number - 1][0]
    files = {}
    for inside in ("zImage", "initrd.gz"):
        files[inside] = device.disk.with_suffix(f".{inside}")
        command = ["debugfs", "-R", f'dump /boot/{inside} "{files[inside]}"', f"{device.disk}?offset={offset}"]
        subprocess.run(command, check=True, capture_output=True)
    device.card = False
    device.arguments = ["-no-reboot", "-kernel", str(files["zImage"]), "-initrd", str(files["initrd.gz"])]
    device.arguments += [
        "-append",
        f"console=ttyAMA0 quiet panic=2 root=/dev/mmcblk0p{number} rauc.slot={slot}",
        "-blockdev",
        f"driver=file,node-name=raw,filename={device.disk}",
        "-blockdev",
        f"driver=file,node-name=log,filename={log}",
        "-blockdev",
        "driver=blklogwrites,node-name=logged,file=raw,log=log,log-sector-size=512",
        "-device",
        "virtio-blk-device,drive=logged",
    ]
    return device, original, log


@pytest.fixture(scope="module")
def update(bench: Bench) -> Recording:
    """An update from its first check to the reboot."""
    device, original, log = logged_device(bench, "record-update", bench.factory(), "A")
    release = bench.release(2)
    with device:
        # U-Boot has not counted a try, so there is nothing to confirm
        device.expect(r"BENCH READY slot=A")
        device.deliver(release.image, release.header)
        device.start_sysupgrade()
        device.expect(r"DONE: the next start", 300)
        device.wait_for_end()
    return finished(original, log)


@pytest.fixture(scope="module")
def confirmation(bench: Bench, rehearsal: Rehearsal) -> Recording:
    """The first start of the new system, including its confirmation."""
    device, original, log = logged_device(bench, "record-confirmation", rehearsal.pending, "B")
    with device:
        assert device.wait_until_up() == "B"
        # by its path: the shell's own reboot is busybox's, which systemd does not understand
        device.command("sync; /sbin/reboot")
        device.wait_for_end()
    return finished(original, log)


def finished(original: Path, log: Path) -> Recording:
    writes = list(replay.read_log(log))
    flushes = sum(write.flush for write in writes)
    assert flushes > 5, f"the log of {len(writes)} writes has {flushes} flushes: too few to test anything"
    return Recording(original, writes, flushes)


@pytest.mark.parametrize("number", range(REPLAYS))
def test_an_update_survives_the_loss_of_unflushed_writes(
    bench: Bench, update: Recording, number: int, seed: int, figures: list[str]
) -> None:
    # every second cut is near the end: there the slot is completed, and the very last write switches to it
    random_ = random.Random(f"{seed} update {number}")
    first = (1, len(update.log) * 9 // 10, 1, len(update.log) - 2)[number % 4]
    figures.append(replayed(bench, update, f"update {number}", random_.randrange(first, len(update.log) + 1), random_))


@pytest.mark.parametrize("number", range(REPLAYS // 4))
def test_a_confirmation_survives_the_loss_of_unflushed_writes(
    bench: Bench, confirmation: Recording, number: int, seed: int, figures: list[str]
) -> None:
    random_ = random.Random(f"{seed} confirmation {number}")
    end = random_.randrange(1, len(confirmation.log) + 1)
    figures.append(replayed(bench, confirmation, f"confirmation {number}", end, random_))


def replayed(bench: Bench, recording: Recording, name: str, end: int, random_: random.Random) -> str:
    """Cut after `end` entries, drop writes, start the device and check it. Returns a line for the table."""
    kept = replay.lose(recording.log, end, random_)
    device = bench.device(f"replay-{name.replace(' ', '-')}", start=recording.start)
    replay.apply(kept, device.disk)
    old, new = bench.release(1), bench.release(2)
    with device:
        slot = device.wait_until_up()
        device.check(slot, old if slot == "A" else new, factory=slot == "A")
        assert device.reported_version() == (old if slot == "A" else new).version_number
    device.scrap()
    return f"{bench.name}, lost writes, {name}: cut after {end} of {len(recording.log)}, {len(kept)} kept -> slot {slot}, complete"
