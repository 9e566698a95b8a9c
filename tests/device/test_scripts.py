# SPDX-License-Identifier: MIT
"""The scripts of afero-sysupgrade, run by busybox in a root of its own, with a real block device as the other slot, a real U-Boot
environment, mkfs.ext4, e2fsck and tar. What U-Boot makes of it, and power cuts, are tested in QEMU.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import lzma
import os
import shutil
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest

from afero_ota import slot

FILES = Path(__file__).resolve().parents[2] / "meta-afero-ota" / "recipes-core" / "afero-sysupgrade" / "files"
# what OE-Core's configuration of busybox has, as far as the scripts could use it
APPLETS = (
    "[ ash awk cat chmod chown cmp cp cut date dd df echo env expr false find grep gunzip gzip head id kill ln logger ls mkdir "
    "mknod mount mv printf ps pwd readlink rm rmdir sed seq sh sha256sum sleep sort stat sync tail tar tee test touch tr true "
    "umount uname uniq wc xargs xzcat zcat"
)
PROGRAMS = ("/sbin/mkfs.ext4", "/sbin/e2fsck", "/usr/bin/fw_printenv", "/usr/bin/fw_setenv")
COMPATIBLE, HEADER, OLD_HEADER = "bench-hub", b"\x05" + b"new" * 71, b"\x05" + b"old" * 71
NAME = "ota_type_5"
DEFAULTS = "BOOT_ORDER=A B\nBOOT_A_LEFT=3\nBOOT_B_LEFT=3\nbootcmd=run me\n"

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not os.path.exists("/dev/loop-control"), reason="mounts and loop devices need root"
)


def run(*command, **more):
    return subprocess.run(
        command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more
    ).stdout


@pytest.fixture(scope="module")
def tools(tmp_path_factory):
    """A folder with busybox, e2fsprogs and libubootenv, and the libraries that they need."""
    root = tmp_path_factory.mktemp("tools")
    for folder in ("bin", "sbin", "usr/bin", "usr/sbin"):
        (root / folder).mkdir(parents=True)
    busybox = shutil.which("busybox")
    assert busybox, "this machine has no busybox; run: scripts/setup device"
    for program in (busybox, *PROGRAMS):
        place = root / ("bin/busybox" if program == busybox else program[1:])
        shutil.copy(program, place)
        libraries = subprocess.run(
            ["ldd", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ).stdout
        for word in libraries.split():
            if word.startswith("/"):
                (root / word[1:]).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(word, root / word[1:])
    for applet in APPLETS.split():
        (root / "bin" / applet).symlink_to("busybox")
    return root


class Hub:
    """A root in which slot A runs; the other slot is a loop device of its own."""

    def __init__(self, folder: Path, tools: Path):
        self.root, self.slot = folder / "root", folder / "slot-b.img"
        shutil.copytree(tools, self.root, symlinks=True)
        for name in (
            "dev",
            "proc",
            "sys",
            "run",
            "tmp",
            "data",
            "etc/afero-ota/health.d",
            "usr/lib/afero-ota",
            "var/lock",
        ):
            (self.root / name).mkdir(parents=True)
        for name in FILES.iterdir():
            place = {"sysupgrade": "sbin", "slots.sh": "usr/lib/afero-ota", "sysupgrade.conf": "etc/afero-ota"}
            shutil.copy(name, self.root / place.get(name.name, "usr/sbin") / name.name)
        # leaves a mark, and ends the caller as a real one would
        self.put("usr/sbin/reboot", "#!/bin/sh\necho >/rebooted\nkill $PPID\n", 0o755)
        self.put("etc/afero-ota/compatible", COMPATIBLE + "\n")
        self.put("etc/afero-ota/boot-files", "/boot/zImage\n")
        self.put("etc/afero-ota/keep", "/etc/machine-id\n/etc/ssh/key\n")
        self.put("etc/afero-ota/data-paths", "/afero_nv\n/var/lib/hub\n")
        self.put("etc/machine-id", "0123\n")
        self.put("etc/full-ota-record.json", json.dumps({"type": 5, "versionNumber": "100"}, indent=4))
        self.put(f"etc/afero-ota/hdr/{NAME}.hdr", OLD_HEADER)
        # otamgr has been here before sysupgrade
        self.put(f"etc/{NAME}.hdr", HEADER)
        self.put("cmdline", "console=x rauc.slot=A root=/dev/slot-a panic=2\n")
        self.put("etc/fw_env.config", "/env.img 0x0 0x4000\n/env.img 0x8000 0x4000\n")
        (self.root / "env.img").write_bytes(bytes(0x10000))
        self.put("defaults", DEFAULTS)
        self.inside("fw_setenv -f /defaults BOOT_ORDER 'A B'")
        with self.slot.open("wb") as stream:
            stream.truncate(48 << 20)
        run("mkfs.ext4", "-q", "-F", str(self.slot))
        self.loop = run("losetup", "--find", "--show", str(self.slot)).strip()
        self.settings(f"SLOT_A=/dev/slot-a\nSLOT_B={self.loop}\n")

    def close(self):
        run("losetup", "--detach", self.loop)

    def settings(self, text):
        with (self.root / "etc/afero-ota/sysupgrade.conf").open("a") as stream:
            stream.write(text)

    def put(self, name, content, mode=0o644):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path.chmod(mode)

    def inside(self, command, before=""):
        """Run a command in this root, in namespaces that take every mount and process with them."""
        mounts = (
            f"cd {self.root} && mount --rbind /dev dev && mount -t proc proc proc && mount --bind cmdline proc/cmdline && "
            f'mount -t sysfs -o ro sysfs sys && {before or "true"} && exec chroot . /bin/sh -c "$0\nexit \\$?"'
        )
        done = subprocess.run(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", mounts, command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        )
        return done.returncode, done.stdout

    def upgrade(self, image: Path | bytes | None = None, header: bytes | None = HEADER, before=""):
        """As otamgr does it: image and header in /tmp, then the script. Gives its status and everything it said."""
        if image is not None:
            content = image if isinstance(image, bytes) else image.read_bytes()
            (self.root / f"tmp/{NAME}.img").write_bytes(content)
        if header is not None:
            (self.root / f"tmp/{NAME}.hdr").write_bytes(header)
        return self.inside(f"/sbin/sysupgrade /tmp/{NAME}.img", before)

    def env(self):
        _, text = self.inside("fw_printenv")
        return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)

    def set_env(self, **values):
        self.put("script", "".join(f"{name}={value}\n" for name, value in values.items()))
        status, said = self.inside("fw_setenv -s /script")
        assert status == 0, said

    def state(self):
        """What a refused update must leave as it is: environment, other slot, header, data."""
        data = {str(path): path.read_bytes() for path in (self.root / "data").rglob("*") if path.is_file()}
        return (self.root / "env.img").read_bytes(), self.slot.read_bytes(), self.header(), data

    def header(self):
        path = self.root / f"etc/{NAME}.hdr"
        return path.read_bytes() if path.exists() else None

    @contextlib.contextmanager
    def other_slot(self, folder):
        """The other slot's tree, mounted to be read."""
        folder.mkdir()
        run("mount", "-o", "ro", str(self.loop), str(folder))
        try:
            yield folder
        finally:
            run("umount", str(folder))

    def mark(self, folder):
        """The mark of completeness in the other slot, or None."""
        with self.other_slot(folder) as tree:
            path = tree / "etc/afero-ota/complete"
            return path.read_text().strip() if path.exists() else None


@pytest.fixture
def hub(tmp_path, tools):
    hub = Hub(tmp_path / "hub", tools)
    yield hub
    hub.close()


# ---- images ----------------------------------------------------------------------------------------------------------


def make_tree(root: Path, number="101", compatible=COMPATIBLE):
    """A small system with everything that is hard to restore."""
    for name in ("boot", "sbin", "etc/ssh", "usr/bin", "usr/lib", "tmp", "lost"):
        (root / name).mkdir(parents=True)
    (root / "boot/zImage").write_bytes(os.urandom(200_000))
    (root / "sbin/init").write_text("#!/bin/sh\n")
    (root / "sbin/init").chmod(0o755)
    (root / "usr/bin/su").write_text("su")
    (root / "usr/bin/su").chmod(0o4755)
    os.link(root / "usr/bin/su", root / "usr/bin/other-su")
    (root / "tmp").chmod(0o1777)
    (root / "usr/lib/name with blanks").write_text("x")
    (root / "usr/lib/systemd\\x2dunit.slice").write_text("x")
    (root / "usr/lib/Főtanúsítvány.crt").write_text("x")
    (root / "usr/lib/Fötanúsítvány.crt").write_text("y")
    (root / ("usr/lib/" + "long" * 50)).write_text("x")
    (root / "usr/lib/link").symlink_to("../bin/su")
    (root / "etc/mtab").symlink_to("/proc/mounts")
    (root / "lost/owned").write_text("x")
    os.chown(root / "lost/owned", 33, 34)
    (root / "etc/machine-id").write_text("factory\n")
    (root / "etc/full-ota-record.json").write_text(json.dumps({"type": 5, "versionNumber": number}, indent=4))
    slot.write_settings(str(root), compatible, "/dev/mmcblk0", ["/boot/zImage"], ["/etc/machine-id"])
    slot.use_data_partition(str(root), "/dev/mmcblk0p4", "/data", ["/afero_nv"])


def archive_of(root: Path, to: Path, *options):
    excluded = [f"--exclude={name}" for name in slot.FACTORY_ONLY]
    run(
        "tar",
        *excluded,
        *options,
        "--sort=name",
        "--format=posix",
        "--numeric-owner",
        "-cf",
        str(to),
        "-C",
        str(root),
        ".",
    )


def image_of(folder: Path, **more) -> bytes:
    tree = folder / f"tree{len(list(folder.iterdir()))}"
    make_tree(tree, **more)
    slot.write_contents(str(tree))
    archive_of(tree, folder / "image.tar")
    return gzip.compress((folder / "image.tar").read_bytes(), 1)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return image_of(tmp_path_factory.mktemp("good"))


def changed(image: bytes, change=None, add=(), drop=()) -> bytes:
    """The archive again, with members changed, left out or added."""
    result = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(image)) as old,
        tarfile.open(fileobj=result, mode="w:gz", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in old.getmembers():
            content = old.extractfile(member).read() if member.isreg() else b""
            member.name = "." if member.name == "." else f"./{member.name.removeprefix('./')}"
            if member.name in drop:
                continue
            if change and member.name in change:
                content = change[member.name](content)
                member.size = len(content)
            new.addfile(member, io.BytesIO(content))
        for member, content in add:
            member.size = len(content)
            new.addfile(member, io.BytesIO(content))
    return result.getvalue()


def member(name, kind=tarfile.REGTYPE, target="", content=b""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, content


# ---- a good update ---------------------------------------------------------------------------------------------------


def test_a_good_image_is_installed_completed_and_switched_to_in_this_order(hub, good, tmp_path):
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


@pytest.mark.parametrize("pack", [lambda tar: tar, lzma.compress], ids=["tar", "xz"])
def test_other_kinds_of_archive_are_installed_too(hub, good, pack):
    status, said = hub.upgrade(pack(gzip.decompress(good)))
    assert status == 0, said


def test_a_kind_that_the_device_has_no_program_for_is_refused_by_name(hub):
    before = hub.state()[:2]
    for start, program in ((b"\x28\xb5\x2f\xfd", "zstd"), (b"hsqs", "rauc"), (b"070701", "swupdate")):
        status, said = hub.upgrade(start + bytes(5000))
        assert status == 5
        assert f"no program {program}" in said
    assert hub.state()[:2] == before


# ---- refusals --------------------------------------------------------------------------------------------------------


def with_file(name):
    return lambda image: changed(image, add=[member(name, content=b"x")])


def flipped(image):
    middle = len(image) // 2
    return image[:middle] + bytes([image[middle] ^ 0x10]) + image[middle + 1 :]


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
def test_what_must_not_be_installed_is_refused_and_nothing_is_changed(hub, good, fault):
    expected, text, make = REFUSED[fault]
    environment, other, _, data = hub.state()
    status, said = hub.upgrade(make(good))
    assert (status, text in said) == (expected, True), said
    assert hub.state() == (environment, other, OLD_HEADER, data)
    assert not (hub.root / "rebooted").exists()
    assert (hub.root / f"tmp/{NAME}.img").exists()


def test_an_image_without_header_is_refused(hub, good):
    before = hub.state()[:2]
    for header in (None, b""):
        status, said = hub.upgrade(good, header)
        assert status == 5
        assert "no version header" in said
    assert hub.state()[:2] == before


def test_an_image_that_does_not_fit_is_refused(hub, tmp_path):
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


def test_an_older_version_is_installed_once_when_a_person_says_so(hub, tmp_path):
    image = image_of(tmp_path, number="99")
    hub.put("data/afero-ota/allow-downgrade", "")
    status, said = hub.upgrade(image)
    assert status == 0, said
    assert not (hub.root / "data/afero-ota/allow-downgrade").exists()


def test_versions_are_compared_as_numbers_of_any_length(hub, tmp_path):
    hub.put("etc/full-ota-record.json", '{"versionNumber":"9223372036854775806"}')
    assert hub.upgrade(image_of(tmp_path, number="9223372036854775805"))[0] == 8
    assert hub.upgrade(image_of(tmp_path, number="9223372036854775807"))[0] == 0


def test_a_device_that_is_not_ready_says_why_and_changes_nothing(hub, good):
    def refused(text):
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


def test_a_slot_that_is_mounted_is_not_touched(hub, good):
    before = hub.state()[:2]
    status, said = hub.upgrade(good, before=f"mkdir -p busy && mount -o ro {hub.loop} busy")
    assert (status, "is mounted" in said) == (4, True), said
    assert hub.state()[:2] == before


def test_one_that_was_killed_is_no_obstacle_for_the_next(hub, good):
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


def test_two_at_once_install_once(hub, good):
    (hub.root / f"tmp/{NAME}.img").write_bytes(good)
    (hub.root / f"tmp/{NAME}.hdr").write_bytes(HEADER)
    both = f"for i in 1 2; do ( /sbin/sysupgrade /tmp/{NAME}.img >/out$i; echo $? >/status$i ) & done; wait"
    hub.inside(both)
    assert sorted((hub.root / f"status{i}").read_text().strip() for i in (1, 2)) == ["0", "3"]
    assert hub.env()["BOOT_ORDER"] == "B A"


def test_the_header_is_the_running_system_s_again_however_sysupgrade_ends(hub, good):
    status, said = hub.inside("/sbin/sysupgrade /tmp/no.img")
    assert (status, hub.header()) == (2, OLD_HEADER), said
    (hub.root / f"etc/{NAME}.hdr").write_bytes(HEADER)
    (hub.root / f"tmp/{NAME}.img").write_bytes(good)
    (hub.root / f"tmp/{NAME}.hdr").write_bytes(HEADER)
    lock = "mkdir -p /run/afero-ota; ln -s $$:$(sed 's/.*) //' /proc/$$/stat | cut -d ' ' -f 20) /run/afero-ota/lock"
    status, said = hub.inside(f"{lock}; /sbin/sysupgrade /tmp/{NAME}.img")
    assert (status, hub.header()) == (3, OLD_HEADER), said


# runs as the program whose name it takes, in the middle of an update, and puts the next one in its place
MEANWHILE = """#!/bin/sh
echo next >/tmp/next && mv /tmp/next /tmp/{name}.hdr
echo next >/tmp/next && mv /tmp/next /tmp/{name}.img
exec /sbin/{program}.real "$@"
"""


def meanwhile(hub, program):
    (hub.root / f"sbin/{program}").rename(hub.root / f"sbin/{program}.real")
    hub.put(f"sbin/{program}", MEANWHILE.format(name=NAME, program=program), 0o755)


def test_the_next_update_that_arrives_during_verification_is_left_alone(hub, good, tmp_path):
    hub.settings("FREE_IMAGE=1\n")
    meanwhile(hub, "e2fsck")
    status, said = hub.upgrade(good)
    assert status == 0, said
    with hub.other_slot(tmp_path / "b") as tree:
        assert (tree / f"etc/{NAME}.hdr").read_bytes() == HEADER
        assert (tree / f"etc/afero-ota/hdr/{NAME}.hdr").read_bytes() == HEADER
    assert (hub.root / f"tmp/{NAME}.img").read_text() == (hub.root / f"tmp/{NAME}.hdr").read_text() == "next\n"


def test_an_image_that_is_replaced_while_it_is_checked_is_refused_and_the_next_one_kept(hub, good):
    hub.settings("FREE_IMAGE=1\n")
    (hub.root / "sbin/mkfs.ext4").chmod(0o755)
    meanwhile(hub, "mkfs.ext4")
    before = hub.state()[:2]
    status, said = hub.upgrade(good)
    assert (status, "was replaced while it was checked" in said) == (5, True), said
    assert hub.state()[:2] == before
    assert (hub.root / f"tmp/{NAME}.img").read_text() == "next\n"


def test_no_room_in_run_is_a_refusal_and_never_a_verification_that_passes(hub, good):
    before = hub.state()[:2]
    for pages in (1, 2, 3, 4, 6):
        (hub.root / f"etc/{NAME}.hdr").write_bytes(HEADER)
        status, said = hub.upgrade(good, before=f"mount -t tmpfs -o size={pages * 4}k tmpfs run")
        assert status in (4, 5), said
        assert hub.state()[:2] == before
        assert hub.header() == OLD_HEADER


def test_a_device_short_of_memory_gets_it_back(hub, good):
    hub.settings("FREE_IMAGE=1\n")
    assert hub.upgrade(flipped(good))[0] == 5
    assert list((hub.root / "tmp").iterdir()) == []


# ---- failures after the slot was touched -----------------------------------------------------------------------------


def lying_listing(image):
    return changed(
        image,
        {"./etc/afero-ota/listing": lambda text: text.replace(b"89ed 0 0 ./usr/bin/su", b"81ed 0 0 ./usr/bin/su")},
    )


def test_contents_modes_owners_and_links_are_compared_with_what_was_written(hub, good, tmp_path):
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


def test_a_link_that_points_elsewhere_than_the_listing_says_is_found_before_the_slot_is_touched(hub, good):
    before = hub.state()[:2]
    image = changed(good, {"./etc/afero-ota/listing": lambda text: text.replace(b"-> ../bin/su", b"-> ../bin/so")})
    status, said = hub.upgrade(image)
    assert (status, "./usr/lib/link" in said) == (5, True), said
    assert hub.state()[:2] == before


def test_a_kept_file_never_goes_through_a_link_of_the_new_system(hub, tmp_path):
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


def test_a_kept_file_may_be_written_to_during_the_update(hub, good, tmp_path):
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


def test_the_other_slot_is_out_of_reach_of_users_while_it_is_written(hub, good):
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


# ---- other engines ---------------------------------------------------------------------------------------------------


ENGINE = """#!/bin/sh
echo "$0 $*" >/called
mkfs.ext4 -q -F -d /foreign {device}
{more}
"""


@pytest.mark.parametrize(
    ("start", "program", "arguments"), [(b"hsqs", "rauc", "install"), (b"070702", "swupdate", "-e stable,other -i")]
)
def test_a_foreign_image_is_installed_by_its_own_program_and_completed_here(hub, tmp_path, start, program, arguments):
    make_tree(hub.root / "foreign")
    slot.write_contents(str(hub.root / "foreign"))
    hub.settings('SWUPDATE_OPTIONS="-e stable,other"\n')
    more = "printf 'BOOT_ORDER=B A\\nBOOT_B_LEFT=3\\n' | fw_setenv -s -" if program == "rauc" else ""
    hub.put(f"usr/bin/{program}", ENGINE.format(device=hub.loop, more=more), 0o755)
    status, said = hub.upgrade(start + bytes(9000))
    assert status == 0, said
    assert (hub.root / "called").read_text() == f"/usr/bin/{program} {arguments} /tmp/{NAME}.img\n"
    env = hub.env()
    assert (env["BOOT_ORDER"], env["BOOT_B_LEFT"], len(env["AFERO_OTA_TRYING"])) == ("B A", "3", 64)
    assert hub.mark(tmp_path / "b") == env["AFERO_OTA_TRYING"]


def test_a_foreign_program_that_fails_or_brings_other_hardware_leaves_the_slot_out_of_use(hub, tmp_path):
    make_tree(hub.root / "foreign", compatible="toaster")
    hub.put("usr/bin/rauc", "#!/bin/sh\nexit 1\n", 0o755)
    assert hub.upgrade(b"hsqs" + bytes(9000))[0] == 23
    assert hub.env()["BOOT_ORDER"] == "A"
    hub.put("usr/bin/rauc", ENGINE.format(device=hub.loop, more="fw_setenv BOOT_ORDER 'B A'"), 0o755)
    status, said = hub.upgrade(b"hsqs" + bytes(9000))
    assert (status, "for 'toaster'" in said) == (23, True), said
    assert (hub.env()["BOOT_ORDER"], hub.env()["BOOT_B_LEFT"]) == ("A", "0")


# ---- the confirm step ------------------------------------------------------------------------------------------------


def confirm(hub, before=""):
    return hub.inside("/usr/sbin/afero-ota-confirm", before)


def test_a_start_that_was_counted_is_confirmed_in_one_write_and_later_ones_write_nothing(hub):
    hub.set_env(BOOT_A_LEFT=2)
    hub.put("etc/afero-ota/health.d/90-never", "#!/bin/sh\nexit 1\n", 0o755)
    assert confirm(hub)[0] == 0
    assert (hub.env()["BOOT_A_LEFT"], hub.env()["AFERO_OTA_CONFIRMED"]) == ("3", "A")
    before = hub.state()[0]
    status, said = confirm(hub)
    assert (status, "slot A confirmed" in said) == (0, True), said
    assert hub.state()[0] == before


def test_a_new_system_is_confirmed_when_all_checks_pass_in_time(hub):
    hub.put("etc/afero-ota/health.d/10-later", "#!/bin/sh\necho >>/tries; [ $(wc -l </tries) -ge 3 ]\n", 0o755)
    hub.set_env(BOOT_A_LEFT=2, AFERO_OTA_TRYING="a" * 64)
    status, said = confirm(hub)
    assert status == 0, said
    env = hub.env()
    assert (env["BOOT_ORDER"], env["BOOT_A_LEFT"], "AFERO_OTA_TRYING" in env) == ("A B", "3", False)


@pytest.mark.parametrize("check", ["exit 1", "sleep 100"])
def test_a_new_system_that_fails_a_check_restarts_unconfirmed(hub, check):
    hub.put("etc/afero-ota/health.d/10-bad", f"#!/bin/sh\n{check}\n", 0o755)
    hub.settings("HEALTH_TIMEOUT=3\n")
    hub.set_env(BOOT_A_LEFT=2, AFERO_OTA_TRYING="a" * 64)
    before = hub.state()[0]
    _, said = confirm(hub)
    assert "health check 10-bad failed" in said
    assert (hub.root / "rebooted").exists()
    assert hub.state()[0] == before


def rolled_back(hub, before=""):
    hub.set_env(BOOT_ORDER="B A", BOOT_A_LEFT=2, BOOT_B_LEFT=0, AFERO_OTA_TRYING="b" * 64)
    status, said = confirm(hub, before)
    assert (status, "rolled back to slot A" in said) == (0, True), said
    env = hub.env()
    assert (env["BOOT_ORDER"], env["BOOT_A_LEFT"], env["BOOT_B_LEFT"]) == ("A", "3", "0")
    assert "AFERO_OTA_TRYING" not in env
    return env


def test_a_rollback_is_remembered_on_the_data_partition(hub):
    rolled_back(hub)
    rolled_back(hub)
    assert (hub.root / "data/afero-ota/rolled-back").read_text() == "b" * 64 + "\n"


@pytest.mark.parametrize("full", [False, True], ids=["data", "data full"])
def test_the_image_that_was_rolled_back_is_refused_the_next_time(hub, good, full):
    status, said = hub.upgrade(good)
    assert status == 0, said
    hub.set_env(BOOT_B_LEFT=0)
    mounts = (
        "mount -t tmpfs -o size=4k tmpfs data && dd if=/dev/zero of=data/full bs=4k count=2 2>/dev/null; true"
        if full
        else ""
    )
    status, said = confirm(hub, mounts)
    assert (status, "cannot be written" in said) == (0, full), said
    before = hub.state()
    status, said = hub.upgrade(good, before=mounts)
    assert (status, "did not come up" in said) == (9, True), said
    assert hub.state() == before
    # anything else is welcome
    assert hub.upgrade(gzip.compress(gzip.decompress(good), 9), before=mounts)[0] == 0


GUARD = "/usr/sbin/afero-ota-confirm --or-restart"


def restarts(hub, command):
    """Whether it restarts the device; what it changes in the environment is taken back."""
    environment = (hub.root / "env.img").read_bytes()
    hub.inside(command)
    (hub.root / "env.img").write_bytes(environment)
    shutil.rmtree(hub.root / "run/afero-ota", ignore_errors=True)
    found = (hub.root / "rebooted").exists()
    (hub.root / "rebooted").unlink(missing_ok=True)
    return found


def test_the_timer_restarts_only_a_new_system_that_is_not_confirmed(hub):
    assert not restarts(hub, GUARD)
    hub.set_env(AFERO_OTA_TRYING="a" * 64)
    assert restarts(hub, GUARD)
    # the old system, after the new one used up its tries
    hub.set_env(BOOT_ORDER="B A", BOOT_B_LEFT=0)
    assert not restarts(hub, GUARD)


ON_TRIAL = "console=x rauc.slot=A root=/dev/slot-a afero_ota.trial=1 panic=2\n"
CONFIRMED = "console=x rauc.slot=A root=/dev/slot-a panic=2\n"
UNUSABLE = {
    "damaged": lambda hub: (hub.root / "env.img").write_bytes(os.urandom(0x10000)),
    "another place": lambda hub: hub.put("etc/fw_env.config", "/cmdline 0x0 0x4000\n/cmdline 0x8000 0x4000\n"),
    "another environment": lambda hub: None,
    "no fw_printenv": lambda hub: (hub.root / "usr/bin/fw_printenv").unlink(),
    "no fw_setenv": lambda hub: (hub.set_env(AFERO_OTA_TRYING="a" * 64), (hub.root / "usr/bin/fw_setenv").unlink()),
    "slots unknown": lambda hub: hub.settings("SLOT_A=/dev/elsewhere\n"),
}


@pytest.mark.parametrize("fault", UNUSABLE)
def test_a_new_system_that_cannot_be_confirmed_goes_back_and_an_old_one_runs_on(hub, fault):
    UNUSABLE[fault](hub)
    hub.put("cmdline", ON_TRIAL)
    assert restarts(hub, "/usr/sbin/afero-ota-confirm")
    assert restarts(hub, GUARD)
    if fault == "another environment":
        return  # such as an old system finds it
    if fault == "no fw_setenv":
        hub.inside("fw_printenv")
        (hub.root / "env.img").write_bytes(os.urandom(0x10000))
    hub.put("cmdline", CONFIRMED)
    assert not restarts(hub, "/usr/sbin/afero-ota-confirm")
    assert not restarts(hub, GUARD)


def test_the_timer_does_not_restart_what_was_confirmed_in_this_boot(hub):
    hub.put("cmdline", ON_TRIAL)
    hub.set_env(AFERO_OTA_TRYING="a" * 64)
    assert confirm(hub)[0] == 0
    (hub.root / "env.img").write_bytes(os.urandom(0x10000))
    assert not restarts(hub, GUARD)


@pytest.mark.parametrize("listed", ["rolled-back", "environment", None])
def test_a_system_that_had_been_rolled_back_must_pass_its_checks_before_it_is_confirmed(hub, listed):
    """Slot B, which was confirmed, can no longer be loaded: U-Boot has taken its confirmation away and starts A."""
    hub.put("etc/afero-ota/complete", "c" * 64 + "\n")
    hub.put("etc/afero-ota/health.d/90-bad", "#!/bin/sh\nexit 1\n", 0o755)
    hub.settings("HEALTH_TIMEOUT=1\n")
    hub.set_env(BOOT_ORDER="B A", BOOT_A_LEFT=2, BOOT_B_LEFT=0)
    if listed == "rolled-back":
        hub.put("data/afero-ota/rolled-back", "c" * 64 + "\n")
    elif listed == "environment":
        hub.set_env(AFERO_OTA_REFUSED="c" * 64)
    status, said = confirm(hub)
    assert ("health check 90-bad failed" in said, (hub.root / "rebooted").exists()) == (bool(listed),) * 2, said
    assert hub.env().get("AFERO_OTA_CONFIRMED") == (None if listed else "A")


# ---- header and data at boot -----------------------------------------------------------------------------------------


def test_headers_are_what_the_system_was_installed_with(hub):
    hub.put("etc/ota_type_9.hdr", "of an update that never was")
    hub.put(f"etc/.{NAME}.hdr.new", "of a run that was cut")
    assert hub.inside("afero-ota-header reconcile")[0] == 0
    assert hub.header() == OLD_HEADER
    assert not (hub.root / "etc/ota_type_9.hdr").exists()
    (hub.root / f"etc/{NAME}.hdr").unlink()
    assert hub.inside("afero-ota-header reconcile")[0] == 0
    assert hub.header() == OLD_HEADER
    assert sorted(path.name for path in (hub.root / "etc").iterdir() if "hdr" in path.name) == [f"{NAME}.hdr"]


def test_a_factory_system_has_no_header_and_an_update_that_fails_leaves_none(hub, good):
    (hub.root / f"etc/afero-ota/hdr/{NAME}.hdr").unlink()
    assert hub.upgrade(flipped(good))[0] == 5
    assert hub.header() is None


def test_a_read_only_system_with_a_wrong_header_says_so(hub):
    status, said = hub.inside("afero-ota-header reconcile", "mount --bind etc etc && mount -o remount,ro,bind etc")
    assert (status, "cannot be written" in said) == (1, True), said


def test_the_data_partition_gets_its_folders_and_the_factory_contents_once(hub):
    hub.put("usr/share/afero-ota/data/var/lib/hub/settings", "factory")
    mounts = "mount --bind data data"
    assert hub.inside("afero-ota-data", mounts)[0] == 0
    assert (hub.root / "data/afero_nv").is_dir()
    path = hub.root / "data/var/lib/hub/settings"
    assert path.read_text() == "factory"
    path.write_text("mine")
    assert hub.inside("afero-ota-data", mounts)[0] == 0
    assert path.read_text() == "mine"
    status, said = hub.inside("afero-ota-data")
    assert (status, "is not mounted" in said) == (1, True), said


def test_one_data_path_that_cannot_be_made_does_not_keep_the_others_from_being_made(hub):
    hub.put("etc/afero-ota/data-paths", "/file/below\n/afero_nv\n/var/lib/hub\n")
    hub.put("data/file", "in the way")
    status, said = hub.inside("afero-ota-data", "mount --bind data data")
    assert (status, "/data/file/below cannot be made" in said) == (1, True), said
    assert (hub.root / "data/afero_nv").is_dir() and (hub.root / "data/var/lib/hub").is_dir()


def test_the_watchdog_is_fed_where_there_is_one(hub):
    status, said = hub.inside("afero-ota-watchdog /dev/no-watchdog")
    assert (status, "a system that hangs is not restarted" in said) == (0, True), said
    ours, theirs = os.openpty()
    status, said = hub.inside(f"afero-ota-watchdog {os.ttyname(theirs)} & sleep 1; kill $!")
    assert (status, said) == (0, "")
    assert os.read(ours, 100) == b"."
    os.close(theirs)
    os.close(ours)
