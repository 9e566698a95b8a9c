# SPDX-License-Identifier: MIT
"""Payloads of other types than tar.gz: from BitBake through the local OTA service into the other slot, and what each costs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bench import Bench
from rehearsal.board.costs import Installation
from rehearsal.board.device import Device, GuestHub
from test_update import push

# which type an archive has does not depend on the kind of Linux, or on what it is in
pytestmark = pytest.mark.only("busybox", "tar")

XZ, ZSTD = 11, 12  # the first has the program for the second
LARGE = {21: "tar.gz", 22: "tar.xz", 23: "tar.zst", 24: "tar.zst, level 19"}


def test_a_device_takes_xz_and_then_zstd(bench: Bench, device: Device) -> None:
    folder = bench.folder / f"hub-{device.disk.stem}"
    hub = GuestHub(bench.service, folder.name, folder, device)
    hub.register()
    for number, slot, magic in ((XZ, "B", b"\xfd7zXZ"), (ZSTD, "A", b"\x28\xb5\x2f\xfd")):
        release = bench.release(number)
        assert release.image.read_bytes().startswith(magic)
        push(bench, hub.device_id, release.version_number)
        assert hub.poll() is True, bench.service.sim.pushes()[-1]["detail"]
        device.check(slot, release)
        assert bench.service.sim.device(hub.device_id)["versionNumber"] == release.version_number
    # the class brings it, for the next update
    device.command("zstd --version")


@pytest.fixture(scope="module")
def with_zstd(bench: Bench) -> Path:
    """A disk whose slot B runs a system with the program zstd; the power is off."""
    release, target = bench.release(XZ), bench.folder / "with-zstd.img"
    device = bench.device("with-zstd")
    with device:
        assert device.wait_until_up() == "A"
        assert device.update(release)[0] is None
        assert device.wait_until_up() == "B"
        device.command("sync")
    shutil.copy(device.disk, target)
    device.scrap()
    return target


@pytest.mark.long
@pytest.mark.parametrize("number", LARGE)
def test_what_an_image_of_ordinary_size_costs_in_each_type(
    bench: Bench, with_zstd: Path, number: int, figures: list[str]
) -> None:
    release = bench.release(number)
    device = bench.device(f"large-{number}", start=with_zstd)
    with device:
        assert device.wait_until_up() == "B"
        device.deliver(release.image, release.header)
        installation = Installation(device)
        device.expect(r"\nU-Boot 20\d\d", 600)
        assert device.wait_until_up() == "A"
        device.check("A", release)
        figures += [f"{LARGE[number]}: {line}" for line in installation.costs(release, inactive="B").lines()]
    device.scrap()
