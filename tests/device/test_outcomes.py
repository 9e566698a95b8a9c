# SPDX-License-Identifier: MIT
"""What the device tells the cloud about an update (attribute 65019), and that power cuts cannot take a confirmed system away."""

from __future__ import annotations

import tamper
from afero_ota import outcome
from afero_ota.outcome import Kind
from bench import Bench
from rehearsal.board import disk
from rehearsal.board.device import Device


def told(device: Device) -> str:
    """The text that attrd would send."""
    return (device.read_file("/afero_nv/reboot_reason") or b"").decode()


def test_refused_then_interrupted_then_ok(bench: Bench, device: Device) -> None:
    good = bench.release(2)
    damaged = bench.tampered("flipped", lambda path: tamper.flipped_bit(good.image, path), "9")
    assert device.update(damaged)[0] == 5
    found = outcome.parse(told(device))
    assert found and (found.kind, found.code, found.detail) == (Kind.REFUSED, 5, "not a valid image")

    device.deliver(good.image, good.header)
    device.start_sysupgrade()
    device.expect(r"sysupgrade: .*unpacking")
    device.cut()
    device.power_on()
    assert device.wait_until_up() == "A"
    assert told(device) == outcome.line(Kind.FAILED, int(good.version_number), 20, "interrupted")

    assert device.update(good)[0] is None
    assert device.wait_until_up() == "B"
    assert told(device) == outcome.line(Kind.OK, int(good.version_number))
    assert "afero_ota.trial=1" in device.command("cat /proc/cmdline")
    lines = (device.read_file("/data/afero-ota/history") or b"").decode().splitlines()
    assert [line.split()[3].strip(",") for line in lines] == ["refused", "failed", "restarted", "ok"]


def test_a_failed_health_check_is_told_by_the_old_system(bench: Bench, device: Device) -> None:
    bad = bench.release(5)
    assert device.update(bad)[0] is None
    device.expect(r"afero-ota: starting slot A", 300)
    assert device.wait_until_up() == "A"
    assert told(device) == outcome.line(Kind.ROLLED_BACK, int(bad.version_number), detail="health process-hubby")
    log = device.command("cat /data/afero-ota/failed-boot.log")
    assert "slot B: health process-hubby" in log and "afero-ota-confirm: health check process-hubby failed" in log


def test_many_short_starts_do_not_take_a_confirmed_system_away(bench: Bench, device: Device) -> None:
    release = bench.release(2)
    assert device.update(release)[0] is None
    assert device.wait_until_up() == "B"
    before = disk.environment(device.disk)
    for _ in range(5):
        device.cut()
        device.power_on()
        device.expect(r"afero-ota: starting slot B")
        device.expect(r"Starting kernel")
    device.cut()
    device.power_on()
    assert device.wait_until_up() == "B"
    device.check("B", release)
    assert disk.environment(device.disk) == before
