# SPDX-License-Identifier: MIT
"""The first start on a disk larger than the image: the data partition grows to its end, and gets the factory contents once.

A power cut at any point of it is made good by the next start.
"""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import Bench
from rehearsal.board import disk
from rehearsal.board.device import Device

pytestmark = pytest.mark.only("busybox")  # the one that the bench builds to grow
DISK = 512 << 20
# where the power is cut, and at most how many seconds after that line
MOMENTS = (
    (r"Starting kernel", 8.0),
    (r"afero-ota-grow: partition 4", 1.0),
    (r"afero-ota-grow: the file system on", 0.5),
)
NORMAL = 2
CUTS = [pytest.param(number, marks=() if number < NORMAL else pytest.mark.long) for number in range(12)]


def enlarged(path: Path) -> None:
    with path.open("r+b") as stream:
        stream.truncate(DISK)


@pytest.fixture
def device(bench: Bench, request: pytest.FixtureRequest) -> Iterator[Device]:
    """A device that was never started, with the image on a larger disk; switched off."""
    device = bench.device(request.node.name.split("[")[0][5:45], start=bench.never_started())
    enlarged(device.disk)
    yield device
    device.scrap()


def check(device: Device, bench: Bench) -> None:
    """The system is complete, and its data partition as a first start has to leave it. Cuts the power."""
    device.check("A", bench.release(1), factory=True, user_data=False)
    blocks = int(device.command("df -k /data | tail -n 1").split()[1])
    device.cut()
    *system, data = disk.partitions(device.disk)
    assert system == disk.partitions(bench.never_started())[:3]
    assert sum(data) == DISK
    assert blocks << 10 > 0.9 * data[1]
    found, wanted = disk.tree_of_partition(device.disk, disk.DATA), bench.release(1).tree
    names = ("/apps", "/apps/deep", "/apps/deep/blob", "/apps/link")
    assert {name: found[name] for name in names} == {name: wanted[f"/usr/share/afero-ota/data{name}"] for name in names}
    assert sorted(name for name in found if name.count("/") == 1) == ["/afero-ota", "/afero_nv", "/apps", "/lost+found"]


def test_data_takes_the_rest_of_the_disk_and_the_factory_contents_once(bench: Bench, device: Device) -> None:
    with device:
        assert device.wait_until_up() == "A"
        assert "MiB, growing to" in device.output
        check(device, bench)
        before = device.disk.read_bytes()[:512]
        device.power_on()
        assert device.wait_until_up() == "A"
        assert "afero-ota-grow" not in device.output and "afero-ota-data" not in device.output
        # what a user changes or takes out of it stays so, whatever an update brings
        device.command("rm /data/apps/link && echo mine > /data/apps/deep/blob")
        assert device.update(bench.release(2))[0] is None
        assert device.wait_until_up() == "B"
        assert device.command("cat /data/apps/deep/blob; ls /data/apps").endswith("mine\ndeep\n")
        assert device.disk.read_bytes()[:512] == before


@pytest.mark.parametrize("number", CUTS)
def test_a_power_cut_during_the_first_start_is_made_good_by_the_next(
    bench: Bench, device: Device, seed: int, number: int
) -> None:
    pattern, seconds = MOMENTS[(number + 1) % len(MOMENTS)]
    with device:
        device.expect(pattern)
        device.run_for(random.Random(f"{seed} {number}").uniform(0, seconds))
        device.cut()
        *system, data = disk.partitions(device.disk)
        *system_before, data_before = disk.partitions(bench.never_started())
        assert system == system_before
        assert data in (data_before, (data[0], DISK - data[0]))
        device.power_on()
        assert device.wait_until_up() == "A"
        check(device, bench)


@pytest.mark.long
def test_a_disk_with_a_gpt_is_left_alone_and_starts(bench: Bench, device: Device) -> None:
    entries = disk.partitions(device.disk)
    table = "label: gpt\n" + "".join(f"start={at >> 9}, size={size >> 9}\n" for at, size in entries)
    subprocess.run(
        ["/sbin/sfdisk", "-q", "--wipe-partitions", "never", device.disk], input=table, text=True, check=True
    )
    before = device.disk.read_bytes()[: 1 << 20]
    with device:
        assert device.wait_until_up() == "A"
        assert (
            "FAILED: the data partition keeps its size: the partition table of /dev/mmcblk0 is of the kind 'gpt'"
            in device.output
        )
        assert device.disk.read_bytes()[: 1 << 20] == before
        assert device.command("ls /data").endswith("afero-ota\nafero_nv\napps\nlost+found\n")
