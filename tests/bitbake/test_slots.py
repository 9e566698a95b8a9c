# SPDX-License-Identifier: MIT
"""AFERO_OTA_AB in real builds: what is in the payload and in the disk image. tests/device boots them."""

from __future__ import annotations

import hashlib
import struct
import subprocess
import tarfile
from pathlib import Path

import pytest

from rehearsal.build import Build, Workspace

IMAGE = "core-image-minimal"
SLOTS = f"""
IMAGE_CLASSES:append:pn-{IMAGE} = " afero-ota"
AFERO_OTA_AB = "1"
# the hermetic build has no kernel, only a file to stand for one
AFERO_OTA_BOOT_PACKAGES = ""
AFERO_OTA_BOOT_KERNEL = "/etc/hello"
AFERO_OTA_SLOT_SIZE = "16M"
AFERO_OTA_DATA_SIZE = "8M"
AFERO_OTA_DATA_GROW = "1"
"""
# with wrynose, wic is in a repository of its own, which the hermetic build does not have
RELEASE = {"scarthgap": "", "wrynose": 'IMAGE_FSTYPES:remove = "wic"\n'}
FOLDER = "./etc/afero-ota"


def built(workspace: Workspace, folder: Path, more: str = "") -> Build:
    build = workspace.build(folder, SLOTS + RELEASE[workspace.release] + more)
    done = build.bitbake(IMAGE)
    assert done.returncode == 0, done.output
    return build


def payload(build: Build) -> Path:
    return build.deploy / f"{IMAGE}-ota" / "hub_update.bin"


def content_of(archive: tarfile.TarFile, name: str) -> bytes:
    stream = archive.extractfile(name)
    assert stream, f"{name} is no file"
    return stream.read()


@pytest.fixture(scope="module")
def folders(folder: Path) -> dict[str, Build]:
    return {}


@pytest.fixture
def build(any_release: Workspace, folder: Path, folders: dict[str, Build]) -> Build:
    if any_release.release not in folders:
        folders[any_release.release] = built(any_release, folder / any_release.release)
    return folders[any_release.release]


def test_the_payload_describes_itself_and_has_no_file_that_only_sysupgrade_may_write(build: Build) -> None:
    with tarfile.open(payload(build)) as archive:
        members = {member.name: member for member in archive.getmembers()}
        texts = {
            name: content_of(archive, f"{FOLDER}/{name}").decode()
            for name in ("compatible", "manifest", "listing", "boot-files", "data-paths")
        }
        content = {name: content_of(archive, name) for name, member in members.items() if member.isreg()}
    assert texts["compatible"] == "qemuarm\n"
    assert texts["boot-files"] == "/etc/hello\n"
    assert members["./afero_nv"].linkname == "/data/afero_nv"
    assert "./usr/sbin/afero-ota-grow" in members
    assert not [name for name in members if "complete" in name or name.endswith(".hdr") or "/hdr" in name]
    # as the device reads them: built by an unprivileged user, owned by root
    listed = {}
    for line in texts["listing"].splitlines():
        mode, owner, group, name = line.split(" ", 3)
        listed[name.split(" -> ")[0]] = (mode, owner, group)
    assert set(listed) == set(members)
    for name, member in members.items():
        if not member.issym():
            assert listed[name][1:] == (str(member.uid), str(member.gid)) == ("0", "0"), name
            assert int(listed[name][0], 16) & 0o7777 == member.mode, name
    hashes = {name: digest for digest, name in (line.split("  ") for line in texts["manifest"].splitlines())}
    assert hashes == {
        name: hashlib.sha256(data).hexdigest() for name, data in content.items() if name != f"{FOLDER}/manifest"
    }
    assert {member.mtime for member in members.values()} == {members["."].mtime}


def test_two_builds_give_the_same_bytes(build: Build, any_release: Workspace, folder: Path) -> None:
    again = built(any_release, folder / f"{any_release.release}-again")
    assert payload(again).read_bytes() == payload(build).read_bytes()
    assert (again.deploy / "boot.scr").read_bytes() == (build.deploy / "boot.scr").read_bytes()


def test_boot_scr_begins_with_the_settings_of_the_board(build: Build) -> None:
    text = (build.deploy / "boot.scr").read_bytes()[72:].decode()
    assert text.startswith("mmc=0\nslots=/dev/mmcblk0p\nboot=bootz\nkernel=/etc/hello\nfdt=\ninitramfs=\nargs=")
    assert "BOOT_A_LEFT" in text


def test_the_disk_image_has_the_agreed_layout_and_a_blank_environment(
    scarthgap: Workspace, folder: Path, folders: dict[str, Build]
) -> None:
    build = folders.get("scarthgap") or built(scarthgap, folder / "scarthgap")
    (path,) = (path for path in build.deploy.glob("*.wic") if path.is_symlink())
    image = path.read_bytes()
    entries = [struct.unpack_from("<8xII", image, 446 + 16 * number) for number in range(4)]
    mib = [(start / 2048, size / 2048) for start, size in entries]
    assert mib == [(4, 32), (36, 16), (52, 16), (68, 8)]
    assert not any(image[1 << 20 : 4 << 20])
    start = entries[1][0] * 512
    (features,) = struct.unpack_from("<I", image, start + 1024 + 96)
    assert features & 0x2080 == 0, "64bit and metadata_csum_seed are none that U-Boot reads"
    (features,) = struct.unpack_from("<I", image, entries[3][0] * 512 + 1024 + 100)
    assert features & 0x400, "a data partition without metadata_csum is slow to grow"
    for slot, expected in ((1, True), (2, False)):
        partition = folder / "partition.img"
        partition.write_bytes(image[entries[slot][0] * 512 :][: entries[slot][1] * 512])
        found = subprocess.run(
            ["debugfs", "-R", "stat /etc/afero-ota/complete", str(partition)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ).stdout
        assert ("Type: regular" in found) == expected, found


def test_an_image_without_two_slots_has_nothing_of_the_ab_update(scarthgap: Workspace, folder: Path) -> None:
    build = scarthgap.build(
        folder / "without", f'IMAGE_CLASSES:append:pn-{IMAGE} = " afero-ota"\nAFERO_OTA_SLOT_SIZE = "16M"\n'
    )
    done = build.bitbake(IMAGE)
    assert done.returncode == 0, done.output
    with tarfile.open(payload(build)) as archive:
        assert [name for name in archive.getnames() if "afero" in name] == []
    assert list(build.deploy.glob("*.wic")) == []
    assert build.bitbake("afero-ota-boot").returncode != 0


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ('AFERO_OTA_AB = "yes"', 'is "yes", expected 0 or 1'),
        ('AFERO_OTA_DATA_GROW = "yes"', 'AFERO_OTA_DATA_GROW: is "yes", expected 0 or 1'),
        ('AFERO_OTA_IMAGE_FSTYPE = "ext4.gz"', "sysupgrade installs archives only"),
        ('AFERO_OTA_IMAGE_FSTYPE = "tar.xz"\nXZ_INTEGRITY_CHECK = "crc64"', "which busybox does not verify"),
        ('AFERO_OTA_SLOTSIZE = "16M"', "AFERO_OTA_SLOTSIZE"),
        ('AFERO_OTA_BOOT_FDT = "/boot/hub.dtb"', "the image does not have it"),
        ('AFERO_OTA_KEEP = "etc/x"', "is not an absolute, plain path"),
        ('AFERO_OTA_HEALTH_CHECKS = "hubby"', "'hubby' is no health check"),
        ('AFERO_OTA_HEALTH_CHECKS = "process:hubby"', "needs the program pidof, which the image does not have"),
    ],
)
def test_a_setting_that_cannot_work_stops_the_build_and_says_what_to_write(
    scarthgap: Workspace, folder: Path, setting: str, text: str
) -> None:
    build = scarthgap.build(folder / "faults", SLOTS + setting + "\n")
    done = build.bitbake(IMAGE)
    assert done.returncode != 0
    assert text in done.output
    assert "Traceback" not in done.output
