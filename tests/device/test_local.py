# SPDX-License-Identifier: MIT
"""An image from bench or factory, installed without the cloud."""

from __future__ import annotations

import pytest

from bench import Bench
from rehearsal.board.device import Device
from rehearsal.board.guest import PREFIX

# the other image's /etc cannot be written to
pytestmark = pytest.mark.only("busybox")

INSTALL = f"/sbin/sysupgrade --local {PREFIX}.img"


def test_a_local_image_is_installed_where_that_is_allowed_and_reports_its_record(bench: Bench, device: Device) -> None:
    release = bench.release(2)
    device.deliver(release.image, None)
    status, said = device.try_command(INSTALL)
    assert (status, "set ALLOW_LOCAL=1" in said) == (4, True), said
    device.command("echo ALLOW_LOCAL=1 >>/etc/afero-ota/sysupgrade.conf")
    failed, said = device.wait_for_sysupgrade(device.start_command(INSTALL))
    assert failed is None, said
    assert device.wait_until_up() == "B"
    # like a factory's system, it has no version header
    device.check("B", release, factory=True)
    assert device.reported_version() == release.version_number
    assert device.command("cat /afero_nv/reboot_reason") == f"ota {release.version_number} ok"
