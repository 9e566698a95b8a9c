# SPDX-License-Identifier: MIT
"""The bench: releases that BitBake built and the OTA service delivered, devices that start from the factory, and the check
that a device is one complete system.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import shutil
import tarfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from afero_ota import config, record
from afero_ota.service import connect

from .. import hub as hubs
from ..build import Build, Workspace
from ..service import RunningService
from . import disk, parts
from .guest import HEADER, PREFIX, ConsoleError, Guest

IMAGE = "device-image"
CUTS = 6  # in a normal run
RECORD = "/etc/full-ota-record.json"
MARKERS = "/etc/afero-ota"
REFERENCE = f"{MARKERS}/hdr/ota_type_5.hdr"
# what a slot has beside the payload; each is checked by itself
_NOT_OF_THE_PAYLOAD = rf"/lost\+found|{HEADER}|{MARKERS}/hdr(/.*)?|{MARKERS}/complete"
# builds by their number: good ones, and one for each thing that can be wrong with a new system
FAULTS = {1: "", 2: "", 3: "", 4: "", 5: "health", 6: "panic", 7: "hang", 8: "kernel"}
_LOCAL_CONF = """
HERMETIC_DEBIAN = "{debian}"
IMAGE_CLASSES:append:pn-{image} = " afero-ota"
AFERO_OTA_AB = "1"
AFERO_OTA_CONF = "{conf}"
AFERO_OTA_BUILD_NUMBER = "{number}"
AFERO_OTA_DEVICES = "{device}"
AFERO_OTA_BOOT_PACKAGES = "debian-kernel"
AFERO_OTA_BOOT_INITRAMFS = "/boot/initrd.gz"
AFERO_OTA_BOOT_ARGS = "console=ttyAMA0 quiet watchdog.open_timeout=40"
AFERO_OTA_SLOT_SIZE = "80M"
AFERO_OTA_DATA_SIZE = "24M"
DEVICE_FAULT = "{fault}"
"""


@dataclass(frozen=True)
class Release:
    """What a device gets: image and header as hubby leaves them, and the tree that must be in the slot afterwards."""

    version_number: str
    image: Path
    header: Path | None
    tree: disk.Tree


class Bench:
    """One build folder, one OTA service, one factory disk."""

    def __init__(self, folder: Path, workspace: Workspace, service: RunningService):
        self.folder, self.service = folder, service
        self.u_boot, self._debian = parts.u_boot(), parts.debian_packages()
        self._build: Build = workspace.build(folder / "build", self._conf(1))
        self._releases: dict[int, Release] = {}
        self._factory: Path | None = None
        self._count = itertools.count(1)
        self.stood_still: list[str] = []
        """Emulators that had to be switched off and on, for the end of the run."""
        # the cloud numbers versions in the order of their records; the tests need the builds in any order
        for number in FAULTS:
            settings = config.load(str(service.conf), {"build_number": str(number)}, {})
            connect(settings).create_record(record.wanted(settings))

    def _conf(self, number: int) -> str:
        facts = {"debian": self._debian, "image": IMAGE, "conf": self.service.conf, "fault": FAULTS[number]}
        return _LOCAL_CONF.format(number=number, device=f"press-{number}", **facts)

    def release(self, number: int) -> Release:
        """The build of this number, from BitBake through upload, push and download; built once."""
        if number not in self._releases:
            self._build.local_conf = self._conf(number)
            hub = self._hub(f"press-{number}")
            done = self._build.bitbake("-c", "deploy_ota", IMAGE)
            assert done.returncode == 0, done.output
            update = hub.pending()
            assert update, f"the service has no update for {hub.device_id}"
            hub.fetch(update)
            image, header = (hub.prefix.with_name(hub.prefix.name + suffix) for suffix in (".img", ".hdr"))
            self._releases[number] = Release(update["versionNumber"], image, header, disk.tree_of_archive(image))
        return self._releases[number]

    def _hub(self, device: str) -> hubs.Hub:
        root = self.folder / "hubs" / device
        root.mkdir(parents=True, exist_ok=True)
        hub = hubs.Hub(
            self.service.url, device, root, root / "ota_type_5", [], device_type_id=self.service.device_type_id
        )
        hub.register()
        return hub

    def sign(self, name: str, make: Callable[[Path], None], version_number: str) -> Release:
        """An image that nobody built, with a header as good as any: what only sysupgrade can refuse."""
        image = self.folder / f"{next(self._count)}-{name}.img"
        make(image)
        header = image.with_suffix(".hdr")
        header.write_bytes(os.urandom(216))
        return Release(version_number, image, header, {})

    # ---- devices ----------------------------------------------------------------------------------------------------

    def factory(self) -> Path:
        """The disk that BitBake's wic made, after a first boot and with a user's data on it; power is off."""
        if self._factory is None:
            self.release(1)
            (image,) = (path for path in self._build.deploy.glob(f"{IMAGE}-*.wic") if path.is_symlink())
            target = disk.copy_sparse(image, self.folder / "factory.img")
            target.chmod(0o644)
            size = target.stat().st_size
            with target.open("r+b") as stream:
                stream.truncate(1 << (size - 1).bit_length())  # an SD card's size is a power of two
            with Device(target, self) as device:
                assert device.wait_until_up() == "A"
                device.make_user_data()
                device.check("A", self.release(1), factory=True)
            self._factory = target
        return self._factory

    def device(self, name: str, memory: int = 256, start: Path | None = None, arguments: Sequence[str] = ()) -> Device:
        """A new device with the factory's disk (or a copy of `start`), without power."""
        target = self.folder / f"{next(self._count)}-{name}.img"
        return Device(disk.copy_sparse(start or self.factory(), target), self, memory, arguments)


class Device(Guest):
    """A guest that is an Afero device: it takes updates, and can be checked from outside."""

    def __init__(self, path: Path, bench: Bench, memory: int = 256, arguments: Sequence[str] = ()):
        super().__init__(path, bench.u_boot, memory, arguments)
        self.bench = bench

    def scrap(self) -> None:
        """Off, and its files gone; the log stays."""
        self.cut()
        for path in (self.disk, self.download):
            path.unlink(missing_ok=True)

    def make_user_data(self) -> None:
        """Something of the user's that no update may touch."""
        steps = ["mkdir -p /data/user", "head -c 300000 /dev/urandom > /data/user/blob"]
        steps += ["sha256sum < /data/user/blob > /data/user/sum", "echo precious > /data/user/file", "sync"]
        self.command(" && ".join(steps))

    def update(self, release: Release, seconds: float = 300) -> tuple[int | None, str]:
        """Deliver and install. (None, what it said) when the device reboots, else sysupgrade's (status, what it said)."""
        self.deliver(release.image, release.header)
        return self.end_of(self.start_sysupgrade(), seconds)

    def end_of(self, ended: str, seconds: float = 300) -> tuple[int | None, str]:
        """How a sysupgrade that was started ends: as `update`."""
        before = len(self.heard)
        try:
            found = self.expect(rf"{ended}|\nU-Boot 20\d\d", seconds)
        except ConsoleError:
            # twice in a run is no accident
            if self.bench.stood_still or not self._stands_still(seconds):
                raise
            said = "".join(text for _, text in self.heard[before:])
            self.bench.stood_still.append(f"{self.disk.stem}: stood still after sysupgrade's end, switched off and on")
            self.cut()
            self.power_on()
            return None, said
        if found.group(2) and found.group(2) != "0":
            return int(found.group(2)), found.group(1)
        if found.group(2):
            self.expect(r"\nU-Boot 20\d\d", seconds)
        return None, "".join(text for _, text in self.heard[before:])

    def _stands_still(self, seconds: float) -> bool:
        """Whether the emulator itself stopped after sysupgrade's end (seen once in hundreds of updates).

        sysupgrade forces a restart after a minute, and the kernel tells of a task that hangs for two: without a word of either
        for most of `seconds`, nothing runs in the guest any more. On a device that is the hardware watchdog's part, which
        softdog cannot play.
        """
        said = "".join(text for _, text in self.heard).rpartition("\nU-Boot 20")[2]
        silence = time.monotonic() - self.started - self.heard[-1][0] if self.heard else 0.0
        return bool(re.search(r"sysupgrade: .*DONE", said)) and silence > 0.8 * seconds

    def check(self, slot: str, release: Release, factory: bool = False) -> None:
        """The running device is one complete system: this slot with exactly this release, its own header, the user's data.

        Looks at the disk from outside. factory: the release came from the factory, which gives no header.
        """
        self.command("sync")
        problems = self.problems(slot, release, factory)
        if problems:
            raise ConsoleError("\n".join([f"slot {slot}, versionNumber {release.version_number}:", *problems]))

    def problems(self, slot: str, release: Release, factory: bool = False) -> list[str]:
        """What is wrong with this slot and the data, one line each."""
        tree = disk.tree_of_partition(self.disk, disk.SLOTS[slot])
        found = disk.differences(tree, release.tree, _NOT_OF_THE_PAYLOAD)[:10]
        wanted = None if factory or not release.header else hashlib.sha256(release.header.read_bytes()).hexdigest()
        for path in (HEADER, REFERENCE):
            has = tree[path].content if path in tree else None
            if has != wanted:
                found.append(f"{path} has hash {has}, not {wanted}")
        if f"{MARKERS}/complete" not in tree:
            found.append(f"{MARKERS}/complete is missing")
        environment = disk.environment(self.disk)
        order, left = environment.get("BOOT_ORDER", ""), environment.get(f"BOOT_{slot}_LEFT")
        if order.split()[:1] != [slot] or left != "3":
            found.append(f"BOOT_ORDER is '{order}' and BOOT_{slot}_LEFT is {left}: the running slot is not confirmed")
        return found + self._data_problems()

    def _data_problems(self) -> list[str]:
        data = disk.tree_of_partition(self.disk, disk.DATA)
        names = [f"/user/{name}" for name in ("blob", "sum", "file")]
        if any(name not in data for name in names):
            return [f"user data is gone: {sorted(data)}"]
        blob, total, file = (data[name].content for name in names)
        wanted_sum = hashlib.sha256(f"{blob}  -\n".encode()).hexdigest()
        wanted_file = hashlib.sha256(b"precious\n").hexdigest()
        return [] if (total, file) == (wanted_sum, wanted_file) else ["user data is damaged"]

    def reported_version(self) -> str:
        """The versionNumber that hubby reports: of the header in /etc, else of the record."""
        root = self.bench.folder / "hubs" / self.disk.stem
        shutil.rmtree(root, ignore_errors=True)
        (root / "etc").mkdir(parents=True)
        for path in (HEADER, RECORD):
            content = self.read_file(path)
            if content is not None:
                (root / path[1:]).write_bytes(content)
        key = self.bench._hub("reader").key
        return str(hubs.version_of(root, Path(PREFIX).name, key))


def record_of(image: Path) -> dict[str, str]:
    """The record inside a payload."""
    with tarfile.open(image) as archive:
        stream = archive.extractfile("." + RECORD)
        assert stream
        record: dict[str, str] = json.load(stream)
        return record
