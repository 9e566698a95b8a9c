# SPDX-License-Identifier: MIT
"""Outcomes that devices report in attribute 65019, and which of them belong to a push."""

from __future__ import annotations

import calendar
import subprocess
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afero_ota import outcome
from afero_ota.outcome import Kind, Outcome

WHEN = datetime(2026, 3, 7, 9, 5, 1, tzinfo=timezone.utc)
PUSHED = WHEN.timestamp() - 120


def attribute(line: str, when: datetime | None = WHEN, newline: str = "") -> str:
    """The attribute's data for a line, as attrd makes it."""
    stamp = (
        f"{calendar.day_abbr[when.weekday()]} {calendar.month_abbr[when.month]} {when.day:2} {when:%H:%M:%S %Y}"
        if when
        else ""
    )
    return f"{stamp}{newline}:{line}".encode()[:99].hex()


LINES = [
    ("ota 7112 ok", Kind.OK, None, "", "ok"),
    ("ota 7112 refused 7 does not fit", Kind.REFUSED, 7, "does not fit", "refused: does not fit"),
    ("ota 7112 refused 6", Kind.REFUSED, 6, "", "refused: status 6"),
    ("ota 7112 failed 21 contents differ", Kind.FAILED, 21, "contents differ", "failed: contents differ"),
    ("ota 7112 rolled back, health hubby", Kind.ROLLED_BACK, None, "health hubby", "rolled back: health hubby"),
    ("ota 7112 rolled back", Kind.ROLLED_BACK, None, "", "rolled back"),
    ("ota 7112 restarted, not confirmed", Kind.RESTARTED, None, "not confirmed", "restarted: not confirmed"),
]


@pytest.mark.parametrize(("line", "kind", "code", "detail", "reason"), LINES)
@pytest.mark.parametrize("newline", ["", "\n"], ids=["", "newline-in-ctime"])
def test_a_device_line_is_decoded(
    line: str, kind: Kind, code: int | None, detail: str, reason: str, newline: str
) -> None:
    found = outcome.decode(attribute(line + "\n\0", newline=newline))
    assert found is not None
    assert (found.kind, found.version_number, found.code, found.detail) == (kind, 7112, code, detail)
    assert (found.text, found.reason, found.time) == (line, reason, WHEN)


def test_an_unknown_version_is_parsed_as_none() -> None:
    found = outcome.parse("ota ? refused 5 no version header")
    assert found and (found.kind, found.version_number) == (Kind.REFUSED, None)


@pytest.mark.parametrize(
    "line", ["full_ota", "reboot", "ota", "ota 7112", "ota x ok", "ota 7112 okay", "ota 7112 refused for ever"]
)
def test_a_line_of_another_program_is_kept_as_text(line: str) -> None:
    found = outcome.decode(attribute(line))
    assert found and (found.kind, found.text, found.reason, found.failed) == (Kind.OTHER, line, line, False)


@pytest.mark.parametrize("data", [None, 5, "", "zz", "abc", "00", "20200a", [], attribute(""), attribute("  \n")])
def test_data_without_text_is_not_an_outcome(data: Any) -> None:
    assert outcome.decode(data) is None


@pytest.mark.parametrize(
    "text", ["Sat Mar  7 09:05 ota 7112 ok", "Sat Foo  7 09:05:01 2026:x", "Sat Feb 31 09:05:01 2026:x"]
)
def test_an_invalid_time_is_ignored(text: str) -> None:
    found = outcome.decode(text.encode().hex())
    assert found and found.time is None


def test_control_characters_are_shown_as_text() -> None:
    found = outcome.decode(attribute("ota 7112 failed 20 \x1b[2J\u202egone"))
    assert found and found.detail == r"\x1b[2J\u202egone"


@settings(deadline=None)
@given(st.one_of(st.binary(max_size=120).map(bytes.hex), st.text(max_size=60), st.text(max_size=80).map(attribute)))
def test_any_data_is_decoded_to_one_printable_line_or_none(data: str) -> None:
    found = outcome.decode(data)
    assert found is None or (found.text.isprintable() and found.text.strip() and found.reason.isprintable())


@settings(deadline=None)
@given(
    st.sampled_from([kind for kind in outcome.FORMS]),
    st.none() | st.integers(0, 2**63 - 1),
    st.integers(0, 255),
    st.text(max_size=100),
)
def test_an_outcome_fits_the_attribute_and_is_read_back(
    kind: Kind, version: int | None, code: int, detail: str
) -> None:
    line = outcome.line(kind, version, code, detail)
    assert len(line.encode()) <= outcome.LINE_LIMIT and "\n" not in line
    found = outcome.parse(line)
    assert found and (found.kind, found.version_number) == (kind, version)
    assert found.code == (code if kind in (Kind.REFUSED, Kind.FAILED) else None)
    assert outcome.decode(attribute(line)) == Outcome(
        kind, found.text, WHEN, version, found.code, found.detail, attribute(line)
    )


def test_the_time_is_parsed_as_ctime_writes_it() -> None:
    code = "import ctypes; l = ctypes.CDLL(None); l.ctime.restype = ctypes.c_char_p\n"
    code += (
        "for t in (0, 86399, 1772874301, 4102444799): print(l.ctime(ctypes.byref(ctypes.c_long(t))).decode(), end='')"
    )
    done = subprocess.run(
        ["python3", "-c", code], capture_output=True, text=True, check=True, env={"TZ": "UTC", "PATH": "/usr/bin"}
    )
    found = [outcome.decode(f"{stamp}:x".encode().hex()) for stamp in done.stdout.splitlines()]
    assert [one.time.timestamp() for one in found if one and one.time] == [0, 86399, 1772874301, 4102444799]


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ("refused: other hardware", True),
        ("Refused: Other", True),
        ("refused 6", True),
        ("refused", True),
        ("refused: oth", False),
        ("refused 61", False),
        ("other hardware", False),
        ("failed", False),
        ("", False),
    ],
)
def test_a_reason_is_matched_by_its_first_words(pattern: str, fits: bool) -> None:
    found = outcome.parse("ota 7112 refused 6 other hardware")
    assert found and found.matches(pattern) is fits


def news(line: str, before: str = "", when: datetime = WHEN) -> bool:
    return outcome.is_news(outcome.decode(attribute(line, when)), before, 7112, PUSHED)


def test_an_outcome_of_the_pushed_version_after_the_push_is_news() -> None:
    assert news("ota 7112 failed 21 contents differ")


def test_an_outcome_of_another_version_is_not() -> None:
    assert not news("ota 7111 failed 21 contents differ") and not news("full_ota")


def test_an_outcome_reported_before_the_push_is_not_news() -> None:
    line = "ota 7112 failed 21 contents differ"
    assert not news(line, before=attribute(line))


def test_the_same_outcome_with_a_later_time_is_news() -> None:
    line = "ota 7112 failed 21 contents differ"
    assert news(line, before=attribute(line, WHEN.replace(hour=8)))


def test_an_old_outcome_that_reaches_the_cloud_late_is_not_news() -> None:
    assert not news("ota 7112 failed 21 contents differ", when=WHEN.replace(day=5))


def test_a_device_in_another_time_zone_or_without_a_clock_is_believed() -> None:
    assert news("ota 7112 ok", when=WHEN.replace(day=6, hour=21))
    assert news("ota 7112 ok", when=datetime(1970, 1, 1, 0, 0, 40, tzinfo=timezone.utc))


def test_the_outcome_is_found_among_the_attributes_of_a_device() -> None:
    data = attribute("ota 7112 ok")
    device = {"attributes": [{"id": 2005, "data": "00"}, "junk", {"id": "65019", "data": data}]}
    found = outcome.of_device(device)
    assert found and found.raw == data
    for strange in ({}, {"attributes": None}, {"attributes": [{"id": 65019}]}, {"attributes": 7}):
        assert outcome.of_device(strange) is None
