# SPDX-License-Identifier: MIT
"""The bench for the scripts of afero-sysupgrade: run by busybox in a root of its own, with a real block device as the other slot, a
real U-Boot environment, mkfs.ext4, e2fsck and tar. What U-Boot makes of it, and power cuts, are tested in QEMU.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from afero_ota import slot
from keys import Pair

LAYER = Path(__file__).resolve().parents[2] / "meta-afero-ota"
FILES = LAYER / "recipes-core" / "afero-sysupgrade" / "files"
# what OE-Core's configuration of busybox has, as far as the scripts could use it
APPLETS = (
    "[ ash awk cat chmod chown cmp cp cut date dd df echo env expr false find grep gunzip gzip head id kill ln logger ls mkdir "
    "mknod mount mv pidof ping printf ps pwd readlink rm rmdir sed seq sh sha256sum sleep sort stat sync tail tar tee test touch tr true "
    "umount uname uniq wc xargs xzcat zcat"
)
# in OE-Core's configuration it has no -c
_HEAD = """#!/bin/sh
case $1 in -c*) echo "head: invalid option -- 'c'" >&2; exit 1 ;; esac
exec /bin/busybox head "$@"
"""
PROGRAMS = ("/sbin/mkfs.ext4", "/sbin/e2fsck", "/usr/bin/fw_printenv", "/usr/bin/fw_setenv", "/usr/bin/rauc")
COMPATIBLE, HEADER, OLD_HEADER = "bench-hub", b"\x05" + b"new" * 71, b"\x05" + b"old" * 71
NAME = "ota_type_5"
DEFAULTS = "BOOT_ORDER=A B\nBOOT_A_LEFT=3\nBOOT_B_LEFT=3\nbootcmd=run me\n"

needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or not os.path.exists("/dev/loop-control"), reason="mounts and loop devices need root"
)


def run(*command: str) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout


def bring(root: Path, program: str, place: str = "") -> None:
    """Copy one of this machine's programs into a root, with the libraries that it needs."""
    shutil.copy(program, root / (place or program[1:]))
    libraries = subprocess.run(["ldd", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    for word in libraries.split():
        if word.startswith("/"):
            (root / word[1:]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(word, root / word[1:])


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with busybox, e2fsprogs, libubootenv and rauc, and the libraries that they need."""
    root = tmp_path_factory.mktemp("tools")
    for folder in ("bin", "sbin", "usr/bin", "usr/sbin"):
        (root / folder).mkdir(parents=True)
    busybox = shutil.which("busybox")
    assert busybox, "this machine has no busybox; run: scripts/setup device"
    bring(root, busybox, "bin/busybox")
    for program in PROGRAMS:
        bring(root, program)
    for applet in APPLETS.split():
        (root / "bin" / applet).symlink_to("busybox")
    (root / "bin/head").unlink()
    (root / "bin/head").write_text(_HEAD)
    (root / "bin/head").chmod(0o755)
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
            "data/afero_nv",
            "etc/afero-ota/health.d",
            "usr/lib/afero-ota",
            "var/lock",
        ):
            (self.root / name).mkdir(parents=True)
        for file in FILES.iterdir():
            if file.name == "afero-ota-grow":
                continue  # only for a disk of its own: here /data may be on the host's
            place = {"sysupgrade": "sbin", "sysupgrade.conf": "etc/afero-ota", "health-check": "usr/lib/afero-ota"}
            default = "usr/lib/afero-ota" if file.suffix == ".sh" else "usr/sbin"
            shutil.copy(file, self.root / place.get(file.name, default) / file.name)
        (self.root / "afero_nv").symlink_to("/data/afero_nv")
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

    def close(self) -> None:
        run("losetup", "--detach", self.loop)

    def settings(self, text: str) -> None:
        with (self.root / "etc/afero-ota/sysupgrade.conf").open("a") as stream:
            stream.write(text)

    def put(self, name: str, content: bytes | str, mode: int = 0o644) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path.chmod(mode)

    def inside(self, command: str, before: str = "") -> tuple[int, str]:
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

    def upgrade(
        self, image: Path | bytes | None = None, header: bytes | None = HEADER, before: str = ""
    ) -> tuple[int, str]:
        """As otamgr does it: image and header in /tmp, then the script. Gives its status and everything it said."""
        if image is not None:
            content = image if isinstance(image, bytes) else image.read_bytes()
            (self.root / f"tmp/{NAME}.img").write_bytes(content)
        if header is not None:
            (self.root / f"tmp/{NAME}.hdr").write_bytes(header)
        return self.inside(f"/sbin/sysupgrade /tmp/{NAME}.img", before)

    def env(self) -> dict[str, str]:
        _, text = self.inside("fw_printenv")
        return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)

    def set_env(self, **values: str | int) -> None:
        self.put("script", "".join(f"{name}={value}\n" for name, value in values.items()))
        status, said = self.inside("fw_setenv -s /script")
        assert status == 0, said

    def state(self) -> tuple[bytes, bytes, bytes | None, dict[str, bytes]]:
        """What a refused update must leave as it is: environment, other slot, header, data except the report."""
        files = (path for path in (self.root / "data").rglob("*") if path.is_file())
        data = {str(path): path.read_bytes() for path in files if path.name not in ("reboot_reason", "history")}
        return (self.root / "env.img").read_bytes(), self.slot.read_bytes(), self.header(), data

    def header(self) -> bytes | None:
        path = self.root / f"etc/{NAME}.hdr"
        return path.read_bytes() if path.exists() else None

    @contextlib.contextmanager
    def other_slot(self, folder: Path) -> Iterator[Path]:
        """The other slot's tree, mounted to be read."""
        folder.mkdir()
        run("mount", "-o", "ro", str(self.loop), str(folder))
        try:
            yield folder
        finally:
            run("umount", str(folder))

    def mark(self, folder: Path) -> str | None:
        """The mark of completeness in the other slot, or None."""
        with self.other_slot(folder) as tree:
            path = tree / "etc/afero-ota/complete"
            return path.read_text().strip() if path.exists() else None


@pytest.fixture
def hub(tmp_path: Path, tools: Path) -> Iterator[Hub]:
    hub = Hub(tmp_path / "hub", tools)
    yield hub
    hub.close()


# ---- images ----------------------------------------------------------------------------------------------------------


def make_tree(root: Path, number: str = "101", compatible: str = COMPATIBLE) -> None:
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


def archive_of(root: Path, to: Path, *options: str) -> None:
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


def image_of(folder: Path, **more: str) -> bytes:
    tree = folder / f"tree{len(list(folder.iterdir()))}"
    make_tree(tree, **more)
    slot.write_contents(str(tree))
    archive_of(tree, folder / "image.tar")
    return gzip.compress((folder / "image.tar").read_bytes(), 1)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return image_of(tmp_path_factory.mktemp("good"))


def changed(
    image: bytes,
    change: Mapping[str, Callable[[bytes], bytes]] | None = None,
    add: Sequence[tuple[tarfile.TarInfo, bytes]] = (),
    drop: Sequence[str] = (),
) -> bytes:
    """The archive again, with members changed, left out or added."""
    result = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(image)) as old,
        tarfile.open(fileobj=result, mode="w:gz", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in old.getmembers():
            stream = old.extractfile(member) if member.isreg() else None
            content = stream.read() if stream else b""
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


def member(
    name: str, kind: bytes = tarfile.REGTYPE, target: str = "", content: bytes = b""
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, content


def flipped(image: bytes) -> bytes:
    middle = len(image) // 2
    return image[:middle] + bytes([image[middle] ^ 0x10]) + image[middle + 1 :]


# ---- what the tests have in common ---------------------------------------------------------------------------------

GUARD = "/usr/sbin/afero-ota-confirm --or-restart"
# the kernel's command line of a start that U-Boot has counted, and of any other
ON_TRIAL = "console=x rauc.slot=A root=/dev/slot-a afero_ota.trial=1 panic=2\n"
CONFIRMED = "console=x rauc.slot=A root=/dev/slot-a panic=2\n"
_HOLD = """#!/bin/sh
mkdir -p /run/afero-ota
ln -s "$$:$(sed 's/.*) //' /proc/$$/stat | cut -d ' ' -f 20)" /run/afero-ota/lock
/sbin/sysupgrade.real "$@"
"""


def confirm(hub: Hub, before: str = "") -> tuple[int, str]:
    return hub.inside("/usr/sbin/afero-ota-confirm", before)


def hold_the_lock(hub: Hub) -> None:
    """Let each sysupgrade find another one at work."""
    (hub.root / "sbin/sysupgrade").rename(hub.root / "sbin/sysupgrade.real")
    hub.put("sbin/sysupgrade", _HOLD, 0o755)


# ---- bundles -----------------------------------------------------------------------------------------------------------


def owned_by(hub: Hub, *trusted: Pair, compatible: str = COMPATIBLE) -> None:
    """Let the device obey RAUC bundles only, of these owners; with the system.conf that the layer installs."""
    text = (LAYER / "dynamic-layers/rauc/recipes-core/rauc/files/system.conf.in").read_text()
    for name, value in (("COMPATIBLE", compatible), ("SLOT_A", "/dev/slot-a"), ("SLOT_B", hub.loop)):
        text = text.replace(f"@{name}@", value)
    hub.put("etc/rauc/system.conf", text)
    hub.put("etc/rauc/keyring.pem", b"".join(pair.cert.read_bytes() for pair in trusted))
    hub.put("etc/afero-ota/engine", "rauc\n")


def bundle(folder: Path, archive: bytes, signer: Pair, compatible: str = COMPATIBLE, form: str = "verity") -> bytes:
    """A bundle as meta-rauc's class makes it."""
    content = folder / "content"
    content.mkdir()
    (content / "rootfs.tar.gz").write_bytes(archive)
    manifest = f"[update]\ncompatible={compatible}\nversion=1.0.101\nbuild=101\n\n[bundle]\nformat={form}\n\n"
    (content / "manifest.raucm").write_text(manifest + "[image.rootfs]\nfilename=rootfs.tar.gz\n")
    target = folder / "bundle.raucb"
    run("rauc", "bundle", f"--cert={signer.cert}", f"--key={signer.key}", str(content), str(target))
    return target.read_bytes()
