# SPDX-License-Identifier: MIT
"""An emulated Afero device: it takes updates from the cloud, and its disk can be checked from outside."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from .. import hub as hubs
from ..service import RunningService
from . import disk
from .guest import HEADER, PREFIX, ConsoleError, Guest
from .releases import Release

MARKERS = "/etc/afero-ota"
REFERENCE = f"{MARKERS}/hdr/ota_type_5.hdr"
# what a slot has beside the payload; each is checked separately
_NOT_OF_THE_PAYLOAD = rf"/lost\+found|{HEADER}|{MARKERS}/hdr(/.*)?|{MARKERS}/complete"


class Device(Guest):
    """A guest with the layer's sysupgrade.

    key: the OTA service's, to verify headers. stalls: a list, of several devices perhaps, that an emulator which stopped by
    itself is noted in.
    """

    def __init__(
        self,
        path: Path,
        u_boot: Path,
        key: Ed25519PublicKey,
        memory: int = 256,
        arguments: Sequence[str] = (),
        stalls: list[str] | None = None,
    ):
        super().__init__(path, u_boot, memory, arguments)
        self.key, self.stalls = key, [] if stalls is None else stalls

    def scrap(self) -> None:
        """Cut the power and delete the disks; the log stays."""
        self.cut()
        for path in (self.disk, self.download):
            path.unlink(missing_ok=True)

    def make_user_data(self) -> None:
        """Write files to the data partition that no update may change."""
        steps = ["mkdir -p /data/user", "head -c 300000 /dev/urandom > /data/user/blob"]
        steps += ["sha256sum < /data/user/blob > /data/user/sum", "echo precious > /data/user/file", "sync"]
        self.command(" && ".join(steps))

    # ---- updates ----------------------------------------------------------------------------------------------------

    def update(self, release: Release, seconds: float = 300) -> tuple[int | None, str]:
        """Deliver and install a release. Returns as `wait_for_sysupgrade`."""
        self.deliver(release.image, release.header)
        return self.wait_for_sysupgrade(self.start_sysupgrade(), seconds)

    def wait_for_sysupgrade(self, ended: str, seconds: float = 300) -> tuple[int | None, str]:
        """Wait for the end of a sysupgrade; `ended` is what `start_sysupgrade` returned.

        Returns (None, output) when the device reboots, and (status, output) when sysupgrade failed.
        """
        before = len(self.chunks)
        try:
            found = self.expect(rf"{ended}|\nU-Boot 20\d\d", seconds)
        except ConsoleError:
            # a second time in a run is no accident
            if self.stalls or not self._has_stalled(seconds):
                raise
            output = self._output_since(before)
            self.stalls.append(f"{self.disk.stem}: the emulator stalled after sysupgrade ended; power was cycled")
            self.cut()
            self.power_on()
            return None, output
        if found.group(2) and found.group(2) != "0":
            return int(found.group(2)), found.group(1)
        if found.group(2):
            self.expect(r"\nU-Boot 20\d\d", seconds)
        return None, self._output_since(before)

    def _output_since(self, chunk: int) -> str:
        return "".join(text for _, text in self.chunks[chunk:])

    def _has_stalled(self, seconds: float) -> bool:
        """Whether the emulator itself stopped after sysupgrade ended (seen once in hundreds of updates).

        sysupgrade forces a reboot after a minute, and the kernel reports a task that hangs for two: if there was no output for
        most of `seconds`, nothing runs in the guest any more. On a real device the hardware watchdog would restart it, and
        softdog cannot.
        """
        output = self.output.rpartition("\nU-Boot 20")[2]
        silence = time.monotonic() - self.started - self.chunks[-1][0] if self.chunks else 0.0
        return bool(re.search(r"sysupgrade: .*DONE", output)) and silence > 0.8 * seconds

    def reported_version(self) -> str:
        """The versionNumber that hubby reports: from the header in /etc, else from the record."""
        return str(hubs.version_of(self.read_file, Path(PREFIX).name, self.key))

    # ---- checks from outside ----------------------------------------------------------------------------------------

    def check(self, slot: str, release: Release, factory: bool = False, user_data: bool = True) -> None:
        """The running device is one complete system: this slot holds exactly this release and its header.

        factory: the release came with the factory's disk, which has no header. user_data: `make_user_data` was called, and its
        files must be unchanged. Reads the disk from outside. Raises ConsoleError with what is wrong.
        """
        self.command("sync")
        problems = self._slot_problems(slot, release, factory)
        if user_data:
            problems += self._data_problems()
        if problems:
            raise ConsoleError("\n".join([f"slot {slot}, versionNumber {release.version_number}:", *problems]))

    def _slot_problems(self, slot: str, release: Release, factory: bool) -> list[str]:
        tree = disk.tree_of_partition(self.disk, disk.SLOTS[slot])
        found = disk.differences(tree, release.tree, _NOT_OF_THE_PAYLOAD)[:10]
        wanted = None if factory or not release.header else hashlib.sha256(release.header.read_bytes()).hexdigest()
        for path in (HEADER, REFERENCE):
            has = tree[path].content if path in tree else None
            if has != wanted:
                found.append(f"{path} has hash {has}, not {wanted}")
        if f"{MARKERS}/complete" not in tree:
            found.append(f"{MARKERS}/complete is missing")
        environment = disk.environment(self.disk)
        order, left = environment.get("BOOT_ORDER", ""), environment.get(f"BOOT_{slot}_LEFT")
        if order.split()[:1] != [slot] or left != "3":
            found.append(f"BOOT_ORDER is '{order}' and BOOT_{slot}_LEFT is {left}: the running slot is not confirmed")
        return found

    def _data_problems(self) -> list[str]:
        data = disk.tree_of_partition(self.disk, disk.DATA)
        names = [f"/user/{name}" for name in ("blob", "sum", "file")]
        if any(name not in data for name in names):
            return [f"user data is gone: {sorted(data)}"]
        blob, total, file = (data[name].content for name in names)
        wanted_sum = hashlib.sha256(f"{blob}  -\n".encode()).hexdigest()
        wanted_file = hashlib.sha256(b"precious\n").hexdigest()
        return [] if (total, file) == (wanted_sum, wanted_file) else ["user data is damaged"]


def differences_from_factory(factory_disk: Path, tree: disk.Tree) -> list[str]:
    """How slot A of a disk that was never started differs from this tree, one line each."""
    return disk.differences(disk.tree_of_partition(factory_disk, disk.SLOTS["A"]), tree, _NOT_OF_THE_PAYLOAD)


class GuestHub(hubs.Hub):
    """hubby for an emulated device: it downloads on the host, and otamgr's part runs in the guest.

    folder: on the host, for downloads.
    """

    def __init__(
        self,
        service: RunningService,
        device_id: str,
        folder: Path,
        guest: Device,
        log: Callable[[str], None] = lambda text: None,
    ):
        self.guest = guest
        prefix, type_id = folder / Path(PREFIX).name, service.device_type_id
        super().__init__(service.url, device_id, folder, prefix, [], device_type_id=type_id, log=log)

    def running_version(self) -> int:
        """What the guest's /etc says."""
        return int(self.guest.reported_version())

    def install(self, header: hubs.Header, behaviour: str = "normal") -> None:
        """Run sysupgrade in the guest and wait for the new system. Raises UpdateError, ConsoleError."""
        self.guest.deliver(self._suffixed(".img"), self._suffixed(".hdr"))
        status, output = self.guest.wait_for_sysupgrade(self.guest.start_sysupgrade())
        if status is not None:
            raise hubs.sysupgrade_failed(status, output)
        self.guest.wait_until_up()
        if self.running_version() != header.version_number:
            raise hubs.UpdateError("the new system did not come up")
