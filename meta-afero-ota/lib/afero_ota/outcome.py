# SPDX-License-Identifier: MIT
"""The outcome of an update as the device reports it: attribute 65019, the reboot reason.

The device writes one line of at most 74 bytes to /afero_nv/reboot_reason. Afero's attrd sends
``snprintf(buf, 100, "%s:%s", ctime, line)``, with ctime taken from the file's modification time
(AferoCE/attrd, pkg/src/attrd_attr.c). The lines of recipes-core/afero-sysupgrade are those of `FORMS`; other programs write
whatever they like there (otamgr: ``full_ota``).
"""

from __future__ import annotations

import contextlib
import enum
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

REBOOT_REASON_ATTRIBUTE = 65019  # AferoCE/attrd, pkg/src/af_attr_def.h
LINE_LIMIT = 74  # bytes; attrd's buffer holds 100: 24 of ctime, a colon, the line, NUL
INSTALLING = "full_ota"  # otamgr's line, written just before it starts sysupgrade

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_CTIME = re.compile(r"[A-Z][a-z]{2} ([A-Z][a-z]{2}) ([ 0-3][0-9]) ([0-9]{2}):([0-9]{2}):([0-9]{2}) ([0-9]{4})\n?:")
_LINE = re.compile(
    r"ota ([0-9]{1,19}|\?) (?:"
    r"(?P<ok>ok)|"
    r"(?P<refused>refused) (?P<refusal>[0-9]{1,3})(?: (?P<refused_for>.+))?|"
    r"(?P<failed>failed) (?P<failure>[0-9]{1,3})(?: (?P<failed_for>.+))?|"
    r"(?P<rolled_back>rolled back)(?:, (?P<rolled_back_for>.+))?|"
    r"(?P<restarted>restarted)(?:, (?P<restarted_for>.+))?)"
)
# ctime is local time and says nothing of its zone: the westernmost one is 12 hours behind UTC
_CLOCK_SLACK = timedelta(hours=13)
# a device without a battery-backed clock starts in 1970 or at the date of its build
_CLOCK_IS_SET = datetime(2020, 1, 1, tzinfo=timezone.utc)


class Kind(enum.Enum):
    """How an update ended. The value is the word in the device's line and in reasons."""

    OK = "ok"
    REFUSED = "refused"
    FAILED = "failed"
    ROLLED_BACK = "rolled back"
    RESTARTED = "restarted"  # the new system is on trial and did not confirm itself yet
    OTHER = "other"  # a line of another program


# the lines that the device's shell writes; {version} is the image's versionNumber, or ? when the device does not know it,
# {code} is sysupgrade's exit status
FORMS: Mapping[Kind, str] = {
    Kind.OK: "ota {version} ok",
    Kind.REFUSED: "ota {version} refused {code} {detail}",
    Kind.FAILED: "ota {version} failed {code} {detail}",
    Kind.ROLLED_BACK: "ota {version} rolled back, {detail}",
    Kind.RESTARTED: "ota {version} restarted, {detail}",
}
NOT_CONFIRMED = "not confirmed"  # the detail of a restart


@dataclass(frozen=True)
class Outcome:
    """One value of attribute 65019.

    text: the line, with control characters shown as text. time: when the device wrote it by its own clock and in its own
    time zone, which is taken to be UTC; None when the value has no time. version_number: None when the line names none.
    code: sysupgrade's exit status. detail: the device's own words. raw: the value as the cloud gave it.
    """

    kind: Kind
    text: str
    time: datetime | None = None
    version_number: int | None = None
    code: int | None = None
    detail: str = ""
    raw: str = ""

    @property
    def failed(self) -> bool:
        """Whether the update ended and the old system runs on."""
        return self.kind in (Kind.REFUSED, Kind.FAILED, Kind.ROLLED_BACK)

    @property
    def reason(self) -> str:
        """What to group failures by, such as ``refused: does not fit``; without the version and the time."""
        if self.kind is Kind.OTHER:
            return self.text
        detail = self.detail or (f"status {self.code}" if self.code is not None else "")
        return f"{self.kind.value}: {detail}" if detail else self.kind.value

    @property
    def brief(self) -> str:
        """The reason by exit status, such as ``refused 6``; empty when there is none."""
        return f"{self.kind.value} {self.code}" if self.code is not None else ""

    def matches(self, pattern: str) -> bool:
        """Whether the reason is the given one or starts with its words: ``refused: other hardware``, ``refused 6``, ``failed``."""
        return fits(pattern, [self.reason, self.brief])


def fits(pattern: str, reasons: Iterable[str]) -> bool:
    """Whether one of the reasons is the pattern or starts with its words, in upper or lower case."""
    wanted = pattern.strip().casefold()
    found = re.compile(re.escape(wanted) + r"(?!\w)") if wanted else None
    return found is not None and any(found.match(reason.casefold()) for reason in reasons)


def decode(data: object) -> Outcome | None:
    """The outcome in the data of attribute 65019, hexadecimal text; None when there is no such text or it is empty.

    Never raises, whatever a device or the cloud sends.
    """
    if not isinstance(data, str):
        return None
    try:
        value = bytes.fromhex(data).split(b"\0")[0].decode("utf-8", "replace")
    except ValueError:
        return None
    found = _CTIME.match(value)
    outcome = parse(value[found.end() :] if found else value)
    if outcome is None:
        return None
    time = _time(*found.groups()) if found else None
    return Outcome(outcome.kind, outcome.text, time, outcome.version_number, outcome.code, outcome.detail, data.lower())


def parse(line: str) -> Outcome | None:
    """The outcome in a line of /afero_nv/reboot_reason; None for a blank one."""
    text = _printable(line.strip())
    if not text:
        return None
    found = _LINE.fullmatch(text)
    if not found:
        return Outcome(Kind.OTHER, text)
    groups = found.groupdict()
    kind = next(kind for kind in FORMS if groups[kind.name.lower()])
    code = groups["refusal"] or groups["failure"]
    return Outcome(
        kind,
        text,
        version_number=None if found[1] == "?" else int(found[1]),
        code=int(code) if code else None,
        detail=groups.get(f"{kind.name.lower()}_for") or "",
    )


def line(kind: Kind, version_number: int | None, code: int | None = None, detail: str = "") -> str:
    """The line that a device writes, cut to 74 bytes of UTF-8. Raises KeyError for `Kind.OTHER`, which has no form."""
    version = "?" if version_number is None else version_number
    text = FORMS[kind].format(version=version, code=code, detail=_printable(" ".join(detail.split()))).strip()
    return text.encode()[:LINE_LIMIT].decode("utf-8", "ignore").rstrip(" ,")


def of_device(device: Mapping[str, Any]) -> Outcome | None:
    """The outcome that a device of the cloud's device list shows (expansions=attributes), or None."""
    attributes = device.get("attributes")
    for attribute in attributes if isinstance(attributes, Iterable) else ():
        if isinstance(attribute, Mapping) and str(attribute.get("id")) == str(REBOOT_REASON_ATTRIBUTE):
            return decode(attribute.get("data"))
    return None


def is_news(outcome: Outcome | None, before: str, version_number: int, pushed: float) -> bool:
    """Whether an outcome is the answer to a push, and not left over from an earlier update.

    before: `Outcome.raw` as it was when the image was pushed, empty when there was none. pushed: time of the push, seconds
    since 1970. The device's clock counts only as far as it can be trusted: it may not be set, and its time zone is unknown.
    """
    if outcome is None or outcome.version_number != version_number or outcome.raw == before:
        return False
    if outcome.time is None or outcome.time < _CLOCK_IS_SET:
        return True
    return outcome.time.timestamp() >= pushed - _CLOCK_SLACK.total_seconds()


def _time(month: str, day: str, hour: str, minute: str, second: str, year: str) -> datetime | None:
    # strptime would read the month in the caller's language
    with contextlib.suppress(ValueError):
        number = _MONTHS.index(month) + 1
        return datetime(int(year), number, int(day), int(hour), int(minute), int(second), tzinfo=timezone.utc)
    return None


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
