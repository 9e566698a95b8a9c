# SPDX-License-Identifier: MIT
"""Push a published image to devices, one call per device, never twice."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Callable

from .errors import ConfigError, Fault, NotFoundError, OtaError, UnknownOutcomeError
from .journal import Journal
from .service import OtaService, account_ids, running_version

SETTLE = 30.0  # seconds; a pushed device starts about 20 s after the push (docs/LinuxSDK-FullImageUpdate.md)
_POLL = 2.0

Log = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """What became of one device: pushed, already (runs it), updating, sent before, or failed with the reason."""

    device_id: str
    result: str
    detail: str = ""

    @property
    def ok(self) -> bool:
        return self.result != "failed"


def read_devices(text: str, base: str = "") -> list[str]:
    """Device ids from text: separated by spaces or commas; `@file` stands for the ids in a file, `#` starts a comment there.

    base: folder that a relative file name is taken from. Raises ConfigError; no id is returned twice.
    """
    devices: list[str] = []
    for word in re.split(r"[\s,]+", text.strip()):
        if not word.startswith("@"):
            devices.append(word)
            continue
        path = os.path.join(base, word[1:])
        try:
            with open(path, encoding="utf-8") as stream:
                lines = [line.split("#")[0] for line in stream]
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not UTF-8 text"
            remedy = "name a file with one device id a line"
            raise ConfigError([Fault(path, f"the list of devices cannot be read: {reason}", remedy)]) from None
        devices += re.split(r"[\s,]+", " ".join(lines).strip())
    return list(dict.fromkeys(device for device in devices if device))


def push(
    service: OtaService,
    image_id: str,
    version_number: str,
    devices: Iterable[str],
    journal: Journal,
    log: Log,
    again: bool = False,
    settle: float = SETTLE,
) -> list[Outcome]:
    """Push an image to each device in turn and return what became of each.

    image_id: the association's own id; version_number: what a device reports (attribute 2005) once it runs the image.
    A device that runs this version or a newer one, that is updating, or that the journal says was sent this image, is not
    pushed; `again` overrules the journal. settle: seconds to watch a device whose push got no answer.
    Raises UnknownOutcomeError when a push got no answer and the device does not show one: nothing is pushed after that.
    """
    one = _Push(service, _account(service), image_id, version_number, journal, log, again, settle)
    outcomes = []
    for device in devices:
        try:
            outcome = one.device(device)
        except UnknownOutcomeError:
            raise
        except OtaError as error:
            outcome = Outcome(device, "failed", str(error))
        log(f"{device}: {outcome.result}" + (f" ({outcome.detail})" if outcome.detail else ""))
        outcomes.append(outcome)
    return outcomes


def _account(service: OtaService) -> str:
    accounts = account_ids(service.me())
    if not accounts:
        raise ConfigError(
            "the account that logs in has no access to an Afero account that devices belong to; use one that has"
        )
    return accounts[0]


@dataclass(frozen=True)
class _Push:
    """One image on its way to devices."""

    service: OtaService
    account: str
    image_id: str
    version_number: str
    journal: Journal
    log: Log
    again: bool
    settle: float

    def device(self, device: str) -> Outcome:
        settled = self._settled(device)
        if settled:
            return settled
        facts = {"image": self.image_id, "versionNumber": self.version_number, "device": device}
        earlier = self.journal.last("push", image=self.image_id, device=device)
        if earlier and not self.again:
            if earlier["outcome"] == "done":
                return Outcome(device, "sent before", f"at {earlier['time']}; --again pushes it once more")
            if earlier["outcome"] in ("started", "unknown"):
                return self._watch(device, facts)
        self.journal.note("push", "started", **facts)
        try:
            self.service.push(self.image_id, device)
        except UnknownOutcomeError as error:
            self.log(f"{device}: {error}; watching whether it starts")
            self.journal.note("push", "unknown", **facts)
            return self._watch(device, facts)
        except OtaError as error:
            self.journal.note("push", "failed", **facts, error=str(error))
            raise
        self.journal.note("push", "done", **facts)
        return Outcome(device, "pushed")

    def _settled(self, device: str) -> Outcome | None:
        """The outcome for a device that needs no push, or None."""
        try:
            state = self.service.device(self.account, device)
        except NotFoundError:
            raise NotFoundError(
                f"the account {self.account} has no device {device}: a device must belong to the account that pushes"
            ) from None
        running, wanted = running_version(state), self.version_number
        if running is not None and wanted.isdigit() and running >= int(wanted):
            newer = "" if running == int(wanted) else ", which is newer: the service never downgrades"
            return Outcome(device, "already", f"runs {running}{newer}")
        if state.get("updating") is True:
            return Outcome(device, "updating", "an update is under way")
        return None

    def _watch(self, device: str, facts: dict[str, Any]) -> Outcome:
        """Whether a push without an answer arrived: the device shows it, or nobody knows."""
        end = time.monotonic() + self.settle
        while True:
            settled = self._settled(device)
            if settled:
                self.journal.note("push", "done", **facts, seen=settled.result)
                return settled
            if time.monotonic() > end:
                raise UnknownOutcomeError(
                    f"{device}: a push of image {self.image_id} was sent and never answered, and the device has not started to "
                    "update. Look at the device; if it stays as it is, push again with --again."
                )
            time.sleep(min(_POLL, max(0.05, self.settle / 10)))
