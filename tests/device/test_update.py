# SPDX-License-Identifier: MIT
"""From the factory through update after update: the local OTA service, the simulated hubby, a real sysupgrade in QEMU."""

from __future__ import annotations

from dataclasses import dataclass

from api import Api
from rehearsal import hub as hubs
from rehearsal.board.bench import Bench, Device, record_of


@dataclass
class GuestHub(hubs.Hub):
    """hubby, on the bench: what it reports is what the guest's /etc says, and otamgr runs in the guest."""

    guest: Device | None = None

    def running_version(self) -> int:
        return int(self.guest.reported_version()) if self.guest else 0

    def install(self, header: hubs.Header, behaviour: str = "normal") -> None:
        assert self.guest
        self.guest.deliver(self._suffixed(".img"), self._suffixed(".hdr"))
        status, said = self.guest.end_of(self.guest.start_sysupgrade())
        if status is not None:
            raise hubs.UpdateError(f"sysupgrade ended with status {status}: {said}")
        self.guest.wait_until_up()
        if self.running_version() != header.version_number:
            raise hubs.UpdateError("the new system did not come up")


def hub_of(bench: Bench, device: Device) -> GuestHub:
    folder = bench.folder / f"hub-{device.disk.stem}"
    service = bench.service
    hub = GuestHub(
        service.url,
        folder.name,
        folder,
        folder / "ota_type_5",
        [],
        device_type_id=service.device_type_id,
        guest=device,
    )
    hub.register()
    return hub


def push(bench: Bench, device_id: str, version_number: str) -> None:
    api = Api(bench.service)
    images = api.call("GET", "DT/firmwareImages", params={"size": 500}).json()["content"]
    (image,) = (image for image in images if str(image["versionNumber"]) == version_number)
    answer = api.push(image, device_id)
    assert answer.status_code == 202, answer.text


def test_a_device_goes_from_the_factory_to_b_and_back_and_to_b_again(bench: Bench, device: Device) -> None:
    """A → B → A → B: each time pushed by the cloud, and afterwards exactly what BitBake built."""
    hub = hub_of(bench, device)
    assert bench.service.sim.device(hub.device_id)["versionNumber"] == bench.release(1).version_number
    for number, slot in ((2, "B"), (3, "A"), (4, "B")):
        release = bench.release(number)
        assert int(release.version_number) > hub.running_version()
        push(bench, hub.device_id, release.version_number)
        assert hub.poll() is True, bench.service.sim.pushes()[-1]["detail"]
        device.check(slot, release)
        assert bench.service.sim.device(hub.device_id)["versionNumber"] == release.version_number
        assert record_of(release.image)["versionNumber"] == release.version_number
