# SPDX-License-Identifier: MIT
"""Runs the local OTA service as a process of its own, for tests and for the demo.

    with RunningService() as service:
        service.url, service.conf, service.account_id, service.sim.stats()

`python` must have the modules of scripts/requirements/service.txt; by default it is the interpreter that runs this.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

import requests

SCRIPTS = Path(__file__).resolve().parents[1]
_START, _STOP = 30.0, 10.0  # seconds
DEFAULTS = {
    "description": "Full image of the gateway",
    "name": "Gateway",
    "version": "1.0",
    "url": "dummy",
    "username": "dev@example.com",
    "userpw": "rehearsal-only",
    "auth-string": "bG9jYWwtY2xpZW50OmxvY2FsLXNlY3JldA==",
    "deviceTypeId": "a6542896-0000-4000-8000-664a57e4e703",
    "partnerId": "4f7de484-0000-4000-8000-412104d5120b",
    "imageFiles": {"A": "hub_update.bin"},
}


class Sim:
    """The /sim/ endpoints of a service; what each does is in ota_service/sim.py."""

    def __init__(self, url: str):
        self.url = url

    def call(self, method: str, path: str, **options: Any) -> Any:
        """The JSON of a /sim/ answer, or None when it has none. Raises requests.HTTPError."""
        answer = requests.request(method, f"{self.url}/sim{path}", timeout=30, **options)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def register(self, device_id: str, **facts: str) -> dict[str, Any]:
        """facts: deviceTypeId, friendlyName, versionNumber."""
        result: dict[str, Any] = self.call("POST", "/devices", json={"deviceId": device_id, **facts})
        return result

    def change(self, device_id: str, **changes: Any) -> None:
        """changes: behaviour, updating, available, versionNumber."""
        self.call("PUT", f"/devices/{quote(device_id, safe='')}", json=changes)

    def device(self, device_id: str) -> dict[str, Any]:
        result: dict[str, Any] = self.call("GET", f"/devices/{quote(device_id, safe='')}")
        return result

    def update(self, device_id: str) -> dict[str, Any] | None:
        """The update that waits for a device, None when there is none."""
        result: dict[str, Any] | None = self.call("GET", f"/devices/{quote(device_id, safe='')}/update")
        return result

    def report(self, device_id: str, state: str, **facts: Any) -> None:
        """facts: versionNumber, offset, total, detail, reason."""
        self.call("POST", f"/devices/{quote(device_id, safe='')}/report", json={"state": state, **facts})

    def stats(self) -> dict[str, Any]:
        """requests, pushes, records, associations, faults."""
        result: dict[str, Any] = self.call("GET", "/stats")
        return result

    def pushes(self) -> list[dict[str, Any]]:
        result: list[dict[str, Any]] = self.call("GET", "/pushes")
        return result

    def fleet(self) -> list[dict[str, Any]]:
        """The truth about every device of the simulated fleet."""
        result: list[dict[str, Any]] = self.call("GET", "/fleet")
        return result

    def forget(self, device_id: str) -> None:
        """Take a device out of the account."""
        self.call("DELETE", f"/devices/{quote(device_id, safe='')}")

    def expire_tokens(self) -> None:
        self.call("POST", "/expireTokens")

    def set_faults(self, rules: str | dict[str, Any]) -> None:
        """A faults document, as YAML text or as data; an empty one ends all faults."""
        text = rules if isinstance(rules, str) else json.dumps(rules)
        self.call("PUT", "/faults", data=text.encode())


class RunningService:
    """A context manager around one service process.

    folder: where data, configuration and faults file go; kept if given, else temporary.
    faults: a faults document (YAML text or data) that is in force from the start.
    conf: further keys for the configuration file. arguments: further options of the command.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None = None,
        faults: str | dict[str, Any] | None = None,
        conf: dict[str, Any] | None = None,
        arguments: tuple[str, ...] = (),
        python: str = sys.executable,
        port: int = 0,
    ):
        self._scratch = None if folder else tempfile.TemporaryDirectory(prefix="ota-service-test-")
        self.folder = Path(folder or self._scratch.name)  # type: ignore[union-attr]
        self.data, self.conf = self.folder / "data", self.folder / "partner-ota-conf.json"
        self._faults, self._arguments, self._python, self._port = faults, arguments, python, port
        self.settings = {**DEFAULTS, **(conf or {})}
        self.url, self.account_id = "", ""
        self.process: subprocess.Popen[str] | None = None

    @property
    def partner_id(self) -> str:
        return str(self.settings["partnerId"])

    @property
    def device_type_id(self) -> str:
        return str(self.settings["deviceTypeId"])

    @property
    def sim(self) -> Sim:
        return Sim(self.url)

    def start(self) -> RunningService:
        """Start the process and wait until it accepts connections. Raises RuntimeError with what it said."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._write_conf()
        command = [self._python, "-m", "rehearsal.ota_service", "--port", str(self._port), "--data", str(self.data)]
        command += ["--conf", str(self.conf), *self._arguments]
        if self._faults is not None:
            file = self.folder / "faults.yml"
            file.write_text(self._faults if isinstance(self._faults, str) else json.dumps(self._faults))
            command += ["--faults", str(file)]
        environment = {**os.environ, "PYTHONPATH": str(SCRIPTS), "PYTHONDONTWRITEBYTECODE": "1"}
        with (self.folder / "stderr.log").open("ab") as errors:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment, stdin=subprocess.DEVNULL
            )
        try:
            self.url = self._first_line().rpartition(" ")[2]
            # the file names the address, which is known only now; the account in it is the same
            self._write_conf()
            self.account_id = self.sim.call("GET", "")["accountId"]
        except BaseException:
            self.stop()
            raise
        return self

    def _write_conf(self) -> None:
        self.conf.write_text(json.dumps({**self.settings, "serviceUrl": self.url}, indent=4) + "\n")
        self.conf.chmod(0o600)

    def share(self) -> None:
        """Let other users read the configuration, the build user above all: an account for a rehearsal is no secret."""
        self.folder.chmod(0o755)
        self.conf.chmod(0o644)

    def _first_line(self) -> str:
        assert self.process and self.process.stdout
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            line = self.process.stdout.readline() if selector.select(_START) else ""
        if not line.startswith("OTA service on http://"):
            said = (self.folder / "stderr.log").read_text(errors="replace")[-2000:]
            raise RuntimeError(f"the OTA service did not start: {line}{said}")
        return line.strip()

    def stop(self) -> int:
        """End the process, by force if it must be; always reaps it. Returns its exit status."""
        if self.process is None:
            return 0
        process, self.process = self.process, None
        process.terminate()
        try:
            status = process.wait(_STOP)
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait()
        if process.stdout:
            process.stdout.close()
        return status

    def kill(self) -> None:
        """End the process as a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.stop()

    def peak_memory(self) -> int:
        """The most resident memory the process had so far, in bytes (Linux)."""
        assert self.process
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError("the kernel does not tell the peak memory")

    def token(self) -> str:
        """A fresh access token."""
        answer = requests.post(
            f"{self.url}/oauth/token",
            data={
                "grant_type": "password",
                "username": self.settings["username"],
                "password": self.settings["userpw"],
            },
            headers={"Authorization": f"Basic {self.settings['auth-string']}"},
            timeout=30,
        )
        answer.raise_for_status()
        return str(answer.json()["access_token"])

    def __enter__(self) -> RunningService:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self._scratch:
            self._scratch.cleanup()


def wait_until(condition: Any, seconds: float = 20.0, pause: float = 0.02) -> Any:
    """What `condition()` returns once it is true. Raises TimeoutError."""
    end = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            raise TimeoutError(f"nothing came true in {seconds:g} s")
        time.sleep(pause)
