# SPDX-License-Identifier: MIT
"""Images as the tests of reports need them: archives, package data, facts; the same on every run."""

from __future__ import annotations

import io
import random
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from afero_ota.report.contents import File
from afero_ota.report.facts import Facts, Package, Release

NAMES = [
    "kernel-image-zimage-6.6.87",
    "linux-firmware-wl18xx",
    "libcrypto3",
    "python3-core",
    "libc6",
    "systemd",
    "glib-2.0",
    "udev",
    "busybox",
    "bluez5",
    "hubby",
    "libssl3",
    "wpa-supplicant",
    "dbus",
    "attrd",
    "otamgr",
    "libsqlite3-0",
    "curl",
    "e2fsprogs-mke2fs",
    "iw",
    "libnl-3-200",
    "ncurses-libtinfo5",
    "kmod",
    "zlib",
]
LICENCES = ("MIT", "GPL-2.0-only", "Apache-2.0", "LGPL-2.1-or-later", "GPL-2.0-only & bzip2-1.0.4", "BSD-3-Clause")
OLD_LAYERS = {"meta": "scarthgap:" + "2814f096" * 5, "meta-afero-ota": "main:" + "5be1c0d7" * 5}


def manifest(version: str = "1.0.2", **more: Any) -> dict[str, Any]:
    """A manifest as do_package_ota writes it."""
    return {
        "file": "hub_update.bin",
        "sha256": (version.encode().hex() * 16)[:64],
        "size": 31_234_567,
        "image": "core-image-minimal",
        "machine": "beaglebone-yocto",
        "distro": "poky 5.0.17",
        "fstype": "tar.gz",
        "buildTime": "2026-11-25T03:00:00Z",
        "record": {
            "name": "Gateway",
            "version": version,
            "versionNumber": "7112",
            "description": "As shipped to <homes>",
        },
        "layers": OLD_LAYERS,
        **more,
    }


def facts(packages: int = len(NAMES), files_each: int = 8, suffix: str = "") -> Facts:
    """An image of so many packages with so many files each. suffix: of the packages' names."""
    dice = random.Random(0)
    known, files = {}, {"/tmp": File(0o41777, 0, 0, 0, "", ""), "/boot": File(0o40755, 0, 0, 0, "", "")}
    for number in range(packages):
        package = (NAMES[number] if number < len(NAMES) else f"lib-{NAMES[number % len(NAMES)]}-{number}") + suffix
        base = 4_000_000 / (number + 1) ** 0.9
        size = 0
        for one in range(files_each):
            length = int(base * dice.uniform(0.2, 1) / (one + 1)) + 10
            files[f"/usr/lib/{package}/file-{one}.so"] = File(
                0o100755, 0, 0, length, f"{dice.getrandbits(64):016x}", package
            )
            size += length
        version = "3.0.13-r0" if package.startswith("libcrypto3") else f"{dice.randint(1, 9)}.{dice.randint(0, 20)}-r0"
        known[package] = Package(version, package, dice.choice(LICENCES), size)
    kernel, busybox = NAMES[0] + suffix, f"busybox{suffix}"
    files |= {
        "/boot/zImage": File(0o100644, 0, 0, 5_900_000, "1" * 16, kernel),
        "/boot/am335x-bonegreen-wireless.dtb": File(0o100644, 0, 0, 64_000, "2" * 16, kernel),
        "/usr/lib/modules/6.6.87-yocto/kernel/net/wlcore.ko": File(0o100644, 0, 0, 240_000, "3" * 16, kernel),
        "/usr/bin/su": File(0o104755, 0, 0, 30_000, "4" * 16, busybox),
        "/etc/init.d/hubby": File(0o100755, 0, 0, 900, "5" * 16, "hubby"),
        "/etc/full-ota-record.json": File(0o100644, 0, 0, 225, "6" * 16, ""),
    }
    versions = {package: one.version for package, one in known.items()}
    history = [Release(f"1.0.{number}", f"{number:064}", 30_000_000 + 400_000 * number, 0) for number in range(2)]
    return Facts(manifest(packages=versions), known, files, 64 << 20, 512 << 20, history)


def next_release(before: Facts) -> Facts:
    """A later image: one package updated, one new with a setuid file and a service, one gone, a layer moved on."""
    packages, files = dict(before.packages), dict(before.files)
    names = list(packages)
    updated, gone = names[2], names[-1]
    del packages[gone]
    files = {path: file for path, file in files.items() if file.package != gone}
    packages[updated] = packages[updated]._replace(version="3.0.14-r1", size=packages[updated].size + 48_000)
    for path, file in list(files.items()):
        if file.package == updated and file.size > 100_000:
            files[path] = file._replace(size=file.size + 48_000, content="f" * 16)
            break
    packages["remote-shell"] = Package("0.1-r0", "remote-shell", "CLOSED", 60_000)
    files["/usr/bin/remote-shell"] = File(0o104755, 0, 0, 58_000, "7" * 16, "remote-shell")
    files["/usr/lib/systemd/system/remote-shell.service"] = File(0o100644, 0, 0, 400, "8" * 16, "remote-shell")
    files["/var/spool/inbox"] = File(0o40777, 0, 0, 0, "", "remote-shell")
    files["/etc/full-ota-record.json"] = files["/etc/full-ota-record.json"]._replace(content="9" * 16)
    versions = {name: one.version for name, one in packages.items()}
    layers = {**OLD_LAYERS, "meta-afero-ota": "main:" + "f3a92c41" * 5}
    document = manifest("1.0.3", packages=versions, layers=layers, size=before.size + 21_000)
    commits = {
        "meta-afero-ota": ("openssl: update to 3.0.14 (CVE-2024-4741)", "remote-shell: new recipe <for support>")
    }
    history = (*before.history, before.release)
    return Facts(document, packages, files, before.limit, before.slot, history, commits)


def write_archive(path: Path, members: Mapping[str, bytes | tarfile.TarInfo]) -> None:
    """A tar archive, compressed by the path's suffix. members: name to content, or to what is known of it."""
    kind = {".gz": "w:gz", ".xz": "w:xz"}.get(path.suffix, "w")
    # packaging may have linked it
    path.unlink(missing_ok=True)
    with tarfile.open(str(path), kind) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.name = name
            if isinstance(content, bytes):
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            else:
                archive.addfile(info)
