# SPDX-License-Identifier: MIT
"""boot.scr in U-Boot, with environments that no ordinary update leaves behind: it must go on trying every complete slot.

There is no kernel in the slots, so each start fails at once and the next one follows; or one that does nothing, for power cuts.
"""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import threading
from pathlib import Path

import pytest

from rehearsal.board import parts
from rehearsal.board.guest import EMULATOR
from rehearsal.build import Unavailable
from rehearsal.folders import PROJECT

BOARD = 'mmc=0\nslots=/dev/mmcblk0p\nboot=bootz\nkernel=/boot/zImage\nfdt=\ninitramfs=\nargs="console=ttyAMA0"\n'
SLOT_STARTS = {"A": 40960, "B": 73728}  # sectors
LAYOUT = "label: dos\nstart=8192,size=32768,type=c\nstart=40960,size=32768\nstart=73728,size=32768\nstart=106496\n"


def run(*command: str, text: str | None = None) -> None:
    subprocess.run(command, input=text, text=True, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


@pytest.fixture(scope="module")
def u_boot() -> Path:
    if not shutil.which(EMULATOR):
        pytest.skip(f"NO EMULATED DEVICE HERE, its tests do not run: no {EMULATOR}")
    try:
        return parts.u_boot()
    except Unavailable as reason:
        pytest.skip(f"NO EMULATED DEVICE HERE, its tests do not run: {reason}")


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A disk with boot.scr and two empty slots; `complete(slot)` marks one."""
    path = tmp_path / "disk.img"
    with path.open("wb") as stream:
        stream.truncate(128 << 20)
    run("/sbin/sfdisk", "-q", str(path), text=LAYOUT)
    common = PROJECT / "meta-afero-ota/recipes-bsp/afero-ota-boot/files/boot.cmd"
    (tmp_path / "boot.cmd").write_text(BOARD + common.read_text())
    run("mkimage", "-A", "arm", "-T", "script", "-C", "none", "-d", f"{tmp_path}/boot.cmd", f"{tmp_path}/boot.scr")
    run("/sbin/mkfs.vfat", "-F", "16", "--offset", "8192", str(path), "16384")
    run("mcopy", "-i", f"{path}@@4M", f"{tmp_path}/boot.scr", "::")
    (tmp_path / "fw_env.config").write_text(f"{path} 0x200000 0x4000\n{path} 0x280000 0x4000\n")
    return path


# what bootz takes for a kernel: an endless loop, and at 0x24 zImage's magic number, start and end
HANGING_KERNEL = struct.pack("<I32x3I", 0xEAFFFFFE, 0x016F2818, 0, 48)


def make_slot(disk: Path, slot: str, complete: bool, kernel: bytes = b"") -> None:
    tree = disk.parent / f"slot-{slot}"
    (tree / "etc/afero-ota").mkdir(parents=True)
    if kernel:
        (tree / "boot").mkdir()
        (tree / "boot/zImage").write_bytes(kernel)
    if complete:
        (tree / "etc/afero-ota/complete").write_text("x")
    offset = f"offset={SLOT_STARTS[slot] * 512}"
    run(
        "/sbin/mke2fs",
        "-q",
        "-F",
        "-t",
        "ext4",
        "-b",
        "4096",
        "-O",
        "^64bit,^metadata_csum",
        "-d",
        str(tree),
        "-E",
        offset,
        str(disk),
        "16384k",
    )


def set_environment(disk: Path, text: str) -> None:
    run("fw_setenv", "-c", f"{disk.parent}/fw_env.config", "-s", "-", text=text)


def both_copies(disk: Path) -> list[bytes]:
    content = disk.read_bytes()
    return [content[offset : offset + 0x4000] for offset in (0x200000, 0x280000)]


def starts(disk: Path, u_boot: Path, count: int, seconds: float = 120) -> str:
    """The slots that boot.scr starts, in order; the power is cut at the start of the last one."""
    found = []
    command = [
        EMULATOR,
        "-M",
        "virt",
        "-cpu",
        "cortex-a15",
        "-m",
        "256",
        "-nographic",
        "-nodefaults",
        "-net",
        "none",
        "-serial",
        "stdio",
    ]
    command += ["-bios", str(u_boot), "-drive", f"if=none,format=raw,id=card,file={disk}", "-device", "sdhci-pci"]
    with subprocess.Popen(
        [*command, "-device", "sd-card,drive=card"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as emulator:
        assert emulator.stdout
        late = threading.Timer(seconds, emulator.kill)
        late.start()
        try:
            for line in emulator.stdout:
                if match := re.search(rb"afero-ota: starting slot (\w)", line):
                    found.append(match.group(1).decode())
                    if len(found) == count:
                        break
        finally:
            late.cancel()
            emulator.kill()
    return "".join(found)


def test_a_blank_environment_and_then_every_try_used_up_and_given_back(disk: Path, u_boot: Path) -> None:
    for slot in "AB":
        make_slot(disk, slot, True)
    assert starts(disk, u_boot, 7) == "AAABBBA"


@pytest.mark.parametrize(
    ("environment", "complete", "expected"),
    [
        ("BOOT_ORDER=B\nBOOT_A_LEFT=0\nBOOT_B_LEFT=2\n", "A", "AAA"),
        ("BOOT_ORDER=B A\nBOOT_A_LEFT=3\nBOOT_B_LEFT=3\n", "A", "AAA"),
        ("BOOT_ORDER=A\nBOOT_A_LEFT=1\nBOOT_B_LEFT=0\n", "AB", "AAAAB"),
        ("BOOT_ORDER=A B\nAFERO_OTA_CONFIRMED=A\nBOOT_A_LEFT=3\nBOOT_B_LEFT=3\n", "AB", "AAAAB"),
        ("BOOT_ORDER=B A\nAFERO_OTA_CONFIRMED=A\nBOOT_A_LEFT=3\nBOOT_B_LEFT=2\n", "AB", "BBAAAA"),
        ("BOOT_ORDER=A\nAFERO_OTA_CONFIRMED=A\nBOOT_A_LEFT=3\nBOOT_B_LEFT=0\n", "AB", "AAAAAAAB"),
        ("BOOT_ORDER=neither\nBOOT_A_LEFT=zz\nBOOT_B_LEFT=\n", "B", "BBB"),
    ],
    ids=[
        "only the incomplete one in the order",
        "incomplete one first",
        "used up",
        "the confirmed one cannot be loaded",
        "nor can the new one",
        "only the confirmed one in the order",
        "garbage",
    ],
)
@pytest.mark.long
def test_a_complete_slot_is_started_whatever_the_environment_says(
    disk: Path, u_boot: Path, environment: str, complete: str, expected: str
) -> None:
    for slot in "AB":
        make_slot(disk, slot, slot in complete)
    assert starts(disk, u_boot, 1)  # U-Boot has written its own environment
    set_environment(disk, environment)
    assert starts(disk, u_boot, len(expected)) == expected


def test_power_cuts_take_tries_from_a_new_system_only(disk: Path, u_boot: Path) -> None:
    for slot in "AB":
        make_slot(disk, slot, True, HANGING_KERNEL)
    assert starts(disk, u_boot, 1) == "A"  # U-Boot has written its own environment
    set_environment(disk, "BOOT_ORDER=B A\nBOOT_A_LEFT=3\nBOOT_B_LEFT=2\nAFERO_OTA_CONFIRMED=A\nAFERO_OTA_TRYING=x\n")
    assert [starts(disk, u_boot, 1) for _ in range(2)] == ["B", "B"]
    before = both_copies(disk)
    # the old system, for as long as it takes, and without a write
    assert [starts(disk, u_boot, 1) for _ in range(5)] == ["A"] * 5
    assert both_copies(disk) == before
