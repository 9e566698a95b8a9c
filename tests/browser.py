# SPDX-License-Identifier: MIT
"""A headless Chromium that opens a page and tells what it did, over the DevTools protocol on two pipes."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# as root, Chromium starts without its sandbox only
_OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe")
_DOMAINS = ("Page", "Log", "Runtime", "Network")
_COMPLAINTS = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Page.javascriptDialogOpening")


class Browser:
    """One browser with one page; use as a context manager. folder: for its profile."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._count, self._rest = 0, b""
        self._events: list[dict[str, Any]] = []

    def __enter__(self) -> Browser:
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        # Chromium reads from 3 and writes to 4: first to numbers that these cannot overwrite
        handles = [fcntl.fcntl(one, fcntl.F_DUPFD, 20) for one in (theirs_in, theirs_out)]
        command = [str(CHROMIUM), *_OPTIONS, f"--user-data-dir={self._folder}"]
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{handles[0]} 4>&{handles[1]}', "bash", *command],
            pass_fds=handles,
            stderr=subprocess.DEVNULL,
        )
        for one in (theirs_in, theirs_out, *handles):
            os.close(one)
        self._out, self._in, self._session = ours_out, ours_in, ""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in _DOMAINS:
            self.call(f"{domain}.enable")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._out)  # Chromium ends with its pipe
        self._process.wait(30)
        os.close(self._in)

    def open(self, page: Path, width: int = 1280, height: int = 900, scheme: str = "light") -> None:
        """Open a file in a window of this size and colour scheme, and wait until it is loaded."""
        self._events.clear()
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Page.navigate", url=page.as_uri())
        while not self._seen("Page.loadEventFired"):
            self._events.append(self._receive())

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    @property
    def complaints(self) -> list[dict[str, Any]]:
        """What stands in the console, and dialogs that the page opened."""
        return self._seen(*_COMPLAINTS)

    @property
    def requests(self) -> list[str]:
        """The addresses that were asked for."""
        return [event["params"]["request"]["url"] for event in self._seen("Network.requestWillBeSent")]

    def call(self, method: str, **parameters: Any) -> Any:
        """One command of the protocol, and its result."""
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._count:
                assert "error" not in answer, answer
                return answer["result"]
            self._events.append(answer)

    def _seen(self, *methods: str) -> list[dict[str, Any]]:
        return [event for event in self._events if event.get("method") in methods]

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            data = os.read(self._in, 1 << 16)
            assert data, "Chromium ended"
            self._rest += data
        message, _, self._rest = self._rest.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer
