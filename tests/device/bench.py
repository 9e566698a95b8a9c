# SPDX-License-Identifier: MIT
"""The bench of these tests: numbered releases, good and faulty ones, and as many devices from the factory as needed."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import keys
from afero_ota import config, record
from afero_ota.service import connect
from rehearsal import hub as hubs
from rehearsal.board import disk, parts
from rehearsal.board.device import Device
from rehearsal.board.releases import Owner, Release, ReleaseBuild
from rehearsal.build import Workspace
from rehearsal.service import RunningService

# image and engine (rehearsal.board.releases), and the power cuts on each in a normal run; and those in a run of every scenario
CUTS = {"busybox-tar": 6, "systemd-tar": 2, "busybox-rauc": 2, "systemd-rauc": 0}
BENCHES = tuple(CUTS)
LONG_CUTS = 10
# builds by number: good ones, and one for each thing that can be wrong with a new system (device-image.bb)
FAULTS = {1: "", 2: "", 3: "", 4: "", 5: "health", 6: "panic", 7: "hang", 8: "kernel", 9: "stuck", 10: "freeze"}
# ready-made health checks of a build, by its number and by image: those that pass, and one that fails
HEALTH_CHECKS = {
    4: {
        "busybox": "process:syslogd mounted:/data free:/data:1M",
        "systemd": "process:systemd-udevd mounted:/data free:/data:1M systemd",
    },
    5: {"busybox": "process:hubby", "systemd": "process:hubby"},
}
# good ones of other types and sizes; the first brings the program that the next one needs
_LARGE = 'DEVICE_EXTRA = "debian-modules"\n'
TYPES = {
    11: 'AFERO_OTA_IMAGE_FSTYPE = "tar.xz"\nDEVICE_EXTRA = "zstd"',
    12: 'AFERO_OTA_IMAGE_FSTYPE = "tar.zst"',
    21: _LARGE + 'AFERO_OTA_IMAGE_FSTYPE = "tar.gz"',
    22: _LARGE + 'AFERO_OTA_IMAGE_FSTYPE = "tar.xz"',
    23: _LARGE + 'AFERO_OTA_IMAGE_FSTYPE = "tar.zst"',
    24: _LARGE + 'AFERO_OTA_IMAGE_FSTYPE = "tar.zst"\nZSTD_COMPRESSION_LEVEL = "-19"',
}


class Bench:
    """One build folder, one OTA service, one factory disk.

    system: which kind of Linux the devices run. engine: what they install images with, tar or rauc.
    """

    def __init__(self, folder: Path, workspace: Workspace, service: RunningService, system: str, engine: str):
        self.folder, self.service, self.system, self.name = folder, service, system, f"{system}-{engine}"
        self.u_boot, self.key = parts.u_boot(), hubs.service_key(service.url)
        self.pair = keys.make(folder, "release")
        self.owner = Owner(self.pair.key, self.pair.cert, keys.keyring(folder / "keyring.pem", self.pair))
        owner = self.owner if engine == "rauc" else None
        self.build = ReleaseBuild(folder / "build", workspace, service, system=system, owner=owner)
        self._releases: dict[int, Release] = {}
        self._never_started: Path | None = None
        self._factory: Path | None = None
        self._count = itertools.count(1)
        self.stalls: list[str] = []
        """Emulators that stalled; printed at the end of the run."""
        # the cloud numbers versions in the order of their records; tests need the builds in any order
        for number in (*FAULTS, *TYPES):
            settings = config.load(str(service.conf), {"build_number": str(number)}, {})
            connect(settings).create_record(record.wanted(settings))

    def release(self, number: int) -> Release:
        """The build of this number, through upload, push and download; built once."""
        if number not in self._releases:
            checks = f'AFERO_OTA_HEALTH_CHECKS = "{HEALTH_CHECKS.get(number, {}).get(self.system, "")}"'
            more = TYPES.get(number) or f'DEVICE_FAULT = "{FAULTS[number]}"'
            downloads = self.folder / "hubs" / f"downloader-{number}"
            self._releases[number] = self.build.delivered(number, downloads, f"{more}\n{checks}")
        return self._releases[number]

    def tampered(self, name: str, make: Callable[[Path], None], version_number: str) -> Release:
        """An image that BitBake did not build, with a header that nobody has verified: only sysupgrade can refuse it."""
        image = self.folder / f"{next(self._count)}-{name}.img"
        make(image)
        header = image.with_suffix(".hdr")
        header.write_bytes(os.urandom(216))
        return Release(version_number, image, header, {})

    # ---- devices ----------------------------------------------------------------------------------------------------

    def never_started(self) -> Path:
        """The disk that BitBake's wic made."""
        if self._never_started is None:
            self.release(1)
            self._never_started = self.build.factory_disk(self.folder / "never-started.img")
        return self._never_started

    def factory(self) -> Path:
        """The disk that BitBake's wic made, after its first boot and with user data; the power is off."""
        if self._factory is None:
            target = disk.copy_sparse(self.never_started(), self.folder / "factory.img")
            device = self._device(target)
            with device:
                assert device.wait_until_up() == "A"
                device.make_user_data()
                device.check("A", self.release(1), factory=True)
            self._factory = target
        return self._factory

    def device(self, name: str, memory: int = 256, start: Path | None = None, arguments: Sequence[str] = ()) -> Device:
        """A new device with a copy of the factory's disk (or of `start`), switched off."""
        target = self.folder / f"{next(self._count)}-{name}.img"
        return self._device(disk.copy_sparse(start or self.factory(), target), memory, arguments)

    def _device(self, path: Path, memory: int = 256, arguments: Sequence[str] = ()) -> Device:
        return Device(path, self.u_boot, self.key, memory, arguments, self.stalls)
