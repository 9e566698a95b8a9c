# SPDX-License-Identifier: MIT
"""An emulated board: its power, its serial console, and the second disk that brings downloads into it.

A power cut is SIGKILL of QEMU: every write that the guest's disk has accepted is in the image file, and nothing else. Disks that
lose writes which they have accepted are simulated in tests/device/replay.py.
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

PREFIX = "/tmp/ota_type_5"
HEADER = "/etc/ota_type_5.hdr"
EMULATOR = "qemu-system-arm"
BOOT = 120.0  # seconds; a boot takes a tenth of it
_SILENCE = 5.0  # seconds without output after which QEMU is woken
_DOWNLOAD_SIZE = 256 << 20  # sparse
_IMAGE_AT = 4096  # offset in the download disk; the header is at its start


class ConsoleError(AssertionError):
    """The guest did not do what was expected; the message ends with its last output."""


class Guest:
    """A board with one disk. `with Guest(...)` switches it on, and off again however the block ends.

    disk: raw image, written to. u_boot: the firmware. memory: MiB. arguments: further ones for QEMU. card: False when the
    arguments attach the disk, instead of the SD card. The console's output is also written to `<disk>.log`.
    """

    def __init__(self, disk: Path, u_boot: Path, memory: int = 256, arguments: Sequence[str] = (), card: bool = True):
        self.disk, self.u_boot, self.memory, self.arguments, self.card = disk, u_boot, memory, list(arguments), card
        self.download = disk.with_suffix(".download")
        self.log = disk.with_suffix(".log")
        self.on_line: Callable[[str], None] | None = None
        """Called with each line of the console's output, when it has been read."""
        self.unread = ""
        """The console's output that no call of `expect` has consumed yet."""
        self.started = 0.0
        self.chunks: list[tuple[float, str]] = []
        """The console's output since power on: seconds and text of each read."""
        self.process: subprocess.Popen[bytes] | None = None
        self._monitor: socket.socket | None = None
        self._heard = 0.0
        self._line = ""
        self._count = 0
        with self.download.open("ab") as stream:
            stream.truncate(_DOWNLOAD_SIZE)

    # ---- power ------------------------------------------------------------------------------------------------------

    def power_on(self) -> Guest:
        assert self.process is None, "the power is on already"
        command = ["setpriv", "--pdeathsig", "KILL", EMULATOR]
        command += ["-M", "virt", "-cpu", "cortex-a15", "-m", str(self.memory)]
        command += ["-nographic", "-nodefaults", "-serial", "stdio", "-net", "none"]
        # the host's page cache survives a cut, so nothing is gained by waiting for the host's disk
        options = "if=none,format=raw,cache=unsafe"
        if self.card:
            command += ["-bios", str(self.u_boot), "-device", "sdhci-pci", "-device", "sd-card,drive=card"]
            command += ["-drive", f"{options},id=card,file={self.disk}"]
        command += ["-drive", f"{options},id=download,readonly=on,file={self.download}"]
        command += ["-device", "virtio-blk-device,drive=download", *self.arguments]
        self._note("power on")
        self.unread, self.chunks, self._line, self.started = "", [], "", time.monotonic()
        self._monitor, theirs = socket.socketpair()
        self._monitor.setblocking(False)
        with theirs:
            fd = theirs.fileno()
            command += ["-chardev", f"socket,id=monitor,fd={fd}", "-mon", "chardev=monitor,mode=readline"]
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                bufsize=0,
                pass_fds=[fd],
            )
        self._heard = self.started
        return self

    def cut(self) -> None:
        """Cut the power; does nothing when it is off."""
        if self.process is None:
            return
        process, self.process = self.process, None
        process.kill()
        process.wait()
        assert process.stdin and process.stdout
        self._receive(process.stdout.read() or b"")
        process.stdin.close()
        process.stdout.close()
        if self._monitor:
            self._monitor.close()
        self._note("power cut")

    def wait_for_end(self, seconds: float = BOOT) -> None:
        """Wait until QEMU exits by itself, as it does at a reboot with -no-reboot."""
        assert self.process
        with contextlib.suppress(ConsoleError):
            self.expect(r"(?!)", seconds)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            raise ConsoleError(f"QEMU is still running after {seconds:g} s") from None
        self.cut()

    def __enter__(self) -> Guest:
        return self.power_on()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut()

    # ---- console ----------------------------------------------------------------------------------------------------

    def expect(self, pattern: str, seconds: float = BOOT) -> re.Match[str]:
        """Wait for output that matches, and consume everything up to its end. Raises ConsoleError."""
        end = time.monotonic() + seconds
        while True:
            found = re.search(pattern, self.unread)
            if found:
                self.unread = self.unread[found.end() :]
                return found
            left = end - time.monotonic()
            if left <= 0:
                raise ConsoleError(
                    f"no {pattern!r} within {seconds:g} s; the console's output ends:\n{self.unread[-1500:]}"
                )
            self._read(left)

    @property
    def output(self) -> str:
        """The console's output since power on; it stays after the power is cut."""
        return "".join(text for _, text in self.chunks)

    def time_of(self, pattern: str, start: int = 0) -> tuple[float, int]:
        """When the output matched, in seconds since power on, and the position in `output` where the match ends.

        start: the position to search from. Raises ConsoleError when nothing matches.
        """
        found = re.compile(pattern).search(self.output, start)
        if not found:
            raise ConsoleError(f"{pattern!r} is not in the console's output")
        length = 0
        for moment, text in self.chunks:
            length += len(text)
            if length >= found.end():
                return moment, found.end()
        raise AssertionError("the match ends after the output")

    def run_for(self, seconds: float) -> None:
        """Let the guest run for this long."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._read(left)

    def send(self, line: str) -> None:
        """Type a line on the console."""
        assert self.process and self.process.stdin, "the power is off"
        self.process.stdin.write(line.encode() + b"\n")

    def start_command(self, command: str) -> str:
        """Start a command. Returns a pattern for `expect` that matches when it ends (groups: output, status)."""
        self._count += 1
        # the quotes keep the mark out of an echo of the command
        self.send(f"{{ {command}; }} 2>&1; echo \"END{self._count}\"'='$?.")
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
        """Wait until a system is up, confirmed, and takes commands. Returns its slot."""
        # not syslog's copy: the line itself comes after it, and would get in between the output of the next command
        ready, confirmed = r"BENCH READY slot=([AB])", r"(?<!user\.notice )afero-ota-confirm: slot [AB] confirmed"
        found = self.expect(rf"(?s){ready}.*?{confirmed}|{confirmed}.*?{ready}", seconds)
        return found.group(1) or found.group(2)

    def read_file(self, path: str) -> bytes | None:
        """The content of a small file, None when there is none."""
        status, output = self.try_command(f"hexdump -v -e '1/1 \"%02x\"' {path}")
        return bytes.fromhex("".join(re.findall(r"(?m)^[0-9a-f]+$", output))) if status == 0 else None

    def _read(self, seconds: float) -> None:
        assert self.process and self.process.stdout, "the power is off"
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            if not selector.select(min(seconds, 0.2)):
                if time.monotonic() - self._heard > _SILENCE:
                    self._wake()
                return
        data = os.read(self.process.stdout.fileno(), 65536)
        if not data:
            raise ConsoleError(f"QEMU exited; the console's output ends:\n{self.unread[-1500:]}")
        self._receive(data)

    def _wake(self) -> None:
        """Make QEMU's main loop go round, which an empty line on its monitor does and the guest does not see.

        On a busy host QEMU 7.2 sometimes sleeps through the deadline of the guest's timer: a guest that waits for nothing else then
        stands still for ever (seen about once in 200 boots), until anything reaches the main loop.
        """
        assert self._monitor
        self._heard = time.monotonic()
        with contextlib.suppress(OSError):
            self._monitor.send(b"\n")
            self._monitor.recv(65536)

    def _receive(self, data: bytes) -> None:
        self._heard = time.monotonic()
        with self.log.open("ab") as log:
            log.write(data)
        text = data.decode("latin-1").replace("\r", "")
        self.unread += text
        self.chunks.append((time.monotonic() - self.started, text))
        *lines, self._line = (self._line + text).split("\n")
        if self.on_line:
            for line in lines:
                self.on_line(line)

    def _note(self, text: str) -> None:
        with self.log.open("ab") as log:
            log.write(f"\n##### {text}\n".encode())

    # ---- what hubby and otamgr do on a device -----------------------------------------------------------------------

    def deliver(self, image: Path, header: Path | None) -> None:
        """Put the image and the header, if there is one, where hubby leaves them: <prefix>.img and <prefix>.hdr."""
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
        """Do what otamgr does: copy the header to the running /etc, note the reason for a reboot, run sysupgrade.

        Returns a pattern as `start_command` does.
        """
        steps = f"cp {PREFIX}.hdr /etc/; echo full_ota > /afero_nv/reboot_reason; /sbin/sysupgrade {PREFIX}.img"
        return self.start_command(steps)
