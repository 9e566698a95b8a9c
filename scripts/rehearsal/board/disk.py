# SPDX-License-Identifier: MIT
"""A disk image seen from outside, with the power off: partitions, U-Boot's environment, whole file systems.

Nothing is mounted, so no rights are needed: e2fsck replays the journal on a copy, debugfs reads it.
"""

from __future__ import annotations

import binascii
import contextlib
import hashlib
import os
import re
import stat
import struct
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ENVIRONMENTS = (0x200000, 0x280000)
ENVIRONMENT_SIZE = 0x4000
SLOTS = {"A": 2, "B": 3}
DATA = 4
_SECTOR = 512
_TOOLS = {**os.environ, "PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C.UTF-8"}


@dataclass(frozen=True)
class Node:
    """What a path of a root is: kind (file, directory, link), mode and owner, and its content's hash or the link's target."""

    kind: str
    mode: int
    owner: tuple[int, int]
    content: str


Tree = dict[str, Node]


def partitions(disk: Path) -> list[tuple[int, int]]:
    """Offset and size in bytes of the four primary partitions of an MBR."""
    with disk.open("rb") as stream:
        sector = stream.read(_SECTOR)
    assert sector[510:] == b"\x55\xaa", f"{disk} has no partition table"
    entries = [struct.unpack_from("<II", sector, 446 + 16 * number + 8) for number in range(4)]
    return [(first * _SECTOR, count * _SECTOR) for first, count in entries]


def environment(disk: Path) -> dict[str, str]:
    """The environment that U-Boot will use: of the copies that are whole the newer one; {} when none is."""
    found = []
    with disk.open("rb") as stream:
        for offset in ENVIRONMENTS:
            stream.seek(offset)
            raw = stream.read(ENVIRONMENT_SIZE)
            crc, generation = struct.unpack_from("<IB", raw)
            if binascii.crc32(raw[5:]) == crc:
                found.append((generation, raw[5:]))
    if not found:
        return {}
    if len(found) == 2 and {found[0][0], found[1][0]} == {0, 255}:
        found.sort(key=lambda copy: copy[0] != 0)  # 0 comes after 255
        newest = found[0][1]
    else:
        newest = max(found, key=lambda copy: copy[0])[1]
    text = newest.split(b"\0\0")[0].decode("latin-1")
    return dict(line.split("=", 1) for line in text.split("\0") if "=" in line)


def destroy_environment(disk: Path, *copies: int) -> None:
    """Random bytes in place of these copies (0, 1) of the environment."""
    with disk.open("r+b") as stream:
        for copy in copies:
            stream.seek(ENVIRONMENTS[copy])
            stream.write(os.urandom(ENVIRONMENT_SIZE))


def tree_of_partition(disk: Path, number: int) -> Tree:
    """Every path of an ext4 file system as it is once its journal is replayed. Raises AssertionError when it is damaged."""
    offset, size = partitions(disk)[number - 1]
    with tempfile.TemporaryDirectory(prefix="afero-ota-disk-") as folder:
        copy = Path(folder) / "partition"
        _copy_range(disk, offset, size, copy)
        done = _tool("e2fsck", "-p", str(copy))
        assert done.returncode in (0, 1), f"partition {number} is damaged:\n{done.stdout}"
        done = _tool("e2fsck", "-fn", str(copy))
        assert done.returncode == 0, f"partition {number} is damaged:\n{done.stdout}"
        return _read_tree(copy, Path(folder) / "tree")


@contextlib.contextmanager
def open_archive(archive: Path) -> Iterator[tarfile.TarFile]:
    """A tar archive, plain or compressed in any of the ways that sysupgrade takes."""
    with archive.open("rb") as stream:
        zstd = stream.read(4) == b"\x28\xb5\x2f\xfd"
    if not zstd:
        with tarfile.open(archive) as members:
            yield members
        return
    # Python's tarfile cannot do it before 3.14
    with tempfile.TemporaryFile() as plain:
        subprocess.run(["zstd", "-dcq", archive], stdout=plain, check=True)
        plain.seek(0)
        with tarfile.open(fileobj=plain) as members:
            yield members


def tree_of_archive(archive: Path) -> Tree:
    """Every path of a tar archive, the root itself left out."""
    tree: Tree = {}
    with open_archive(archive) as members:
        for member in members:
            path = "/" + member.name.strip("./")
            if path == "/":
                continue
            owner = (member.uid, member.gid)
            if member.issym():
                tree[path] = Node("link", 0o777, owner, member.linkname)
            elif member.isdir():
                tree[path] = Node("directory", member.mode, owner, "")
            elif member.isreg() or member.islnk():
                stream = members.extractfile(member)
                assert stream
                tree[path] = Node("file", member.mode, owner, hashlib.sha256(stream.read()).hexdigest())
            else:
                raise AssertionError(f"{path} in {archive} is of an unexpected kind")
    return tree


def differences(found: Tree, wanted: Tree, ignored: str) -> list[str]:
    """One line for every path that is missing, too many or different; `ignored` is a pattern of whole paths."""
    lines = []
    for path in sorted({*found, *wanted}):
        if found.get(path) != wanted.get(path) and not re.fullmatch(ignored, path):
            lines.append(f"{path}: {found.get(path)}, not {wanted.get(path)}")
    return lines


def digest(tree: Tree) -> str:
    """One hash for a whole root."""
    text = "\n".join(f"{path} {tree[path]}" for path in sorted(tree))
    return hashlib.sha256(text.encode()).hexdigest()


def copy_sparse(source: Path, target: Path) -> Path:
    subprocess.run(["cp", "--sparse=always", "--reflink=auto", source, target], check=True)
    return target


def _copy_range(disk: Path, offset: int, size: int, target: Path) -> None:
    block = 1 << 20
    with disk.open("rb") as source, target.open("wb") as out:
        source.seek(offset)
        out.truncate(size)
        done = 0
        while done < size and (data := source.read(min(block, size - done))):
            if data.count(0) != len(data):
                out.seek(done)
                out.write(data)
            done += len(data)


def _tool(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=_TOOLS, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def _read_tree(image: Path, scratch: Path) -> Tree:
    scratch.mkdir()
    # without root's rights debugfs complains of owners that it cannot set; those are read from the listing
    _tool("debugfs", "-R", f'rdump / "{scratch}"', str(image))
    tree: Tree = {}
    level = ["/"]
    while level:
        below = []
        for path, (mode, owner) in _list(image, level):
            on_host = scratch / path[1:]
            if stat.S_ISDIR(mode):
                below.append(path)
                tree[path] = Node("directory", stat.S_IMODE(mode), owner, "")
            elif stat.S_ISLNK(mode):
                tree[path] = Node("link", 0o777, owner, os.readlink(on_host))
            elif stat.S_ISREG(mode):
                content = hashlib.sha256(on_host.read_bytes()).hexdigest()
                tree[path] = Node("file", stat.S_IMODE(mode), owner, content)
            else:
                tree[path] = Node(f"kind {stat.S_IFMT(mode):o}", stat.S_IMODE(mode), owner, "")
        level = below
    return tree


def _list(image: Path, folders: list[str]) -> Iterator[tuple[str, tuple[int, tuple[int, int]]]]:
    with tempfile.NamedTemporaryFile("w", suffix=".debugfs") as script:
        script.write("".join(f'ls -p "{folder}"\n' for folder in folders))
        script.flush()
        done = _tool("debugfs", "-f", script.name, str(image))
    folder = ""
    for line in done.stdout.splitlines():
        echoed = re.fullmatch(r'debugfs: ls -p "(.*)"', line)
        entry = re.fullmatch(r"/(\d+)/(\d+)/(\d+)/(\d+)/(.*)/\d*/", line)
        if echoed:
            folder = echoed.group(1)
        elif entry and entry.group(5) not in (".", "..") and entry.group(1) != "0":
            facts = (int(entry.group(2), 8), (int(entry.group(3)), int(entry.group(4))))
            yield f"{folder.rstrip('/')}/{entry.group(5)}", facts
