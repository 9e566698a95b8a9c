# SPDX-License-Identifier: MIT
"""AFERO_OTA_AB in real builds: what is in payload and disk image. That it boots is seen in tests/device."""

from __future__ import annotations

import hashlib
import struct
import subprocess
import tarfile

import pytest

IMAGE = "core-image-minimal"
SLOTS = f"""
IMAGE_CLASSES:append:pn-{IMAGE} = " afero-ota"
AFERO_OTA_AB = "1"
# data only: no kernel to be had, but a file to stand where one is looked for
AFERO_OTA_BOOT_PACKAGES = ""
AFERO_OTA_BOOT_KERNEL = "/etc/hello"
AFERO_OTA_SLOT_SIZE = "16M"
AFERO_OTA_DATA_SIZE = "8M"
"""
# wic is a repository of its own there, which the hermetic build does not have
RELEASE = {"scarthgap": "", "wrynose": 'IMAGE_FSTYPES:remove = "wic"\n'}
FOLDER = "./etc/afero-ota"


def built(workspace, folder, more=""):
    build = workspace.build(folder, SLOTS + RELEASE[workspace.release] + more)
    done = build.bitbake(IMAGE)
    assert done.returncode == 0, done.output
    return build


def payload(build):
    return build.deploy / f"{IMAGE}-ota" / "hub_update.bin"


@pytest.fixture(scope="module")
def folders(folder):
    return {}


@pytest.fixture
def build(any_release, folder, folders):
    if any_release.release not in folders:
        folders[any_release.release] = built(any_release, folder / any_release.release)
    return folders[any_release.release]


def test_the_payload_describes_itself_and_brings_nothing_that_only_sysupgrade_may_write(build):
    with tarfile.open(payload(build)) as archive:
        members = {member.name: member for member in archive.getmembers()}
        texts = {
            name: archive.extractfile(f"{FOLDER}/{name}").read().decode()
            for name in ("compatible", "manifest", "listing", "boot-files", "data-paths")
        }
        content = {name: archive.extractfile(name).read() for name, member in members.items() if member.isreg()}
    assert texts["compatible"] == "qemuarm\n"
    assert texts["boot-files"] == "/etc/hello\n"
    assert members["./afero_nv"].linkname == "/data/afero_nv"
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
    hashes = dict(reversed(line.split("  ")) for line in texts["manifest"].splitlines())
    assert hashes == {
        name: hashlib.sha256(data).hexdigest() for name, data in content.items() if name != f"{FOLDER}/manifest"
    }
    assert {member.mtime for member in members.values()} == {members["."].mtime}


def test_two_builds_give_the_same_bytes(build, any_release, folder):
    again = built(any_release, folder / f"{any_release.release}-again")
    assert payload(again).read_bytes() == payload(build).read_bytes()
    assert (again.deploy / "boot.scr").read_bytes() == (build.deploy / "boot.scr").read_bytes()


def test_boot_scr_begins_with_the_boards_part(build):
    text = (build.deploy / "boot.scr").read_bytes()[72:].decode()
    assert text.startswith("mmc=0\nslots=/dev/mmcblk0p\nboot=bootz\nkernel=/etc/hello\nfdt=\ninitramfs=\nargs=")
    assert "BOOT_A_LEFT" in text


def test_the_disk_image_has_the_agreed_layout_and_a_blank_environment(scarthgap, folder, folders):
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


def test_without_the_switch_there_is_none_of_it(scarthgap, folder):
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
        ('AFERO_OTA_IMAGE_FSTYPE = "ext4.gz"', "sysupgrade installs archives only"),
        ('AFERO_OTA_SLOTSIZE = "16M"', "AFERO_OTA_SLOTSIZE"),
        ('AFERO_OTA_BOOT_FDT = "/boot/hub.dtb"', "the image does not have it"),
        ('AFERO_OTA_KEEP = "etc/x"', "is not an absolute, plain path"),
    ],
)
def test_a_setting_that_cannot_work_stops_the_build_with_the_remedy(scarthgap, folder, setting, text):
    build = scarthgap.build(folder / "faults", SLOTS + setting + "\n")
    done = build.bitbake(IMAGE)
    assert done.returncode != 0
    assert text in done.output
    assert "Traceback" not in done.output
