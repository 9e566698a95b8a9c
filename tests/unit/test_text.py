# SPDX-License-Identifier: MIT
"""Text from outside cannot control the terminal that shows it."""

from __future__ import annotations

import json

import pytest

from afero_ota import errors, text

HOSTILE = "a\x1b[2J\x07\x9b1m\x7f\u202eb\r\n\tc\ud800\u2028"
SHOWN = r"a\x1b[2J\x07\x9b1m\x7f\u202eb\r\n\tc\ud800\u2028"


def test_control_characters_are_shown_as_text() -> None:
    assert text.visible(HOSTILE) == SHOWN
    assert text.visible(SHOWN) == SHOWN


@pytest.mark.parametrize("harmless", ["Gerät für Ödön", "网关 2", "بوابة", "می‌خواهم", "👩‍🔧", "non\u00a0breaking"])
def test_letters_of_all_languages_are_unchanged(harmless: str) -> None:
    assert text.visible(harmless) == harmless
    assert harmless in text.to_json({"name": harmless})


def test_several_lines_stay_several_lines() -> None:
    assert text.visible_lines("one\x1b\ntwo") == "one\\x1b\ntwo"


def test_json_escapes_control_characters_and_keeps_the_value() -> None:
    written = text.to_json({"name": HOSTILE, "more": ["\U000e0041"]}, indent=2)
    assert all(character.isprintable() or character == "\n" for character in written)
    assert json.loads(written) == {"name": HOSTILE, "more": ["\U000e0041"]}


def test_a_message_is_one_line_unless_it_lists_faults() -> None:
    assert text.message(errors.RefusedError("no\nafero-ota: all is well")) == r"no\nafero-ota: all is well"
    assert text.message(FileNotFoundError(2, "No such file", "a\x1bb")) == r"a\x1bb: No such file"
    fault = errors.Fault("name", "not set", "set it")
    assert text.message(errors.ConfigError([fault])).count("\n") == 2


@pytest.mark.parametrize(("shown", "columns"), [("abc", 3), ("网关", 4), ("e\u0301", 1), ("", 0)])
def test_the_width_is_what_a_terminal_shows(shown: str, columns: int) -> None:
    assert text.width(shown) == columns
    assert text.pad(shown, 6) == shown + " " * (6 - columns)
