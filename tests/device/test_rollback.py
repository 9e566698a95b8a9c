# SPDX-License-Identifier: MIT
"""A new system that is no good: the old one comes back by itself, says so, and does not try the same image again."""

from __future__ import annotations

import pytest

import disk
from bench import Bench, Device

TRIES = 3
# what is wrong, what the console says at each try
FAULTS = [
    pytest.param("health", r"BENCH FAULT health", id="fails its health check"),
    pytest.param("panic", r"Kernel panic - not syncing: Attempted to kill init", id="panics", marks=pytest.mark.long),
    pytest.param("hang", r"BENCH FAULT hang", id="hangs", marks=pytest.mark.long),
    pytest.param("kernel", r"slot B could not be started", id="has a bad kernel", marks=pytest.mark.long),
]


@pytest.mark.parametrize(("fault", "sign"), FAULTS)
def test_after_three_tries_the_old_system_is_back(bench: Bench, device: Device, fault: str, sign: str) -> None:
    old, bad = bench.release(1), bench.release(2, fault)
    device.update(bad)
    for _ in range(TRIES):
        device.expect(r"afero-ota: starting slot B")
        device.expect(sign)
    device.expect(r"afero-ota: starting slot A")
    assert device.wait_until_up() == "A"
    device.check("A", old, factory=True)
    assert device.reported_version() == old.version_number
    environment = disk.environment(device.disk)
    assert (environment["BOOT_ORDER"], environment["BOOT_B_LEFT"]) == ("A", "0")
    # the cloud will offer it again
    status, said = device.update(bad)
    assert status == 9, said
    device.check("A", old, factory=True)
    # a mended one is taken
    if fault == "health":
        mended = bench.release(3)
        assert device.update(mended)[0] is None
        assert device.wait_until_up() == "B"
        device.check("B", mended)
