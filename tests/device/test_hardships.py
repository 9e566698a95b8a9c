# SPDX-License-Identifier: MIT
"""Devices with little memory or free space, or with a damaged U-Boot environment."""

from __future__ import annotations

import signal

import pytest

from bench import Bench
from reference_update import Rehearsal
from rehearsal.board import disk
from rehearsal.board.device import Device

pytestmark = pytest.mark.long


def test_an_update_with_a_full_data_partition_succeeds_and_keeps_the_data(bench: Bench, device: Device) -> None:
    release = bench.release(2)
    device.try_command("dd if=/dev/zero of=/data/full bs=65536; sync", 300)
    assert device.command("df /data | tail -n 1").split()[3] == "0"
    status, output = device.update(release)
    assert status is None, output
    assert device.wait_until_up() == "B"
    device.check("B", release)
    assert device.reported_version() == release.version_number


def test_a_rollback_is_remembered_with_a_full_data_partition(bench: Bench, device: Device) -> None:
    old, bad = bench.release(1), bench.release(5)
    device.try_command("dd if=/dev/zero of=/data/full bs=65536; sync", 300)
    device.update(bad)
    device.expect(r"afero-ota: starting slot A", 300)
    assert device.wait_until_up() == "A"
    device.check("A", old, factory=True)
    assert device.update(bad)[0] == 9


@pytest.mark.parametrize("left", [0, 64])
def test_an_update_succeeds_with_hardly_any_free_space_in_tmp(bench: Bench, device: Device, left: int) -> None:
    """left: KiB that are free beside the image."""
    release = bench.release(2)
    device.deliver(release.image, release.header)
    device.try_command("dd if=/dev/zero of=/tmp/full bs=4096", 300)
    if left:
        device.command(f"truncate -s $(($(stat -c %s /tmp/full) - {left << 10})) /tmp/full")
    status, output = device.wait_for_sysupgrade(device.start_sysupgrade())
    assert status is None, output
    assert device.wait_until_up() == "B"
    device.check("B", release)


def test_128_mib_of_memory_are_enough(bench: Bench) -> None:
    release = bench.release(2)
    device = bench.device("128-mb", memory=128)
    with device:
        assert device.wait_until_up() == "A"
        status, output = device.update(release)
        assert status is None, output
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
        # the device can still be updated
        if slot == "A":
            status, output = device.update(new)
            assert status is None, output
            assert device.wait_until_up() == "B"
            device.check("B", new)
    device.scrap()


def test_an_incomplete_slot_is_not_started_even_without_an_environment(bench: Bench, device: Device) -> None:
    old = bench.release(1)
    device.deliver(bench.release(2).image, bench.release(2).header)
    device.start_sysupgrade()
    device.expect(r"verifying")
    device.cut()
    disk.destroy_environment(device.disk, 0, 1)
    device.power_on()
    assert device.wait_until_up() == "A"
    device.check("A", old, factory=True)


def test_an_emulator_that_stalls_after_the_switch_is_power_cycled_into_the_new_system(
    bench: Bench, device: Device
) -> None:
    """The bench does what a hardware watchdog would do."""
    release = bench.release(2)
    device.deliver(release.image, release.header)
    ended = device.start_sysupgrade()
    device.expect(r"sysupgrade: .*DONE: the next start", 300)
    assert device.process
    device.process.send_signal(signal.SIGSTOP)
    assert device.wait_for_sysupgrade(ended, 10)[0] is None
    assert bench.stalls.pop().startswith(device.disk.stem)
    assert device.wait_until_up() == "B"
    device.check("B", release)
