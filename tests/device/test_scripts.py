# SPDX-License-Identifier: MIT
"""sysupgrade itself, on the bench for the scripts."""

from __future__ import annotations

import gzip
import lzma
import os
import stat
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from afero_ota import slot
from shell_bench import (
    HEADER,
    NAME,
    OLD_HEADER,
    Hub,
    archive_of,
    bring,
    changed,
    flipped,
    hold_the_lock,
    image_of,
    make_tree,
    member,
    needs_root,
    run,
)

pytestmark = needs_root


# ---- a good update ---------------------------------------------------------------------------------------------------


def test_a_good_image_is_installed_completed_and_switched_to_in_this_order(
    hub: Hub, good: bytes, tmp_path: Path
) -> None:
    status, said = hub.upgrade(good)
    assert status == 0, said
    assert (hub.root / "rebooted").exists()
    env = hub.env()
    assert (env["BOOT_ORDER"], env["BOOT_A_LEFT"], env["BOOT_B_LEFT"]) == ("B A", "3", "3")
    assert env["bootcmd"] == "run me"
    assert hub.header() == OLD_HEADER
    steps = [
        "checking",
        "goes out of use",
        "formatting",
        "unpacking",
        "flushing",
        "verifying",
        "completing",
        "switching",
        "DONE",
    ]
    places = [said.index(step) for step in steps]
    assert places == sorted(places), said
    with hub.other_slot(tmp_path / "b") as tree:
        assert (tree / f"etc/{NAME}.hdr").read_bytes() == HEADER
        assert (tree / f"etc/afero-ota/hdr/{NAME}.hdr").read_bytes() == HEADER
        assert (tree / "etc/afero-ota/complete").read_text().strip() == env["AFERO_OTA_TRYING"]
        info = (tree / "usr/bin/su").stat()
        assert (stat.S_IMODE(info.st_mode), info.st_nlink) == (0o4755, 2)
        owned = (tree / "lost/owned").stat()
        assert (owned.st_uid, owned.st_gid) == (33, 34)
        assert os.readlink(tree / "afero_nv") == "/data/afero_nv"
        assert (tree / "etc/machine-id").read_text() == "0123\n"
        assert not (tree / "etc/ssh/key").exists()
    features = run("dumpe2fs", "-h", hub.loop).split("Filesystem features:")[1].splitlines()[0]
    assert not {"64bit", "metadata_csum", "metadata_csum_seed", "orphan_file"} & set(features.split()), features


def xz(content: bytes) -> bytes:
    """As OE-Core does it: busybox verifies no other check."""
    return lzma.compress(content, check=lzma.CHECK_CRC32)


def zstd(content: bytes) -> bytes:
    return subprocess.run(["zstd", "-cq"], input=content, stdout=subprocess.PIPE, check=True).stdout


PACKED: dict[str, Callable[[bytes], bytes]] = {"tar": lambda tar: tar, "xz": xz, "zstd": zstd}


@pytest.mark.parametrize("kind", PACKED)
def test_other_kinds_of_archive_are_installed_too(hub: Hub, good: bytes, kind: str) -> None:
    if kind == "zstd":
        bring(hub.root, "/usr/bin/zstd")
    status, said = hub.upgrade(PACKED[kind](gzip.decompress(good)))
    assert status == 0, said


@pytest.mark.parametrize("kind", ["xz", "zstd"])
def test_damage_in_another_kind_of_archive_is_found_before_the_slot_is_touched(
    hub: Hub, good: bytes, kind: str
) -> None:
    if kind == "zstd":
        bring(hub.root, "/usr/bin/zstd")
    image = PACKED[kind](gzip.decompress(good))
    before = hub.state()[:2]
    for damaged in (flipped(image), image[:-1], image[: len(image) * 2 // 3]):
        status, said = hub.upgrade(damaged)
        assert (status, f"not an intact {kind} tar archive" in said) == (5, True), said
    assert hub.state()[:2] == before


def test_a_kind_that_the_device_has_no_program_for_is_refused_by_name(hub: Hub) -> None:
    before = hub.state()[:2]
    status, said = hub.upgrade(b"\x28\xb5\x2f\xfd" + bytes(5000))
    assert status == 5
    assert "no program zstd" in said
    assert hub.state()[:2] == before


# ---- refusals --------------------------------------------------------------------------------------------------------


def with_file(name: str) -> Callable[[bytes], bytes]:
    """What adds a file to an image."""
    return lambda image: changed(image, add=[member(name, content=b"x")])


REFUSED = {
    "flipped bit": (5, "not an intact gzip tar archive", flipped),
    "truncated": (5, "not an intact gzip tar archive", lambda image: image[: len(image) * 2 // 3]),
    "last byte missing": (5, "not an intact gzip tar archive", lambda image: image[:-1]),
    "empty": (5, "empty", lambda image: b""),
    "a picture": (5, "neither a tar archive", lambda image: b"\x89PNG\r\n\x1a\n" + bytes(9000)),
    "no archive": (5, "not an intact gzip tar archive", lambda image: gzip.compress(os.urandom(90000))),
    "marker": (5, "complete, which only sysupgrade may write", with_file("./etc/afero-ota/complete")),
    "header": (5, f"{NAME}.hdr, which only sysupgrade may write", with_file(f"./etc/{NAME}.hdr")),
    "reference header": (
        5,
        "hdr, which only sysupgrade",
        lambda image: changed(image, add=[member("./etc/afero-ota/hdr", tarfile.DIRTYPE)]),
    ),
    "dots in a name": (5, "a name that", with_file("./etc/../../evil")),
    "absolute name": (5, "does not start with ./", with_file("/etc/evil")),
    "device node": (5, "device node", lambda image: changed(image, add=[member("./etc/disk", tarfile.BLKTYPE)])),
    "fifo": (5, "special file", lambda image: changed(image, add=[member("./etc/fifo", tarfile.FIFOTYPE)])),
    "link out": (
        5,
        "leads out of the image",
        lambda image: changed(image, add=[member("./etc/out", tarfile.SYMTYPE, "../../evil")]),
    ),
    "through a link": (
        5,
        "below something that is no directory",
        lambda image: changed(
            image, add=[member("./etc/x", tarfile.SYMTYPE, "/etc"), member("./etc/x/evil", content=b"x")]
        ),
    ),
    "twice": (5, "the same name twice", with_file("./boot/zImage")),
    "hard link out": (
        5,
        "hard link",
        lambda image: changed(image, add=[member("./etc/x", tarfile.LNKTYPE, "/etc/passwd")]),
    ),
    "one file more": (5, "the listing", with_file("./etc/extra")),
    "one file less": (5, "the listing", lambda image: changed(image, drop=["./usr/lib/name with blanks"])),
    "no kernel": (5, "no /boot/zImage", lambda image: changed(image, drop=["./boot/zImage"])),
    "no init": (5, "no /sbin/init", lambda image: changed(image, drop=["./sbin/init"])),
    "no manifest": (5, "no /etc/afero-ota/manifest", lambda image: changed(image, drop=["./etc/afero-ota/manifest"])),
    "shortened manifest": (
        5,
        "the manifest in the image",
        lambda image: changed(image, {"./etc/afero-ota/manifest": lambda text: b"".join(text.splitlines(True)[:-1])}),
    ),
    "no version": (
        5,
        "no versionNumber",
        lambda image: changed(image, {"./etc/full-ota-record.json": lambda text: b"{}"}),
    ),
    "other hardware": (
        6,
        "for 'toaster', this device is 'bench-hub'",
        lambda image: changed(image, {"./etc/afero-ota/compatible": lambda text: b"toaster\n"}),
    ),
    "older": (
        8,
        "versionNumber 99, older than the running 100",
        lambda image: changed(image, {"./etc/full-ota-record.json": lambda text: text.replace(b"101", b"99")}),
    ),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_must_not_be_installed_is_refused_and_nothing_is_changed(hub: Hub, good: bytes, fault: str) -> None:
    expected, text, make = REFUSED[fault]
    environment, other, _, data = hub.state()
    status, said = hub.upgrade(make(good))
    assert (status, text in said) == (expected, True), said
    assert hub.state() == (environment, other, OLD_HEADER, data)
    assert not (hub.root / "rebooted").exists()
    assert (hub.root / f"tmp/{NAME}.img").exists()


def test_an_image_without_header_is_refused(hub: Hub, good: bytes) -> None:
    before = hub.state()[:2]
    for header in (None, b""):
        status, said = hub.upgrade(good, header)
        assert status == 5
        assert "no version header" in said
    assert hub.state()[:2] == before


def test_an_image_that_does_not_fit_is_refused(hub: Hub, tmp_path: Path) -> None:
    tree = tmp_path / "large"
    make_tree(tree)
    with (tree / "usr/lib/large").open("wb") as stream:
        stream.truncate(44 << 20)
    slot.write_contents(str(tree))
    archive_of(tree, tmp_path / "large.tar")
    before = hub.state()[:2]
    status, said = hub.upgrade(gzip.compress((tmp_path / "large.tar").read_bytes(), 1))
    assert status == 7
    assert "KiB, slot B has 49152 KiB" in said
    assert hub.state()[:2] == before


def test_an_older_version_is_installed_once_when_a_person_says_so(hub: Hub, tmp_path: Path) -> None:
    image = image_of(tmp_path, number="99")
    hub.put("data/afero-ota/allow-downgrade", "")
    status, said = hub.upgrade(image)
    assert status == 0, said
    assert not (hub.root / "data/afero-ota/allow-downgrade").exists()


def test_versions_are_compared_as_numbers_of_any_length(hub: Hub, tmp_path: Path) -> None:
    hub.put("etc/full-ota-record.json", '{"versionNumber":"9223372036854775806"}')
    assert hub.upgrade(image_of(tmp_path, number="9223372036854775805"))[0] == 8
    assert hub.upgrade(image_of(tmp_path, number="9223372036854775807"))[0] == 0


def test_a_device_that_is_not_ready_says_why_and_changes_nothing(hub: Hub, good: bytes) -> None:
    def refused(text: str) -> None:
        before = hub.state()[:2]
        status, said = hub.upgrade(good)
        assert (status, text in said) == (4, True), said
        assert hub.state()[:2] == before

    hub.set_env(AFERO_OTA_TRYING="f" * 64)
    refused("not confirmed yet")
    hub.set_env(AFERO_OTA_TRYING="", BOOT_ORDER="B A")
    refused("not confirmed yet")
    hub.set_env(BOOT_ORDER="A B")
    hub.put("cmdline", "console=x root=/dev/slot-a\n")
    refused("names no slot")
    hub.put("cmdline", "rauc.slot=B root=/dev/slot-a\n")
    refused("the root device is '/dev/slot-a'")
    hub.put("cmdline", "rauc.slot=A root=/dev/slot-a\n")
    (hub.root / "env.img").write_bytes(os.urandom(0x10000))
    refused("environment cannot be read")


def test_a_slot_that_is_mounted_is_not_touched(hub: Hub, good: bytes) -> None:
    before = hub.state()[:2]
    status, said = hub.upgrade(good, before=f"mkdir -p busy && mount -o ro {hub.loop} busy")
    assert (status, "is mounted" in said) == (4, True), said
    assert hub.state()[:2] == before


def test_one_that_was_killed_is_no_obstacle_for_the_next(hub: Hub, good: bytes) -> None:
    (hub.root / f"tmp/{NAME}.img").write_bytes(good)
    (hub.root / f"tmp/{NAME}.hdr").write_bytes(HEADER)
    killed = f"/sbin/sysupgrade /tmp/{NAME}.img >/out & while ! grep -q verifying /out; do :; done; kill -9 $!; wait $!"
    status, said = hub.inside(
        f"{killed}; sleep 1; ls -l /run/afero-ota; grep slot /proc/mounts; /sbin/sysupgrade /tmp/{NAME}.img"
    )
    assert "lock -> " in said, said
    assert status == 0, said
    assert not (hub.root / "run/afero-ota/lock").is_symlink()
    assert hub.env()["BOOT_ORDER"] == "B A"


def test_two_at_once_install_once(hub: Hub, good: bytes) -> None:
    (hub.root / f"tmp/{NAME}.img").write_bytes(good)
    (hub.root / f"tmp/{NAME}.hdr").write_bytes(HEADER)
    both = f"for i in 1 2; do ( /sbin/sysupgrade /tmp/{NAME}.img >/out$i; echo $? >/status$i ) & done; wait"
    hub.inside(both)
    assert sorted((hub.root / f"status{i}").read_text().strip() for i in (1, 2)) == ["0", "3"]
    assert hub.env()["BOOT_ORDER"] == "B A"


def test_the_header_is_the_running_system_s_again_however_sysupgrade_ends(hub: Hub, good: bytes) -> None:
    status, said = hub.inside("/sbin/sysupgrade /tmp/no.img")
    assert (status, hub.header()) == (2, OLD_HEADER), said
    (hub.root / f"etc/{NAME}.hdr").write_bytes(HEADER)
    hold_the_lock(hub)
    status, said = hub.upgrade(good)
    assert (status, hub.header()) == (3, OLD_HEADER), said


# runs as the program whose name it takes, in the middle of an update, and puts the next one in its place
MEANWHILE = """#!/bin/sh
echo next >/tmp/next && mv /tmp/next /tmp/{name}.hdr
echo next >/tmp/next && mv /tmp/next /tmp/{name}.img
exec /sbin/{program}.real "$@"
"""


def meanwhile(hub: Hub, program: str) -> None:
    """Let the next update arrive when sysupgrade calls the program."""
    (hub.root / f"sbin/{program}").rename(hub.root / f"sbin/{program}.real")
    hub.put(f"sbin/{program}", MEANWHILE.format(name=NAME, program=program), 0o755)


def test_the_next_update_that_arrives_during_verification_is_left_alone(hub: Hub, good: bytes, tmp_path: Path) -> None:
    hub.settings("FREE_IMAGE=1\n")
    meanwhile(hub, "e2fsck")
    status, said = hub.upgrade(good)
    assert status == 0, said
    with hub.other_slot(tmp_path / "b") as tree:
        assert (tree / f"etc/{NAME}.hdr").read_bytes() == HEADER
        assert (tree / f"etc/afero-ota/hdr/{NAME}.hdr").read_bytes() == HEADER
    assert (hub.root / f"tmp/{NAME}.img").read_text() == (hub.root / f"tmp/{NAME}.hdr").read_text() == "next\n"


def test_an_image_that_is_replaced_while_it_is_checked_is_refused_and_the_next_one_kept(hub: Hub, good: bytes) -> None:
    hub.settings("FREE_IMAGE=1\n")
    (hub.root / "sbin/mkfs.ext4").chmod(0o755)
    meanwhile(hub, "mkfs.ext4")
    before = hub.state()[:2]
    status, said = hub.upgrade(good)
    assert (status, "was replaced while it was checked" in said) == (5, True), said
    assert hub.state()[:2] == before
    assert (hub.root / f"tmp/{NAME}.img").read_text() == "next\n"


def test_no_room_in_run_is_a_refusal_and_never_a_verification_that_passes(hub: Hub, good: bytes) -> None:
    before = hub.state()[:2]
    for pages in (1, 2, 3, 4, 6):
        (hub.root / f"etc/{NAME}.hdr").write_bytes(HEADER)
        status, said = hub.upgrade(good, before=f"mount -t tmpfs -o size={pages * 4}k tmpfs run")
        assert status in (4, 5), said
        assert hub.state()[:2] == before
        assert hub.header() == OLD_HEADER


def test_a_device_short_of_memory_gets_it_back(hub: Hub, good: bytes) -> None:
    hub.settings("FREE_IMAGE=1\n")
    assert hub.upgrade(flipped(good))[0] == 5
    assert list((hub.root / "tmp").iterdir()) == []


# ---- failures after the slot was touched -----------------------------------------------------------------------------


def lying_listing(image: bytes) -> bytes:
    return changed(
        image,
        {"./etc/afero-ota/listing": lambda text: text.replace(b"89ed 0 0 ./usr/bin/su", b"81ed 0 0 ./usr/bin/su")},
    )


def test_contents_modes_owners_and_links_are_compared_with_what_was_written(
    hub: Hub, good: bytes, tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    make_tree(tree)
    slot.write_contents(str(tree))
    (tree / "usr/lib/name with blanks").write_text("y")
    archive_of(tree, tmp_path / "content.tar")
    (tree / "usr/lib/name with blanks").write_text("x")
    os.chown(tree / "lost/owned", 33, 35)
    archive_of(tree, tmp_path / "owner.tar")
    os.chown(tree / "lost/owned", 33, 34)
    (tree / "usr/bin/su").chmod(0o755)
    archive_of(tree, tmp_path / "mode.tar")
    for name, text in (("content", "name with blanks"), ("owner", "./lost/owned"), ("mode", "./usr/bin/")):
        (hub.root / f"etc/{NAME}.hdr").write_bytes(HEADER)
        status, said = hub.upgrade(tmp_path / f"{name}.tar")
        assert (status, text in said, "stays out of use" in said) == (21, True, True), said
        env = hub.env()
        assert (env["BOOT_ORDER"], env["BOOT_A_LEFT"], env["BOOT_B_LEFT"]) == ("A", "3", "0")
        assert "AFERO_OTA_TRYING" not in env
        assert hub.header() == OLD_HEADER
        assert hub.mark(tmp_path / name) is None
        assert not (hub.root / "rebooted").exists()
    # and the next good one gets in
    status, said = hub.upgrade(good)
    assert status == 0, said
    assert hub.env()["BOOT_ORDER"] == "B A"


def test_a_link_that_points_elsewhere_than_the_listing_says_is_found_before_the_slot_is_touched(
    hub: Hub, good: bytes
) -> None:
    before = hub.state()[:2]
    image = changed(good, {"./etc/afero-ota/listing": lambda text: text.replace(b"-> ../bin/su", b"-> ../bin/so")})
    status, said = hub.upgrade(image)
    assert (status, "./usr/lib/link" in said) == (5, True), said
    assert hub.state()[:2] == before


def test_a_kept_file_never_goes_through_a_link_of_the_new_system(hub: Hub, tmp_path: Path) -> None:
    hub.put("etc/ssh/key", "secret")
    with (hub.root / "etc/afero-ota/keep").open("a") as keep:
        keep.write("/\n/boot/\n/etc\n/etc/afero-ota/compatible\n/boot/../etc/target\n")
    hub.put("etc/target/untouched", "x")
    tree = tmp_path / "tree"
    make_tree(tree)
    (tree / "etc/ssh").rmdir()
    (tree / "etc/ssh").symlink_to("/etc/target")
    slot.write_contents(str(tree))
    archive_of(tree, tmp_path / "image.tar")
    status, said = hub.upgrade(tmp_path / "image.tar")
    assert status == 0, said
    for path in ("/etc/ssh/key", "/", "/boot/", "/etc", "/etc/afero-ota/compatible", "/boot/../etc/target"):
        assert f"{path} is not kept" in said
    assert [path.name for path in (hub.root / "etc/target").iterdir()] == ["untouched"]


def test_what_is_mounted_over_a_kept_file_is_not_of_this_slot_and_stays_here(
    hub: Hub, good: bytes, tmp_path: Path
) -> None:
    status, said = hub.upgrade(good, before="echo memory > run/id && mount --bind run/id etc/machine-id")
    assert (status, "/etc/machine-id is not kept: something is mounted there" in said) == (0, True), said
    with hub.other_slot(tmp_path / "b") as tree:
        assert (tree / "etc/machine-id").read_text() == "factory\n"


def test_a_kept_file_may_be_written_to_during_the_update(hub: Hub, good: bytes, tmp_path: Path) -> None:
    """Every unmount is followed by a write to the original."""
    hub.put("etc/ssh/key", "before\n")
    (hub.root / "bin/umount").unlink()
    hub.put("bin/umount", '#!/bin/sh\necho more >>/etc/ssh/key\nexec /bin/busybox umount "$@"\n', 0o755)
    status, said = hub.upgrade(good)
    assert status == 0, said
    with hub.other_slot(tmp_path / "b") as tree:
        # the first one was that of the verification
        kept = (tree / "etc/ssh/key").read_text()
    assert kept.startswith("before\nmore\n") and len(kept) < len((hub.root / "etc/ssh/key").read_text())


def test_the_other_slot_is_out_of_reach_of_users_while_it_is_written(hub: Hub, good: bytes) -> None:
    look = "grep afero-ota/slot /proc/mounts >>/mounts && stat -c %a /run/afero-ota >>/modes"
    (hub.root / "bin/sync").unlink()
    hub.put("bin/sync", f"#!/bin/sh\n{look}\nexec /bin/busybox sync\n", 0o755)
    hub.put("run/afero-ota/old", "a folder of an earlier version, open to all")
    status, said = hub.upgrade(good)
    assert status == 0, said
    mounts = (hub.root / "mounts").read_text().splitlines()
    assert len(mounts) >= 3
    for line in mounts:
        assert {"nosuid", "nodev", "noexec"} <= set(line.split()[3].split(",")), line
    assert set((hub.root / "modes").read_text().split()) == {"700"}
