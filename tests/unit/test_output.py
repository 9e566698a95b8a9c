# SPDX-License-Identifier: MIT
"""How the command line prints."""

from __future__ import annotations

import json

import pytest

from afero_ota import errors
from afero_ota.cli.output import Output, date, table


def test_columns_are_aligned_by_display_width() -> None:
    assert table(("name", "n"), [("网关", 1), ("a\x1b", 22)]).splitlines() == [
        "name   n",
        "网关   1",
        "a\\x1b  22",
    ]


def test_times_are_shown_in_utc_and_invalid_ones_left_out() -> None:
    assert date(1_302_044_400_000) == "2011-04-05 23:00"
    assert [date(value) for value in (None, "soon", 1e30, float("nan"))] == [""] * 4


def test_quiet_hides_everything_but_errors(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(quiet=True, verbose=False)
    output.result({}, "result")
    output.say("message")
    output.warn(["warning"])
    output.detail("detail")
    assert output.error(errors.NetworkError("no\x1broute\n")) == 6
    assert capsys.readouterr() == ("", "afero-ota: no\\x1broute\\n\n")


def test_json_is_one_document_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=True).rows(("a", "b"), [("1\x9b", 2)])
    printed = capsys.readouterr().out
    assert "\\u009b" in printed
    assert json.loads(printed) == [{"a": "1\x9b", "b": 2}]
