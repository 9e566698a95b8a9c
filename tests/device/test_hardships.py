# SPDX-License-Identifier: MIT
"""A device that is short of memory or room, or whose environment is damaged."""

from __future__ import annotations

import signal

import pytest

from reference_update import Rehearsal
from rehearsal.board import disk
from rehearsal.board.bench import Bench, Device

pytestmark = pytest.mark.long


def test_with_a_full_data_partition_the_update_goes_through_and_the_data_stays(bench: Bench, device: Device) -> None:
    release = bench.release(2)
    device.try_command("dd if=/dev/zero of=/data/full bs=65536; sync", 300)
    assert device.command("df /data | tail -n 1").split()[3] == "0"
    status, said = device.update(release)
    assert status is None, said
    assert device.wait_until_up() == "B"
    device.check("B", release)
    assert device.reported_version() == release.version_number


def test_with_a_full_data_partition_a_rollback_is_remembered_too(bench: Bench, device: Device) -> None:
    old, bad = bench.release(1), bench.release(5)
    device.try_command("dd if=/dev/zero of=/data/full bs=65536; sync", 300)
    device.update(bad)
    device.expect(r"afero-ota: starting slot A", 300)
    assert device.wait_until_up() == "A"
    device.check("A", old, factory=True)
    assert device.update(bad)[0] == 9


@pytest.mark.parametrize("left", [0, 64])
def test_with_hardly_any_room_in_tmp_the_update_goes_through(bench: Bench, device: Device, left: int) -> None:
    """left: KiB that remain beside the image."""
    release = bench.release(2)
    device.deliver(release.image, release.header)
    device.try_command("dd if=/dev/zero of=/tmp/full bs=4096", 300)
    if left:
        device.command(f"truncate -s $(($(stat -c %s /tmp/full) - {left << 10})) /tmp/full")
    status, said = device.end_of(device.start_sysupgrade())
    assert status is None, said
    assert device.wait_until_up() == "B"
    device.check("B", release)


def test_128_mb_of_memory_are_enough(bench: Bench) -> None:
    release = bench.release(2)
    device = bench.device("128-mb", memory=128)
    with device:
        assert device.wait_until_up() == "A"
        status, said = device.update(release)
        assert status is None, said
        assert device.wait_until_up() == "B"
        device.check("B", release)
    device.scrap()


@pytest.mark.parametrize("copies", [(0,), (1,), (0, 1)], ids=["first copy", "second copy", "both copies"])
@pytest.mark.parametrize("moment", ["confirmed", "pending"])
def test_a_destroyed_environment_leaves_a_complete_system(
    bench: Bench, rehearsal: Rehearsal, moment: str, copies: tuple[int, ...]
) -> None:
    device = bench.device(f"environment-{moment}", start=rehearsal.pending if moment == "pending" else None)
    disk.destroy_environment(device.disk, *copies)
    with device:
        slot = device.wait_until_up()
        old, new = bench.release(1), bench.release(2)
        if moment == "confirmed":
            assert slot == "A"
        device.check(slot, old if slot == "A" else new, factory=slot == "A")
        assert device.reported_version() == (old if slot == "A" else new).version_number
        # and the device can still be updated
        if slot == "A":
            status, said = device.update(new)
            assert status is None, said
            assert device.wait_until_up() == "B"
            device.check("B", new)
    device.scrap()


def test_an_unfinished_slot_is_not_started_even_without_an_environment(bench: Bench, device: Device) -> None:
    old = bench.release(1)
    device.deliver(bench.release(2).image, bench.release(2).header)
    device.start_sysupgrade()
    device.expect(r"verifying")
    device.cut()
    disk.destroy_environment(device.disk, 0, 1)
    device.power_on()
    assert device.wait_until_up() == "A"
    device.check("A", old, factory=True)


def test_a_device_that_stands_still_after_the_switch_starts_the_new_system(bench: Bench, device: Device) -> None:
    """The bench does what a hardware watchdog would."""
    release = bench.release(2)
    device.deliver(release.image, release.header)
    ended = device.start_sysupgrade()
    device.expect(r"sysupgrade: .*DONE: the next start", 300)
    assert device.process
    device.process.send_signal(signal.SIGSTOP)
    assert device.end_of(ended, 10)[0] is None
    assert bench.stood_still.pop().startswith(device.disk.stem)
    assert device.wait_until_up() == "B"
    device.check("B", release)
