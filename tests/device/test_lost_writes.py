# SPDX-License-Identifier: MIT
"""A disk that says it has written what it has not: nothing that was not flushed may be relied upon.

The emulated SD card knows no flush, so an update is recorded on a virtio disk under the same names, with QEMU's log of every
write and flush; then the power is cut in the log, what was not flushed is lost in part, and the rest starts with U-Boot again.
"""

from __future__ import annotations

import random
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

import replay
from reference_update import Rehearsal
from rehearsal.board import disk
from rehearsal.board.bench import Bench, Device

pytestmark = pytest.mark.long
REPLAYS = 20


@dataclass
class Recording:
    """A disk as it was, and everything that was written to it since."""

    start: Path
    log: list[replay.Write]
    flushes: int


def record(bench: Bench, name: str, start: Path, slot: str) -> tuple[Device, Path, Path]:
    """A device whose disk is logged. It is started without U-Boot, which would use the card."""
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
    """From the first check of an image to the reboot into it."""
    device, original, log = record(bench, "record-update", bench.factory(), "A")
    release = bench.release(2)
    with device:
        # no try was counted, so there is nothing to confirm
        device.expect(r"BENCH READY slot=A")
        device.deliver(release.image, release.header)
        device.start_sysupgrade()
        device.expect(r"DONE: the next start", 300)
        device.wait_for_end()
    return finished(original, log)


@pytest.fixture(scope="module")
def confirmation(bench: Bench, rehearsal: Rehearsal) -> Recording:
    """The first start of the new system, up to and with its confirmation."""
    device, original, log = record(bench, "record-confirmation", rehearsal.pending, "B")
    with device:
        assert device.wait_until_up() == "B"
        device.command("sync; reboot")
        device.wait_for_end()
    return finished(original, log)


def finished(original: Path, log: Path) -> Recording:
    writes = list(replay.read_log(log))
    flushes = sum(write.flush for write in writes)
    assert flushes > 5, f"the log of {len(writes)} writes has {flushes} flushes: nothing can be said from it"
    return Recording(original, writes, flushes)


@pytest.mark.parametrize("number", range(REPLAYS))
def test_an_update_survives_the_loss_of_what_was_not_flushed(bench, update, number, seed, figures):
    # every other cut near the end: the slot is completed, then the switch is made by the very last write
    random_ = random.Random(f"{seed} update {number}")
    first = (1, len(update.log) * 9 // 10, 1, len(update.log) - 2)[number % 4]
    figures.append(replayed(bench, update, f"update {number}", random_.randrange(first, len(update.log) + 1), random_))


@pytest.mark.parametrize("number", range(REPLAYS // 4))
def test_a_confirmation_survives_the_loss_of_what_was_not_flushed(bench, confirmation, number, seed, figures):
    random_ = random.Random(f"{seed} confirmation {number}")
    end = random_.randrange(1, len(confirmation.log) + 1)
    figures.append(replayed(bench, confirmation, f"confirmation {number}", end, random_))


def replayed(bench: Bench, recording: Recording, name: str, end: int, random_: random.Random) -> str:
    """Cut after `end` entries, lose writes, start the device, check it; a line for the table."""
    kept = replay.lose(recording.log, end, random_)
    device = bench.device(f"replay-{name.replace(' ', '-')}", start=recording.start)
    replay.apply(kept, device.disk)
    old, new = bench.release(1), bench.release(2)
    with device:
        slot = device.wait_until_up()
        device.check(slot, old if slot == "A" else new, factory=slot == "A")
        assert device.reported_version() == (old if slot == "A" else new).version_number
    device.scrap()
    return f"lost writes, {name}: cut after {end} of {len(recording.log)}, {len(kept)} kept -> slot {slot}, complete"
