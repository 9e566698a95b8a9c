# SPDX-License-Identifier: MIT
"""The slot files of an image; tests/device/test_scripts.py shows that sysupgrade accepts them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from afero_ota import errors, slot


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "boot").mkdir(parents=True)
    (root / "boot/zImage").write_bytes(b"kernel")
    (root / "etc").mkdir()
    (root / "sbin").mkdir()
    (root / "sbin/init").symlink_to("../bin/busybox")
    return root


def settings(
    root: Path,
    compatible: str = "hub",
    boot_files: Sequence[str] = ("/boot/zImage",),
    keep: Sequence[str] = ("/etc/machine-id",),
) -> None:
    slot.write_settings(str(root), compatible, "/dev/mmcblk1", boot_files, keep)


def faults(call: Callable[..., object], *arguments: object) -> dict[str, str]:
    with pytest.raises(errors.ConfigError) as caught:
        call(*arguments)
    return {fault.field: fault.problem for fault in caught.value.faults}


def test_settings_are_written_in_the_form_that_the_device_reads(root: Path) -> None:
    settings(root, "hub v2")
    assert (root / "etc/afero-ota/compatible").read_text() == "hub v2\n"
    assert (root / "etc/afero-ota/boot-files").read_text() == "/boot/zImage\n"
    assert (root / "etc/afero-ota/keep").read_text() == "/etc/machine-id\n"
    assert (root / "etc/fw_env.config").read_text() == "/dev/mmcblk1 0x200000 0x4000\n/dev/mmcblk1 0x280000 0x4000\n"


@pytest.mark.parametrize(
    "path", ["/etc", "/etc/afero-ota/complete", "/etc/full_ota_record.json", "/etc/ota_type_5.hdr"]
)
def test_files_that_identify_a_system_cannot_be_kept(root: Path, path: str) -> None:
    assert "must not be replaced" in faults(settings, root, "hub", (), (path,))["AFERO_OTA_KEEP"]


def test_all_faults_are_reported_together(root: Path) -> None:
    found = faults(settings, root, "two\nlines", ("/boot/zImage", "/boot/hub.dtb"), ("etc/x", "/etc/../y", "/"))
    assert set(found) == {"AFERO_OTA_COMPATIBLE", "/boot/hub.dtb", "AFERO_OTA_KEEP"}
    assert "does not have it" in found["/boot/hub.dtb"]
    assert not (root / "etc/afero-ota").exists()


@pytest.mark.parametrize(
    ("disk", "number", "name"),
    [
        ("/dev/mmcblk0", 4, "/dev/mmcblk0p4"),
        ("/dev/nvme0n1", 4, "/dev/nvme0n1p4"),
        ("/dev/sda", 4, "/dev/sda4"),
        ("/dev/sda", "", "/dev/sda"),
        ("/dev/mmcblk1", "", "/dev/mmcblk1p"),
    ],
)
def test_partitions_are_named_as_in_linux(disk: str, number: int | str, name: str) -> None:
    assert slot.partition(disk, number) == name


def test_data_paths_become_links_and_their_contents_templates_and_a_second_run_changes_nothing(root: Path) -> None:
    (root / "var/lib/hub").mkdir(parents=True)
    (root / "var/lib/hub/settings").write_text("factory")
    (root / "etc/fstab").write_text("proc /proc proc defaults 0 0\n/dev/old /data ext4 defaults 0 0\n")
    for _ in range(2):
        slot.use_data_partition(str(root), "/dev/mmcblk0p4", "/data", ["/afero_nv", "/var/lib/hub"])
    assert os.readlink(root / "afero_nv") == "/data/afero_nv"
    assert os.readlink(root / "var/lib/hub") == "/data/var/lib/hub"
    assert (root / "usr/share/afero-ota/data/var/lib/hub/settings").read_text() == "factory"
    assert (root / "etc/afero-ota/data-paths").read_text() == "/afero_nv\n/var/lib/hub\n"
    lines = (root / "etc/fstab").read_text().splitlines()
    assert lines == ["proc /proc proc defaults 0 0", "/dev/mmcblk0p4 /data ext4 defaults,noatime,nofail 0 2"]
    assert set(faults(slot.use_data_partition, str(root), "/dev/x", "/data", ["relative"])) == {"AFERO_OTA_DATA_PATHS"}


def test_manifest_and_listing_describe_everything_but_the_factory_only_files(root: Path) -> None:
    settings(root)
    (root / "etc/afero-ota/hdr").mkdir()
    (root / "etc/afero-ota/hdr/ota_type_5.hdr").write_bytes(b"header")
    (root / "etc/ota_type_5.hdr").write_bytes(b"header")
    (root / "etc/shadow").write_text("x")
    (root / "etc/shadow").chmod(0o640)
    assert slot.write_contents(str(root)) == []
    uid, gid = os.geteuid(), (root / "etc/shadow").stat().st_gid
    listing = (root / "etc/afero-ota/listing").read_text().splitlines()
    assert f"81a0 {uid} {gid} ./etc/shadow" in listing
    assert "link - - ./sbin/init -> ../bin/busybox" in listing
    assert not [line for line in listing if "hdr" in line or "complete" in line]
    lines = [line.partition("  ") for line in (root / "etc/afero-ota/manifest").read_text().splitlines()]
    manifest = {path: digest for digest, _, path in lines}
    assert manifest["./boot/zImage"] == hashlib.sha256(b"kernel").hexdigest()
    text = (root / "etc/afero-ota/listing").read_bytes()
    assert manifest["./etc/afero-ota/listing"] == hashlib.sha256(text).hexdigest()
    regular = {line.split(" ", 3)[3] for line in listing if line.startswith("8")}
    assert regular - set(manifest) == {"./etc/afero-ota/manifest"}
    assert (root / "etc/afero-ota/complete").exists()


def test_equal_trees_give_equal_files_with_equal_times(root: Path) -> None:
    settings(root)
    os.utime(root, (1000, 1000))
    slot.write_contents(str(root))
    first = {path: (path.read_bytes(), path.stat().st_mtime) for path in (root / "etc/afero-ota").iterdir()}
    slot.write_contents(str(root))
    assert {path: (path.read_bytes(), path.stat().st_mtime) for path in first} == first
    assert {path.stat().st_mtime for path in first if path.name in ("manifest", "listing", "complete")} == {1000}


def test_files_that_the_device_would_refuse_fail_the_build(root: Path) -> None:
    os.mkfifo(root / "etc/fifo")
    (root / "etc/a -> b").write_text("x")
    (root / "etc/line\nend").write_text("x")
    (root / "etc/o'clock").write_text("x")
    (root / "etc/five o'clock").symlink_to("o'clock")
    (root / "etc/up").symlink_to("../../outside")
    os.link(root / "sbin/init", root / "sbin/telinit", follow_symlinks=False)
    (root / "etc/fine").symlink_to("../sbin/init")
    (root / "etc/absolute").symlink_to("/run/resolv.conf")
    found = faults(slot.write_contents, str(root))
    assert set(found) == {
        "/etc/fifo",
        "'/etc/a -> b'",
        r"'/etc/line\nend'",
        '"/etc/five o\'clock"',
        "/etc/up",
        "/sbin/init",
        "/sbin/telinit",
    }
    assert not (root / "etc/afero-ota/complete").exists()
