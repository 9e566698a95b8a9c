#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A simulated device: what hubby and otamgr do on a real one, against the local OTA service.

hubby downloads the signed header and the image (and resumes a download that was cut), checks both, and leaves
`<prefix>.img` and `<prefix>.hdr`; otamgr runs the sysupgrade program on `<prefix>.img`. When that exits with status 0, and only
then, the header is copied to the new root's /etc and the new versionNumber (attribute 2005) is reported.
(docs/LinuxSDK-FullImageUpdate.md, docs/LinuxSDK-OTAManager.md)

The root folder is the running system. The sysupgrade program finds its path in SIMHUB_ROOT, and the path of the root that it
must write in SIMHUB_NEW_ROOT.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable
from urllib.parse import quote

import requests
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

HEADER_SIZE = 216
HUB_IMAGE = 5
_SIGNED = HEADER_SIZE - 64
_LAYOUT = struct.Struct("<BBHQQ32s")  # type, format, 0, versionNumber, size, SHA-256; see the service's signing.py
_BLOCK = 16 * 1024  # bytes; a cut download loses at most one block
_REPORT_EVERY = 0.5  # seconds between two reports of a download's progress
_REASON_LIMIT = 74  # bytes; what attrd can send of a reboot reason
_RECORD_NAMES = ("full_ota_record.json", "full-ota-record.json")


class UpdateError(Exception):
    """An update did not succeed; the device goes on with what it has. outcome: how its reboot reason says so."""

    def __init__(self, text: str, outcome: str = ""):
        super().__init__(text)
        self.outcome = outcome or f"failed 20 {text}"


def sysupgrade_failed(status: int, output: str) -> UpdateError:
    """The error for sysupgrade's exit status; those below 20 leave the device as it was (recipes-core/afero-sysupgrade)."""
    word = "refused" if status < 20 else "failed"
    return UpdateError(f"sysupgrade ended with status {status}: {output}", f"{word} {status} {output}")


@dataclass(frozen=True)
class Header:
    """What a signed header says."""

    type: int
    version_number: int
    size: int
    sha256: str


def read_header(raw: bytes, key: Ed25519PublicKey) -> Header:
    """Decode and verify a header. Raises UpdateError when it is malformed or not signed with the service's key."""
    if len(raw) != HEADER_SIZE:
        raise UpdateError(f"a header has {HEADER_SIZE} bytes, not {len(raw)}")
    try:
        key.verify(raw[_SIGNED:], raw[:_SIGNED])
    except InvalidSignature:
        raise UpdateError("the header's signature is not the service's") from None
    kind, form, _, number, size, digest = _LAYOUT.unpack_from(raw)
    if form != 1:
        raise UpdateError(f"the header has the unknown format {form}")
    return Header(kind, number, size, digest.hex())


def service_key(url: str, session: requests.Session | None = None) -> Ed25519PublicKey:
    """The key that the service at this URL signs headers with. Raises requests.RequestException, UpdateError."""
    answer = (session or requests).get(f"{url.rstrip('/')}/sim/key", timeout=30)
    answer.raise_for_status()
    key = load_pem_public_key(answer.content)
    if not isinstance(key, Ed25519PublicKey):
        raise UpdateError("the service's key is not an Ed25519 key")
    return key


def version_of(read: Callable[[str], bytes | None], prefix_name: str, key: Ed25519PublicKey) -> int:
    """The versionNumber that a system runs: from the header in its /etc, else from its OTA record, else 0.

    read: gives the content of a file of the system by its path, None when there is no such file.
    prefix_name: the file name of the prefix, such as ota_type_5.
    """
    header = read(f"/etc/{prefix_name}.hdr")
    if header is not None:
        return read_header(header, key).version_number
    for name in _RECORD_NAMES:
        try:
            return int(json.loads(read(f"/etc/{name}") or b"")["versionNumber"])
        except (ValueError, KeyError, TypeError):
            continue
    return 0


@dataclass
class Hub:
    """One simulated device.

    service: URL of the local OTA service. root: folder of the running system. prefix: where downloads go, such as
    /tmp/ota_type_5. sysupgrade: program and arguments; the path of the image is appended. new_root: folder of the new system,
    `root` if not given. attempts, pause: how often a download is tried, and the seconds between two attempts.
    """

    service: str
    device_id: str
    root: Path
    prefix: Path
    sysupgrade: Sequence[str]
    new_root: Path | None = None
    device_type_id: str = ""
    attempts: int = 5
    pause: float = 0.2
    log: Callable[[str], None] = lambda text: None
    session: requests.Session = field(default_factory=requests.Session)

    def __post_init__(self) -> None:
        self.base = f"{self.service.rstrip('/')}/sim"
        self.device = f"{self.base}/devices/{quote(self.device_id, safe='')}"
        self.key = service_key(self.service, self.session)

    # ---- hubby ------------------------------------------------------------------------------------------------------

    def running_version(self) -> int:
        """The versionNumber of the running system."""
        return version_of(self._read, self.prefix.name, self.key)

    def _read(self, path: str) -> bytes | None:
        file = self.root / path.lstrip("/")
        return file.read_bytes() if file.is_file() else None

    def register(self) -> None:
        """Add the device to the account, with the version that it runs."""
        body = {"deviceId": self.device_id, "versionNumber": str(self.running_version())}
        if self.device_type_id:
            body["deviceTypeId"] = self.device_type_id
        self._call("POST", f"{self.base}/devices", json=body)

    def pending(self) -> dict[str, Any] | None:
        """The update that the service has for this device, or None."""
        answer = self._call("GET", f"{self.device}/update")
        found: dict[str, Any] | None = answer.json() if answer.status_code == 200 else None
        return found

    def poll(self) -> bool:
        """Install the pending update, if there is one. True when the device runs a new version afterwards."""
        update = self.pending()
        if update is None:
            return False
        behaviour = self._call("GET", self.device).json()["behaviour"]
        try:
            header = self.fetch(update)
            self.report("installing", reason="full_ota")
            self.install(header, behaviour)
        except UpdateError as error:
            state = "rolledBack" if behaviour == "rollback" else "failed"
            self.log(f"update to {update['versionNumber']}: {error}")
            line = " ".join(f"ota {update['versionNumber']} {error.outcome}".split())
            line = line.encode()[:_REASON_LIMIT].decode(errors="ignore")
            self.report(state, versionNumber=str(self.running_version()), detail=str(error)[:2000], reason=line)
            return False
        line = f"ota {update['versionNumber']} ok"
        self.report("done", versionNumber=str(self.running_version()), reason=line)
        return bool(behaviour != "loop")

    def fetch(self, update: dict[str, Any]) -> Header:
        """Download and check; leaves <prefix>.img and <prefix>.hdr. Raises UpdateError."""
        part = self.prefix.with_name(f"{self.prefix.name}.part")
        part.parent.mkdir(parents=True, exist_ok=True)
        self._download(update["url"], part)
        with part.open("rb") as stream:
            raw = stream.read(HEADER_SIZE)
            try:
                header = read_header(raw, self.key)
                self._split(stream, header)
            except UpdateError:
                self._forget(part)
                raise
        self._suffixed(".hdr").write_bytes(raw)
        self._forget(part)
        self.log(f"image of {header.size} bytes, versionNumber {header.version_number}, is verified")
        return header

    def _download(self, url: str, part: Path) -> None:
        failure = "nothing was tried"
        for attempt in range(1, self.attempts + 1):
            try:
                return self._get_rest(url, part)
            except (requests.RequestException, OSError) as error:
                failure = str(error)
                self.log(f"download cut ({failure[:100]}), attempt {attempt} of {self.attempts}")
                time.sleep(self.pause)
        raise UpdateError(f"the download failed {self.attempts} times: {failure}")

    def _get_rest(self, url: str, part: Path) -> None:
        """Append what is missing; start over when the service has another file by now (If-Range)."""
        tag = self._tag_file(part)
        have = part.stat().st_size if part.exists() and tag.exists() else 0
        headers = {"Range": f"bytes={have}-", "If-Range": tag.read_text()} if have else {}
        with self.session.get(url, headers=headers, stream=True, timeout=(10, 30)) as answer:
            if answer.status_code == 416:
                total = answer.headers.get("Content-Range", "").rpartition("/")[2]
                if total == str(have):
                    return
                self._forget(part)
                raise OSError("the kept part does not belong to this file")
            answer.raise_for_status()
            resumed = answer.status_code == 206
            if resumed:
                self.log(f"download resumes at byte {have}")
            tag.write_text(answer.headers.get("ETag", ""))
            total_size = int(answer.headers["Content-Length"]) + (have if resumed else 0)
            size, told = have if resumed else 0, 0.0
            with part.open("ab" if resumed else "wb") as stream:
                for block in answer.iter_content(_BLOCK):
                    stream.write(block)
                    stream.flush()
                    size += len(block)
                    if time.monotonic() - told > _REPORT_EVERY:
                        self.report("downloading", offset=size, total=total_size)
                        told = time.monotonic()
            if size != total_size:
                raise OSError(f"{size} of {total_size} bytes came")

    def _split(self, stream: Any, header: Header) -> None:
        digest, size, image = hashlib.sha256(), 0, self._suffixed(".img")
        temporary = self._suffixed(".img.new")
        with temporary.open("wb") as out:
            while block := stream.read(_BLOCK):
                digest.update(block)
                out.write(block)
                size += len(block)
        if (size, digest.hexdigest()) != (header.size, header.sha256):
            temporary.unlink()
            raise UpdateError("the image is not the one that the header describes")
        if header.type != HUB_IMAGE:
            temporary.unlink()
            raise UpdateError(f"the image has type {header.type}, not {HUB_IMAGE}")
        os.replace(temporary, image)

    # ---- otamgr -----------------------------------------------------------------------------------------------------

    def install(self, header: Header, behaviour: str = "normal") -> None:
        """Run sysupgrade and copy the header to the new root's /etc. Raises UpdateError when sysupgrade fails."""
        image, new_root = self._suffixed(".img"), self.new_root or self.root
        environment = {**os.environ, "SIMHUB_ROOT": str(self.root), "SIMHUB_NEW_ROOT": str(new_root)}
        if behaviour == "fail":
            raise UpdateError("the installation fails, as the device was told to")
        done = subprocess.run([*self.sysupgrade, str(image)], env=environment, capture_output=True, text=True)
        if done.returncode:
            said = (done.stderr or done.stdout).strip()[-500:]
            raise sysupgrade_failed(done.returncode, said)
        if behaviour == "rollback":
            raise UpdateError("the new system did not come up; the old one runs", "rolled back, health simulated")
        if behaviour != "loop":
            self._install_header(new_root)
            self.root = new_root
        self.log(f"runs versionNumber {self.running_version()}")

    def _install_header(self, new_root: Path) -> None:
        etc = new_root / "etc"
        etc.mkdir(parents=True, exist_ok=True)
        temporary = etc / f".{self.prefix.name}.hdr.new"
        temporary.write_bytes(self._suffixed(".hdr").read_bytes())
        os.replace(temporary, etc / f"{self.prefix.name}.hdr")

    # ---- helpers -----------------------------------------------------------------------------------------------------

    def report(self, state: str, **facts: Any) -> None:
        """Report the device's state: downloading, installing, done, failed or rolledBack."""
        self._call("POST", f"{self.device}/report", json={"state": state, **facts})

    def _call(self, method: str, url: str, **options: Any) -> requests.Response:
        answer = self.session.request(method, url, timeout=30, **options)
        answer.raise_for_status()
        return answer

    def _suffixed(self, suffix: str) -> Path:
        return self.prefix.with_name(self.prefix.name + suffix)

    def _tag_file(self, part: Path) -> Path:
        return part.with_name(f"{part.name}.etag")

    def _forget(self, part: Path) -> None:
        part.unlink(missing_ok=True)
        self._tag_file(part).unlink(missing_ok=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="A simulated device for the local OTA service.")
    parser.add_argument("--service", required=True, metavar="URL")
    parser.add_argument("--device-id", required=True, metavar="ID")
    parser.add_argument("--device-type-id", default="", metavar="ID")
    parser.add_argument("--root", required=True, type=Path, metavar="DIR", help="root folder of the running system")
    parser.add_argument(
        "--new-root", type=Path, metavar="DIR", help="root folder that sysupgrade writes (default: --root)"
    )
    parser.add_argument("--prefix", required=True, type=Path, metavar="PATH", help="such as /tmp/ota_type_5")
    parser.add_argument("--sysupgrade", required=True, metavar="PROGRAM", help="is run with the image's path")
    parser.add_argument(
        "--once", action="store_true", help="one look for an update; status 3 when nothing was installed"
    )
    parser.add_argument("--interval", type=float, default=1.0, metavar="S", help="seconds between looks")
    options = parser.parse_args()

    def say(text: str) -> None:
        print(f"{options.device_id}: {text}", flush=True)

    try:
        hub = Hub(
            options.service,
            options.device_id,
            options.root,
            options.prefix,
            [options.sysupgrade],
            options.new_root,
            options.device_type_id,
            log=say,
        )
        hub.register()
        say(f"registered, runs versionNumber {hub.running_version()}")
        while True:
            updated = hub.poll()
            if options.once:
                return 0 if updated else 3
            time.sleep(options.interval)
    except (requests.RequestException, UpdateError, OSError) as error:
        print(f"hub: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
