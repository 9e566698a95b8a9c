# SPDX-License-Identifier: MIT
"""Releases of the bench's image: what BitBake built, and what the OTA service delivered of it."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from afero_ota import checks

from .. import hub as hubs
from ..build import Result, Workspace
from ..service import RunningService
from . import disk, parts

RECORD = "/etc/full-ota-record.json"
_LOCAL_CONF = """
IMAGE_CLASSES:append:pn-{image} = " afero-ota"
AFERO_OTA_CONF = "{conf}"
AFERO_OTA_BUILD_NUMBER = "{number}"
AFERO_OTA_DEVICES = "{device}"
{more}
"""
_BOARD_CONF = """
HERMETIC_DEBIAN = "{debian}"
AFERO_OTA_AB = "1"
AFERO_OTA_BOOT_PACKAGES = "debian-kernel"
AFERO_OTA_BOOT_INITRAMFS = "/boot/initrd.gz"
AFERO_OTA_BOOT_ARGS = "console=ttyAMA0 quiet ro watchdog.open_timeout=40"
AFERO_OTA_SLOT_SIZE = "80M"
AFERO_OTA_DATA_SIZE = "24M"
{system}
"""
# the two kinds of Linux, each as its users configure it
SYSTEMS = {
    "busybox": 'AFERO_OTA_DATA_GROW = "1"',
    "systemd": 'INIT_MANAGER = "systemd"\nEXTRA_IMAGE_FEATURES = "read-only-rootfs"',
}
# what devices install images with
ENGINES = ("tar", "rauc")
_RAUC_CONF = """
AFERO_OTA_BUNDLE_IMAGE = "{image}"
AFERO_OTA_SIGN_KEY = "{signer.key}"
AFERO_OTA_SIGN_CERT = "{signer.cert}"
AFERO_OTA_KEYRING = "{signer.keyring}"
"""


@dataclass(frozen=True)
class Owner:
    """Who signs the bundles of a board with the RAUC engine: PEM files that the build user can read."""

    key: Path
    cert: Path
    keyring: Path


class BuildError(Exception):
    """BitBake failed; the message has the end of its output."""


@dataclass(frozen=True)
class Release:
    """What a device gets: image and header as hubby leaves them, and the tree that must be in the slot afterwards.

    archive: the root file system in the image; the image itself, unless that is a bundle.
    """

    version_number: str
    image: Path
    header: Path | None
    tree: disk.Tree
    archive: Path = Path()

    @classmethod
    def downloaded(cls, hub: hubs.Hub, version_number: str) -> Release:
        """The update that a hub has just fetched."""
        image, header = (hub.prefix.with_name(hub.prefix.name + suffix) for suffix in (".img", ".hdr"))
        archive = archive_in(image)
        return cls(version_number, image, header, disk.tree_of_archive(archive), archive)


class ReleaseBuild:
    """The build folder that all releases come from. `configure` says which one is built next.

    bootable: build the image for the emulated board, of Debian's packages; else an image of data only. system: busybox, with a
    writable root, or systemd, with a read-only one and a merged /usr. Raises Unavailable when those packages cannot be had.
    owner: make signed bundles, for the RAUC engine; else archives.
    """

    def __init__(
        self,
        folder: Path,
        workspace: Workspace,
        service: RunningService,
        bootable: bool = True,
        system: str = "busybox",
        owner: Owner | None = None,
    ):
        self.bootable, self.image = bootable, "device-image" if bootable else "core-image-minimal"
        facts = {"debian": parts.debian_packages(), "system": SYSTEMS[system]} if bootable else {}
        self._board_conf = _BOARD_CONF.format(**facts) if bootable else ""
        if owner:
            self._board_conf += _RAUC_CONF.format(image=self.image, signer=owner)
        self._service = service
        self._build = workspace.build(folder, files=("kas/rauc.yml",) if owner else ())

    def configure(self, number: int, device_id: str, more: str = "") -> None:
        """The next tasks are for this build number, and deploy to this device. more: lines for local.conf."""
        facts = {"image": self.image, "conf": self._service.conf, "device": device_id, "more": self._board_conf + more}
        self._build.local_conf = _LOCAL_CONF.format(number=number, **facts)

    def bitbake(self, *arguments: str) -> Result:
        """Run BitBake on the image. Raises BuildError."""
        done = self._build.bitbake(*arguments, self.image)
        if done.returncode:
            raise BuildError(f"bitbake {' '.join([*arguments, self.image])} failed:\n{done.output[-3000:]}")
        return done

    def delivered(self, number: int, folder: Path, more: str = "") -> Release:
        """Build this number, and take it through upload, push and download with a hub that installs nothing.

        folder: for what the hub downloads; its name is the device id. more: lines for local.conf. Raises BuildError, UpdateError.
        """
        url, type_id = self._service.url, self._service.device_type_id
        hub = hubs.Hub(url, folder.name, folder, folder / "ota_type_5", [], device_type_id=type_id)
        hub.register()
        self.configure(number, hub.device_id, more)
        self.bitbake("-c", "deploy_ota")
        update = hub.pending()
        if not update:
            raise hubs.UpdateError(f"the service has no update for {hub.device_id}")
        hub.fetch(update)
        return Release.downloaded(hub, update["versionNumber"])

    @property
    def payload(self) -> Path:
        """hub_update.bin of the last build."""
        return self._build.deploy / f"{self.image}-ota" / checks.IMAGE_FILE

    def factory_disk(self, target: Path) -> Path:
        """Copy the disk image that wic made in the last build, onto the smallest SD card that takes it."""
        (image,) = (path for path in self._build.deploy.glob(f"{self.image}-*.wic") if path.is_symlink())
        disk.copy_sparse(image, target)
        target.chmod(0o644)
        size = target.stat().st_size
        with target.open("r+b") as stream:
            stream.truncate(1 << (size - 1).bit_length())  # QEMU accepts powers of two only
        return target


def archive_in(image: Path) -> Path:
    """The archive of the root file system in a payload: the payload itself, or unpacked from a bundle, beside it."""
    with image.open("rb") as stream:
        if stream.read(4) != b"hsqs":
            return image
    folder = image.with_suffix(".bundle")
    command = ["unsquashfs", "-quiet", "-no-progress", "-force", "-dest", str(folder), str(image)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (archive,) = folder.glob("rootfs.tar*")
    return archive


def record_of(image: Path) -> dict[str, str]:
    """The OTA record inside a payload."""
    with disk.open_archive(archive_in(image)) as archive:
        stream = archive.extractfile("." + RECORD)
        assert stream
        record: dict[str, str] = json.load(stream)
        return record
