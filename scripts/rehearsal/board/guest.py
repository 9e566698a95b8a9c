# SPDX-License-Identifier: MIT
"""An emulated device on the bench: power, the serial console, and the disk that a download arrives on.

A power cut is SIGKILL of QEMU: what the guest's disk has accepted is in the file, nothing else is. What a disk loses that has
accepted but not kept a write is replay.py's part.
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

PREFIX = "/tmp/ota_type_5"
HEADER = "/etc/ota_type_5.hdr"
EMULATOR = "qemu-system-arm"
BOOT = 120.0  # seconds; ten times what it takes
_DOWNLOAD_SIZE = 256 << 20  # sparse
_IMAGE_AT = 4096  # the header lies before it


class ConsoleError(AssertionError):
    """The guest did not say or do what it should have; the text has the end of what it said."""


class Guest:
    """A device with one disk. `with Guest(...) as guest` switches it on, and off in any case.

    disk: raw image, written to. u_boot: the firmware. arguments: more of QEMU's. Everything the console says is in
    `<disk>.log`. card=False: no SD card, the caller attaches the disk in another way.
    """

    def __init__(self, disk: Path, u_boot: Path, memory: int = 256, arguments: Sequence[str] = (), card: bool = True):
        self.disk, self.u_boot, self.memory, self.arguments, self.card = disk, u_boot, memory, list(arguments), card
        self.download = disk.with_suffix(".download")
        self.log = disk.with_suffix(".log")
        self.unread = ""
        """What the console said and nobody has waited for yet."""
        self.started = 0.0
        self.heard: list[tuple[float, str]] = []
        """Since power on: when it came (seconds) and what came."""
        self.process: subprocess.Popen[bytes] | None = None
        self._count = 0
        with self.download.open("ab") as stream:
            stream.truncate(_DOWNLOAD_SIZE)

    # ---- power ------------------------------------------------------------------------------------------------------

    def power_on(self) -> Guest:
        assert self.process is None, "the power is on already"
        command = [
            "setpriv",
            "--pdeathsig",
            "KILL",
            EMULATOR,
            "-M",
            "virt",
            "-cpu",
            "cortex-a15",
            "-m",
            str(self.memory),
        ]
        command += ["-nographic", "-nodefaults", "-serial", "stdio", "-net", "none"]
        # the host's page cache survives a cut, so nothing is gained by waiting for the host's disk
        options = "if=none,format=raw,cache=unsafe"
        if self.card:
            command += ["-bios", str(self.u_boot), "-device", "sdhci-pci", "-device", "sd-card,drive=card"]
            command += ["-drive", f"{options},id=card,file={self.disk}"]
        command += ["-drive", f"{options},id=download,readonly=on,file={self.download}"]
        command += ["-device", "virtio-blk-device,drive=download", *self.arguments]
        self._note("power on")
        self.unread, self.heard, self.started = "", [], time.monotonic()
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0
        )
        return self

    def cut(self) -> None:
        """Take the power away; without power, nothing happens."""
        if self.process is None:
            return
        process, self.process = self.process, None
        process.kill()
        process.wait()
        assert process.stdin and process.stdout
        self._hear(process.stdout.read() or b"")
        process.stdin.close()
        process.stdout.close()
        self._note("power cut")

    def wait_for_end(self, seconds: float = BOOT) -> None:
        """Until QEMU ends by itself, as it does at a restart with -no-reboot."""
        assert self.process
        with contextlib.suppress(ConsoleError):
            self.expect(r"(?!)", seconds)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            raise ConsoleError(f"QEMU still runs after {seconds:g} s") from None
        self.cut()

    def __enter__(self) -> Guest:
        return self.power_on()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut()

    # ---- console ----------------------------------------------------------------------------------------------------

    def expect(self, pattern: str, seconds: float = BOOT) -> re.Match[str]:
        """Wait until the console says something that matches; what it said up to there is read. Raises ConsoleError."""
        end = time.monotonic() + seconds
        while True:
            found = re.search(pattern, self.unread)
            if found:
                self.unread = self.unread[found.end() :]
                return found
            left = end - time.monotonic()
            if left <= 0:
                raise ConsoleError(f"{seconds:g} s without {pattern!r}; the console said:\n{self.unread[-1500:]}")
            self._read(left)

    @property
    def said(self) -> str:
        """Everything that the console said since power on, also after the power was cut."""
        return "".join(text for _, text in self.heard)

    def when(self, pattern: str, start: int = 0) -> tuple[float, int]:
        """When the console said something, in seconds since power on, and where that ends in what it said so far.

        start: the place to look from, of an earlier call. Raises ConsoleError when it was not said.
        """
        found = re.compile(pattern).search(self.said, start)
        if not found:
            raise ConsoleError(f"the console never said {pattern!r}")
        length = 0
        for moment, text in self.heard:
            length += len(text)
            if length >= found.end():
                return moment, found.end()
        raise AssertionError("a match beyond the end")

    def listen(self, seconds: float) -> None:
        """Let it run for so long."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._read(left)

    def say(self, line: str) -> None:
        assert self.process and self.process.stdin, "there is no power"
        self.process.stdin.write(line.encode() + b"\n")

    def start_command(self, command: str) -> str:
        """Run a command; a pattern for `expect` that matches its end is returned (groups: output, status)."""
        self._count += 1
        # the quotes keep the mark out of an echo of the command
        self.say(f"{{ {command}; }} 2>&1; echo \"END{self._count}\"'='$?.")
        return rf"(?s)(.*?)END{self._count}=(\d+)\.\n"

    def try_command(self, command: str, seconds: float = 60) -> tuple[int, str]:
        """Exit status and output of a command."""
        found = self.expect(self.start_command(command), seconds)
        return int(found.group(2)), found.group(1)

    def command(self, command: str, seconds: float = 60) -> str:
        """The output of a command that must succeed."""
        status, output = self.try_command(command, seconds)
        if status:
            raise ConsoleError(f"status {status} of: {command}\n{output[-1500:]}")
        return output

    def wait_until_up(self, seconds: float = BOOT) -> str:
        """The slot that has come up, is confirmed, and takes commands."""
        ready, confirmed = r"BENCH READY slot=([AB])", r"afero-ota-confirm: slot [AB] confirmed"
        found = self.expect(rf"(?s){ready}.*?{confirmed}|{confirmed}.*?{ready}", seconds)
        return found.group(1) or found.group(2)

    def read_file(self, path: str) -> bytes | None:
        """The content of a small file, None when there is none."""
        status, output = self.try_command(f"hexdump -v -e '1/1 \"%02x\"' {path}")
        return bytes.fromhex("".join(re.findall(r"(?m)^[0-9a-f]+$", output))) if status == 0 else None

    def _read(self, seconds: float) -> None:
        assert self.process and self.process.stdout, "there is no power"
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            if not selector.select(min(seconds, 0.2)):
                return
        data = os.read(self.process.stdout.fileno(), 65536)
        if not data:
            raise ConsoleError(f"QEMU ended by itself; the console said:\n{self.unread[-1500:]}")
        self._hear(data)

    def _hear(self, data: bytes) -> None:
        with self.log.open("ab") as log:
            log.write(data)
        text = data.decode("latin-1").replace("\r", "")
        self.unread += text
        self.heard.append((time.monotonic() - self.started, text))

    def _note(self, text: str) -> None:
        with self.log.open("ab") as log:
            log.write(f"\n##### {text}\n".encode())

    # ---- hubby's and otamgr's part ----------------------------------------------------------------------------------

    def deliver(self, image: Path, header: Path | None) -> None:
        """What hubby leaves: <prefix>.img and, if there is one, <prefix>.hdr."""
        with self.download.open("r+b") as stream, image.open("rb") as content:
            if header:
                stream.write(header.read_bytes())
            stream.seek(_IMAGE_AT)
            shutil.copyfileobj(content, stream)
        size = image.stat().st_size
        device = "$(for d in /dev/vd?; do [ -b ${d}4 ] || echo $d; done)"
        steps = [f"d={device}", "blockdev --flushbufs $d", f"rm -f {PREFIX}.*"]
        steps.append(f"dd if=$d bs={_IMAGE_AT} skip=1 count={-(-size // _IMAGE_AT)} of={PREFIX}.img")
        if size % _IMAGE_AT:
            steps.append(f"truncate -s {size} {PREFIX}.img")
        if header:
            steps.append(f"head -c {header.stat().st_size} $d > {PREFIX}.hdr")
        self.command(" && ".join(steps), 120)

    def start_sysupgrade(self) -> str:
        """What otamgr does: the header to the running /etc first, the reason, then sysupgrade. A pattern for its end."""
        steps = f"cp {PREFIX}.hdr /etc/; echo full_ota > /afero_nv/reboot_reason; /sbin/sysupgrade {PREFIX}.img"
        return self.start_command(steps)
