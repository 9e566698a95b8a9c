# SPDX-License-Identifier: MIT
"""Updates from the factory on: the local OTA service, a simulated hubby, and the real sysupgrade in QEMU."""

from __future__ import annotations

import pytest

from api import Api
from bench import Bench
from rehearsal.board.device import Device, GuestHub
from rehearsal.board.releases import record_of


def push(bench: Bench, device_id: str, version_number: str) -> None:
    api = Api(bench.service)
    images = api.call("GET", "DT/firmwareImages", params={"size": 500}).json()["content"]
    (image,) = (image for image in images if str(image["versionNumber"]) == version_number)
    answer = api.push(image, device_id)
    assert answer.status_code == 202, answer.text


def test_a_device_goes_from_the_factory_to_b_and_back_and_to_b_again(bench: Bench, device: Device) -> None:
    """A → B → A → B: the cloud pushes each update, and the slot then holds exactly what BitBake built."""
    folder = bench.folder / f"hub-{device.disk.stem}"
    hub = GuestHub(bench.service, folder.name, folder, device)
    hub.register()
    assert bench.service.sim.device(hub.device_id)["versionNumber"] == bench.release(1).version_number
    for number, slot in ((2, "B"), (3, "A"), (4, "B")):
        release = bench.release(number)
        assert int(release.version_number) > hub.running_version()
        push(bench, hub.device_id, release.version_number)
        assert hub.poll() is True, bench.service.sim.pushes()[-1]["detail"]
        device.check(slot, release)
        assert bench.service.sim.device(hub.device_id)["versionNumber"] == release.version_number
        assert record_of(release.image)["versionNumber"] == release.version_number


@pytest.mark.long
@pytest.mark.only("systemd")
def test_a_device_with_a_read_only_root_has_one_machine_id_all_its_life(bench: Bench, device: Device) -> None:
    machine_id = device.read_file("/etc/machine-id")
    assert machine_id and len(machine_id.strip()) == 32
    assert device.update(bench.release(2))[0] is None
    assert device.wait_until_up() == "B"
    assert device.read_file("/etc/machine-id") == machine_id
    device.command("sync")
    device.cut()
    device.power_on()
    assert device.wait_until_up() == "B"
    assert device.read_file("/etc/machine-id") == machine_id
    # in memory only
    device.check("B", bench.release(2))


@pytest.mark.long
@pytest.mark.only("systemd")
def test_a_header_that_a_person_left_in_a_read_only_root_keeps_updates_away_until_it_is_put_right(
    bench: Bench, device: Device
) -> None:
    release = bench.release(2)
    device.command("mount -o remount,rw / && echo wrong > /etc/ota_type_5.hdr && mount -o remount,ro /")
    status, output = device.update(release)
    assert (status, "could not be put right" in output) == (4, True), output
    device.command("mount -o remount,rw / && afero-ota-header reconcile; mount -o remount,ro /")
    assert device.update(release)[0] is None
    assert device.wait_until_up() == "B"
    device.check("B", release)
