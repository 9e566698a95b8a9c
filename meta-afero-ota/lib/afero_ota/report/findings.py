# SPDX-License-Identifier: MIT
"""What follows from the facts of an image: what stands out, the kernel, licences, whether it fits, how long a download takes."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Optional

from .facts import remarks

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from .contents import File
    from .facts import Facts

Compressed = Sequence[tuple[str, Optional[int]]]  # program, and to how many bytes it brings the image

# bits per second
SPEEDS = {
    "0.3 Mbit/s (LTE-M)": 300_000,
    "2 Mbit/s (slow DSL)": 2_000_000,
    "10 Mbit/s": 10_000_000,
    "50 Mbit/s": 50_000_000,
}
_BLOCK = 4096  # bytes that a file system gives at once


class Kernel(NamedTuple):
    """What an image brings to boot. files: path to bytes, of kernel, initramfs and device trees.

    modules: kernel version to the number of its modules and their bytes. packages: name to version.
    """

    files: Mapping[str, int]
    modules: Mapping[str, tuple[int, int]]
    packages: Mapping[str, str]


def remarkable(facts: Facts) -> dict[str, tuple[str, ...]]:
    """Path to what is remarkable about it, for every file of the image that is more than a service."""
    found = {path: remarks(path, file) for path, file in facts.files.items()}
    return {path: words for path, words in sorted(found.items()) if set(words) - {"service"}}


def services(facts: Facts) -> list[str]:
    """The paths of what starts at boot."""
    return sorted(path for path, file in facts.files.items() if "service" in remarks(path, file))


def kernel(facts: Facts) -> Kernel:
    """Kernel, device trees and modules in the image."""
    files: dict[str, int] = {}
    modules: dict[str, tuple[int, int]] = {}
    for path, file in sorted(facts.files.items()):
        if not stat.S_ISREG(file.mode):
            continue
        if path.startswith("/boot/") or path.endswith((".dtb", ".dtbo")):
            files[path] = file.size
        elif "/lib/modules/" in path and ".ko" in os.path.basename(path):
            version = path.partition("/lib/modules/")[2].partition("/")[0]
            number, size = modules.get(version, (0, 0))
            modules[version] = (number + 1, size + file.size)
    owners = {facts.files[path].package for path in files}
    packages = {name: one.version for name, one in facts.packages.items() if name in owners or name == "kernel-image"}
    return Kernel(files, modules, packages)


def licences(facts: Facts) -> list[tuple[str, int, int]]:
    """Licence, number of packages under it and bytes of their files; most packages first. [] when no licence is known."""
    found: dict[str, tuple[int, int]] = {}
    for package in facts.packages.values():
        number, size = found.get(package.licence, (0, 0))
        found[package.licence] = (number + 1, size + package.size)
    if set(found) <= {""}:
        return []
    return sorted(((name, *sums) for name, sums in found.items()), key=lambda one: (-one[1], one[0]))


def occupied(facts: Facts) -> int:
    """The bytes that the files take in a file system of blocks of 4096, without its own tables; 0 when they are not known."""
    return sum(-(-max(file.size, 1) // _BLOCK) * _BLOCK for file in facts.files.values() if not _is_empty(file))


def downloads(size: int) -> dict[str, float]:
    """Seconds that a download takes at usual speeds, without overhead."""
    return {name: size * 8 / speed for name, speed in SPEEDS.items()}


def by_package(facts: Facts) -> dict[str, list[tuple[str, int]]]:
    """Package to path and bytes of its files, largest first; "" for what belongs to no package."""
    found: dict[str, list[tuple[str, int]]] = {}
    for path, file in facts.files.items():
        if file.size:
            found.setdefault(file.package, []).append((path, file.size))
    for files in found.values():
        files.sort(key=lambda one: (-one[1], one[0]))
    return found


def document(facts: Facts, compressed: Compressed = ()) -> dict[str, Any]:
    """What is known of an image, for JSON: the manifest, and what the report adds to it."""
    found = kernel(facts)
    return {
        **facts.manifest,
        "contents": {
            "unpacked": facts.unpacked,
            "occupied": occupied(facts),
            "files": facts.count,
            "packages": {name: one._asdict() for name, one in facts.packages.items()},
            "licences": {name: {"packages": number, "size": size} for name, number, size in licences(facts)},
            "kernel": found._asdict(),
            "remarkable": {path: list(words) for path, words in remarkable(facts).items()},
            "services": services(facts),
            "cves": dict(facts.cves),
        },
        "limits": {"payload": facts.limit, "slot": facts.slot},
        "download": {name: round(seconds) for name, seconds in downloads(facts.size).items()},
        "history": [one._asdict() for one in facts.history],
        "compressed": dict(compressed),
    }


def _is_empty(file: File) -> bool:
    """Whether it takes no block: short links are in their inode, and hard links are counted once."""
    return not (stat.S_ISDIR(file.mode) or file.size)
