# SPDX-License-Identifier: MIT
"""The files that make a root file system one of two slots: its slot files in /etc/afero-ota, and paths on the data partition.

The device (recipes-core/afero-sysupgrade/files/sysupgrade) refuses an image whose slot files do not describe it, and compares
what it wrote with them. Whatever it would refuse is a fault here, so that the build fails rather than the update in the field.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
from typing import TYPE_CHECKING

from .errors import ConfigError, Fault

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FOLDER = "etc/afero-ota"
MANIFEST = f"./{FOLDER}/manifest"
LISTING = f"./{FOLDER}/listing"
COMPLETE = f"./{FOLDER}/complete"
TEMPLATES = "usr/share/afero-ota/data"
# in the factory image only: never in an archive, where the device refuses them
FACTORY_ONLY = (COMPLETE, f"./{FOLDER}/hdr", "./etc/ota_type_*.hdr")
ENVIRONMENT_OFFSETS = (0x200000, 0x280000)  # as in the U-Boot fragments: in the gap before the first partition
ENVIRONMENT_SIZE = 0x4000
_BLOCK = 1 << 20
_NEVER_KEPT = re.compile(r"/etc|/etc/afero-ota.*|/etc/full.*ota.*record\.json|/etc/ota_type_.*\.hdr")


def write_settings(
    root: str, compatible: str, disk: str, boot_files: Sequence[str], keep: Sequence[str], engine: str = "tar"
) -> None:
    """Write the slot files that say which device this root file system is for.

    compatible: the hardware's name; an image for another name is refused. disk: the block device with both slots. boot_files: absolute paths that
    U-Boot loads. keep: absolute paths that an update carries from the old system into the new one. engine: what this system will
    install, tar (archives) or rauc (signed bundles).
    Raises ConfigError for a compatible name that is not one line of text, and for a boot file that the image lacks.
    """
    faults = []
    if not compatible or compatible != " ".join(compatible.split()):
        faults.append(
            Fault(
                "AFERO_OTA_COMPATIBLE", f"is {compatible!r}, expected one line of text", "write a name of the hardware"
            )
        )
    for path in boot_files:
        if not os.path.lexists(root + path):
            remedy = "add the package that has it to AFERO_OTA_BOOT_PACKAGES, or correct AFERO_OTA_BOOT_KERNEL, _FDT or _INITRAMFS"
            faults.append(Fault(path, "U-Boot is told to load it, but the image does not have it", remedy))
    for path in keep:
        if not _is_absolute(path):
            faults.append(_not_absolute("AFERO_OTA_KEEP", path))
        elif _NEVER_KEPT.fullmatch(path):
            problem = f"{path} identifies a system: the new one's must not be replaced by the old one's"
            faults.append(Fault("AFERO_OTA_KEEP", problem, "remove it from the list"))
    if faults:
        raise ConfigError(faults)
    _write(root, f"{FOLDER}/compatible", compatible + "\n")
    _write(root, f"{FOLDER}/engine", engine + "\n")
    _write(root, f"{FOLDER}/boot-files", "".join(f"{path}\n" for path in boot_files))
    _write(root, f"{FOLDER}/keep", "".join(f"{path}\n" for path in keep))
    lines = (f"{disk} 0x{offset:x} 0x{ENVIRONMENT_SIZE:x}\n" for offset in ENVIRONMENT_OFFSETS)
    _write(root, "etc/fw_env.config", "".join(lines))


def partition(disk: str, number: int | str) -> str:
    """Linux's name of a partition: /dev/sda4, but /dev/mmcblk0p4, since a disk whose name ends in a digit needs the "p"."""
    return f"{disk}p{number}" if disk[-1:].isdigit() else f"{disk}{number}"


def use_data_partition(root: str, device: str, folder: str, paths: Sequence[str]) -> None:
    """Mount the data partition, and make each of `paths` a link to its counterpart there.

    What the image has under such a path becomes the template for a device's first start. Running it again changes nothing.
    Raises ConfigError for a path that is not absolute.
    """
    faults = [_not_absolute("AFERO_OTA_DATA_PATHS", path) for path in paths if not _is_absolute(path)]
    if faults:
        raise ConfigError(faults)
    os.makedirs(root + folder, exist_ok=True)
    _write(root, f"{FOLDER}/data-paths", "".join(f"{path}\n" for path in paths))
    for path in paths:
        place = root + path
        os.makedirs(os.path.dirname(place), exist_ok=True)
        if os.path.islink(place):
            os.unlink(place)
        elif os.path.exists(place):
            template = os.path.join(root, TEMPLATES, path[1:])
            os.makedirs(os.path.dirname(template), exist_ok=True)
            shutil.move(place, template)
        os.symlink(folder + path, place)
    _mount(root, device, folder)


def write_contents(root: str) -> list[str]:
    """Write manifest, listing and the factory's `complete`: the last change made to a root file system.

    manifest: `sha256sum` of every regular file but itself. listing: mode (hexadecimal), owner, group and name of everything, and
    the target of every link. Both are sorted, so that equal trees give equal files.
    Returns warnings about what a device cannot restore (file capabilities). Raises ConfigError for what it would refuse.
    """
    folder = os.path.join(root, FOLDER)
    os.makedirs(folder, exist_ok=True)
    # for reproducible images, all times were made equal before this; keep them so
    times = os.lstat(root)
    for name in (MANIFEST, LISTING):
        _write(root, name, "")
    faults: list[Fault] = []
    warnings: list[str] = []
    lines: list[tuple[str, str]] = []
    files: list[str] = []
    for name, info in _walk(root):
        fault = _fault(root, name, info)
        if fault:
            faults.append(fault)
            continue
        path = os.path.join(root, name)
        if stat.S_ISLNK(info.st_mode):
            lines.append((name, f"link - - {name} -> {os.readlink(path)}"))
            continue
        lines.append((name, f"{info.st_mode:x} {info.st_uid} {info.st_gid} {name}"))
        if stat.S_ISREG(info.st_mode):
            files.append(name)
        attributes = [key for key in os.listxattr(path, follow_symlinks=False) if key.startswith("security.cap")]
        if attributes:
            warnings.append(f"{name[1:]} has {', '.join(attributes)}, which busybox tar does not restore on the device")
    if faults:
        raise ConfigError(faults)
    _write(root, LISTING, "".join(f"{line}\n" for _, line in sorted(lines)))
    hashes = (f"{_sha256(os.path.join(root, name))}  {name}\n" for name in sorted(files) if name != MANIFEST)
    _write(root, MANIFEST, "".join(hashes))
    _write(root, COMPLETE, "factory\n")
    for path in (*(os.path.join(root, name) for name in (MANIFEST, LISTING, COMPLETE)), folder):
        os.utime(path, ns=(times.st_mtime_ns, times.st_mtime_ns))
    return warnings


def _walk(root: str) -> Iterator[tuple[str, os.stat_result]]:
    """Everything in the tree, by its name in the archive, except what only a factory image has."""
    yield ".", os.lstat(root)
    for folder, folders, names in os.walk(root):
        at = "." + folder[len(root.rstrip("/")) :]
        if at == f"./{FOLDER}":
            folders[:] = [name for name in folders if name != "hdr"]
        for entry in (*folders, *names):
            name = f"{at}/{entry}"
            factory = name == COMPLETE or (at == "./etc" and entry.startswith("ota_type_") and entry.endswith(".hdr"))
            if not factory:
                yield name, os.lstat(os.path.join(folder, entry))


def _fault(root: str, name: str, info: os.stat_result) -> Fault | None:
    remedy = "remove or rename it (ROOTFS_POSTPROCESS_COMMAND), or do not install what brings it"
    if not _is_plain(name):
        return Fault(repr(name[1:]), "the device cannot verify a file with such a name", remedy)
    if stat.S_ISLNK(info.st_mode):
        target = os.readlink(os.path.join(root, name))
        # the device lists links with `stat`, whose variants quote quotation marks differently
        if not _is_plain(target) or "'" in name + target:
            return Fault(repr(name[1:]), f"the device cannot verify a link to {target!r}", remedy)
        if info.st_nlink > 1:
            return Fault(name[1:], "is a link with two names; the device refuses a hard link to a link", remedy)
        if _climbs(name, target):
            return Fault(name[1:], f"is a link that leads out of the image, to {target}; the device refuses it", remedy)
    elif not stat.S_ISREG(info.st_mode) and not stat.S_ISDIR(info.st_mode):
        return Fault(name[1:], "is a device node or another special file; the device refuses it", remedy)
    return None


def _climbs(name: str, target: str) -> bool:
    depth = 0 if target.startswith("/") else name.count("/") - 1
    for part in target.split("/"):
        if part == "..":
            depth -= 1
        elif part not in ("", "."):
            depth += 1
        if depth < 0:
            return True
    return False


def _mount(root: str, device: str, folder: str) -> None:
    """Write the line in /etc/fstab. A device without its data partition still starts (nofail), so that it can be updated."""
    path = os.path.join(root, "etc/fstab")
    lines = []
    if os.path.exists(path):
        with open(path, encoding="utf-8") as stream:
            lines = [line.rstrip("\n") for line in stream]
    lines = [line for line in lines if line.split()[1:2] != [folder]]
    lines.append(f"{device} {folder} ext4 defaults,noatime,nofail 0 2")
    _write(root, "etc/fstab", "".join(f"{line}\n" for line in lines))


def _is_absolute(path: str) -> bool:
    return path.startswith("/") and os.path.normpath(path) == path and path != "/"


def _not_absolute(setting: str, path: str) -> Fault:
    return Fault(setting, f"{path!r} is not an absolute, plain path", "write it as /folder/name")


def _is_plain(name: str) -> bool:
    """Whether the device's lists can hold a name: one line of text, without the " -> " that separates a link from its target."""
    return name.isprintable() and " -> " not in name


def _write(root: str, name: str, text: str) -> None:
    path = os.path.join(root, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    # a new file, since the old one may be hard-linked to another build's
    if os.path.lexists(path):
        os.unlink(path)
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(text)
    os.chmod(path, 0o644)


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
