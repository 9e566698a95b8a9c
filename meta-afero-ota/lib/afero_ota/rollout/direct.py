# SPDX-License-Identifier: MIT
"""Push a published image to devices, one call per device, never twice."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from .. import journal
from ..context import Context
from ..errors import (
    AbortedError,
    ConfigError,
    Fault,
    NetworkError,
    NotFoundError,
    OtaError,
    UnknownOutcomeError,
)
from ..service import OtaService, account_ids, running_version
from . import images

SETTLE = 30.0  # seconds; a pushed device starts about 20 s after the push (docs/LinuxSDK-FullImageUpdate.md)
_POLL = 2.0


class Result(str, Enum):
    """What became of one device."""

    PUSHED = "pushed"
    ALREADY = "already"  # runs this version or a newer one
    UPDATING = "updating"  # the update that the journal says was pushed is under way
    SENT_BEFORE = "sent before"
    BUSY = "not pushed, updating"  # an update that the journal does not know is under way
    FAILED = "failed"
    UNKNOWN = "unknown"  # pushed, and nobody knows whether it arrived
    LEFT = "not pushed yet"  # the push before it got no answer

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Outcome:
    """What became of one device, with the details for people, and the error that ended it if there was one."""

    device_id: str
    result: Result
    detail: str = ""
    error: OtaError | None = None

    @property
    def ok(self) -> bool:
        """Whether the device runs the image, or was told to install it."""
        return self.result not in (Result.BUSY, Result.FAILED, Result.UNKNOWN, Result.LEFT)


@dataclass(frozen=True)
class Image:
    """An image of a device type. id: the association's own; version_number: what a device reports once it runs the image."""

    id: str
    version_number: str


def exit_status(outcomes: Iterable[Outcome]) -> int:
    """The exit status of a push to several devices, 0 when all are ok.

    A push without an answer comes first, for somebody must look at that device; then what a repeat will not mend (the status
    of the first such error), then the network, then devices that are busy with another update, which counts as stopped on the way.
    """
    statuses = [_status(outcome) for outcome in outcomes if not outcome.ok]
    if UnknownOutcomeError.exit_status in statuses:
        return UnknownOutcomeError.exit_status
    later = [status for status in (NetworkError.exit_status, AbortedError.exit_status) if status in statuses]
    return next((status for status in statuses if status not in later), later[0] if later else 0)


def _status(outcome: Outcome) -> int:
    return outcome.error.exit_status if outcome.error else AbortedError.exit_status


def split_ids(text: str) -> list[str]:
    """The words of a text that are separated by spaces or commas."""
    return [word for word in re.split(r"[\s,]+", text) if word]


def read_devices(words: Iterable[str], base: str = "") -> list[str]:
    """Device ids from words: ids separated by spaces or commas, or `@` and the name of a file of them (`#` starts a comment).

    base: the folder that a relative file name starts from. Raises ConfigError; no id is returned twice.
    """
    devices: list[str] = []
    for word in words:
        if word.startswith("@"):
            devices += _listed(os.path.join(base, word[1:]))
        else:
            devices += split_ids(word)
    return list(dict.fromkeys(devices))


def _listed(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8") as stream:
            lines = [line.split("#")[0] for line in stream]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        remedy = "name a file with one device id a line"
        raise ConfigError([Fault(path, f"the list of devices cannot be read: {reason}", remedy)]) from None
    return split_ids(" ".join(lines))


def find_image(service: OtaService, image_id: str) -> Image:
    """The image of the service's device type that has this id. Raises RefusedError when there is none, or it has no file."""
    image = images.find(service, image_id)
    return Image(image_id, str(image.get("versionNumber", "")))


def account(service: OtaService) -> str:
    """The account whose devices this login may push. Raises ConfigError when there is none."""
    accounts = account_ids(service.me())
    if not accounts:
        raise ConfigError(
            "the account that logs in has no access to an Afero account that devices belong to; use one that has"
        )
    return accounts[0]


def push(
    context: Context, image: Image, devices: Sequence[str], again: bool = False, settle: float = SETTLE
) -> list[Outcome]:
    """Push an image to each device in turn and return what became of each.

    A device that runs this version or a newer one, that is updating, or that the journal says was sent this image, is not
    pushed; `again` overrules the journal. settle: seconds to watch a device whose push got no answer. When it does not start
    in that time, nothing is pushed after that.
    """
    one = _Push(context, account(context.service), image, again, settle)
    outcomes: list[Outcome] = []
    for device in devices:
        try:
            outcome = Outcome(device, Result.LEFT) if _in_doubt(outcomes) else one.device(device)
        except UnknownOutcomeError as error:
            outcome = Outcome(device, Result.UNKNOWN, str(error), error)
        except OtaError as error:
            outcome = Outcome(device, Result.FAILED, str(error), error)
        context.log(f"{device}: {outcome.result}" + (f" ({outcome.detail})" if outcome.detail else ""))
        outcomes.append(outcome)
    return outcomes


def _in_doubt(outcomes: Iterable[Outcome]) -> bool:
    return any(outcome.result is Result.UNKNOWN for outcome in outcomes)


@dataclass(frozen=True)
class _Push:
    """One image on its way to devices."""

    context: Context
    account: str
    image: Image
    again: bool
    settle: float

    def device(self, device: str) -> Outcome:
        log, image = self.context.journal, self.image
        earlier = log.last(journal.Step.PUSH, image=image.id, device=device)
        sent = _sent(earlier)
        state = self._state(device)
        outcome = self._running(device, state)
        if outcome:
            return outcome
        if state.get("updating") is True:
            return self._updating(device) if sent else self._busy(device)
        if earlier and sent and not self.again:
            if earlier["outcome"] == journal.Outcome.DONE.value:
                detail = f"at {earlier['time']}; --again pushes it once more"
                return Outcome(device, Result.SENT_BEFORE, detail)
            return self._watch(device)
        return self._send(device)

    def _send(self, device: str) -> Outcome:
        self._note(journal.Outcome.STARTED, device)
        try:
            self.context.service.push(self.image.id, device)
        except UnknownOutcomeError as error:
            self.context.log(f"{device}: {error}; watching whether it starts")
            self._note(journal.Outcome.UNKNOWN, device)
            return self._watch(device)
        except OtaError as error:
            self._note(journal.Outcome.FAILED, device, error=str(error))
            raise
        self._note(journal.Outcome.DONE, device)
        return Outcome(device, Result.PUSHED)

    def _watch(self, device: str) -> Outcome:
        """Whether a push without an answer arrived: the device shows it, or nobody knows."""
        end = time.monotonic() + self.settle
        while True:
            state = self._state(device)
            outcome = self._running(device, state)
            if outcome is None and state.get("updating") is True:
                outcome = self._updating(device)
            if outcome:
                self._note(journal.Outcome.DONE, device, seen=outcome.result.value)
                return outcome
            if time.monotonic() > end:
                raise UnknownOutcomeError(
                    f"a push of image {self.image.id} was sent and never answered, and the device has not started to update. "
                    "Look at the device; if it stays as it is, push again with --again"
                )
            time.sleep(min(_POLL, max(0.05, self.settle / 10)))

    def _state(self, device: str) -> Mapping[str, Any]:
        try:
            return self.context.service.device(self.account, device)
        except NotFoundError:
            raise NotFoundError(
                f"the account {self.account} has no device {device}: a device must belong to the account that pushes"
            ) from None

    def _running(self, device: str, state: Mapping[str, Any]) -> Outcome | None:
        running, wanted = running_version(state), self.image.version_number
        if running is None or not wanted.isdigit() or running < int(wanted):
            return None
        newer = "" if running == int(wanted) else ", which is newer: the service never downgrades"
        return Outcome(device, Result.ALREADY, f"runs {running}{newer}")

    def _updating(self, device: str) -> Outcome:
        return Outcome(device, Result.UPDATING, "an update is under way")

    def _busy(self, device: str) -> Outcome:
        detail = "an update that was not pushed from here is under way; run the same command again when it has ended"
        return Outcome(device, Result.BUSY, detail)

    def _note(self, outcome: journal.Outcome, device: str, **facts: Any) -> None:
        ids = {"image": self.image.id, "versionNumber": self.image.version_number, "device": device}
        self.context.journal.note(journal.Step.PUSH, outcome, **ids, **facts)


def _sent(earlier: journal.Entry | None) -> bool:
    """Whether an entry of the journal says that the push may have reached the service."""
    done = (journal.Outcome.STARTED, journal.Outcome.DONE, journal.Outcome.UNKNOWN)
    return earlier is not None and earlier["outcome"] in [outcome.value for outcome in done]
