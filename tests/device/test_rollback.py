# SPDX-License-Identifier: MIT
"""A faulty new system: the device returns to the old one by itself, reports it, and refuses the same image."""

from __future__ import annotations

import pytest

from afero_ota import outcome
from afero_ota.outcome import Kind
from bench import FAULTS, Bench
from rehearsal.board import disk
from rehearsal.board.device import Device

TRIES = 3
# output at each try of a faulty build, by bench.FAULTS
SIGNS = {
    "health": r"health check process-hubby failed",
    "panic": r"Kernel panic - not syncing: Attempted to kill init",
    "hang": r"BENCH FAULT hang",
    "kernel": r"slot B could not be started",
    "stuck": r"BENCH FAULT stuck",
    "freeze": r"BENCH FAULT freeze",
}
# systemd's guard says that the system was not confirmed in time
SAY_WHY = {"busybox": ("health",), "systemd": ("health", "stuck")}
MARKS = {
    "health": [pytest.mark.normally("busybox-tar", "systemd-tar")],
    "freeze": [pytest.mark.long, pytest.mark.only("systemd")],
}
BAD = [
    pytest.param(number, id=fault, marks=MARKS.get(fault, [pytest.mark.long]))
    for number, fault in FAULTS.items()
    if fault
]


@pytest.mark.parametrize("number", BAD)
def test_the_old_system_is_back_after_three_tries(bench: Bench, device: Device, number: int) -> None:
    old, bad = bench.release(1), bench.release(number)
    assert device.update(bad)[0] is None
    for _ in range(TRIES):
        # a watchdog or the guard takes its time
        device.expect(r"afero-ota: starting slot B", 300)
        device.expect(SIGNS[FAULTS[number]])
    device.expect(r"afero-ota: starting slot A", 300)
    assert device.wait_until_up() == "A"
    device.check("A", old, factory=True)
    assert device.reported_version() == old.version_number
    why = "health process-hubby" if FAULTS[number] == "health" else outcome.NOT_CONFIRMED
    told = outcome.line(Kind.ROLLED_BACK, int(bad.version_number), detail=why)
    assert (device.read_file("/afero_nv/reboot_reason") or b"").decode() == told
    if FAULTS[number] == "health":
        log = device.command("cat /data/afero-ota/failed-boot.log")
        assert f"slot B: {why}" in log and "afero-ota-confirm: health check process-hubby failed" in log
    environment = disk.environment(device.disk)
    assert (environment["BOOT_ORDER"], environment["BOOT_B_LEFT"]) == ("A", "0")
    # the cloud will offer the same image again; one that did not say why it failed may have been cut off, and gets a second chance
    if FAULTS[number] not in SAY_WHY[bench.system]:
        assert device.update(bad)[0] is None
        device.expect(r"afero-ota: starting slot A", 900)
        assert device.wait_until_up() == "A"
    status, output = device.update(bad)
    assert status == 9, output
    device.check("A", old, factory=True)
    # a corrected one is accepted
    if FAULTS[number] == "health":
        mended = bench.release(2)
        assert device.update(mended)[0] is None
        assert device.wait_until_up() == "B"
        device.check("B", mended)
