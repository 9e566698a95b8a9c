# SPDX-License-Identifier: MIT
"""Text that people see: names and descriptions from elsewhere must not control the terminal that shows them."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import TYPE_CHECKING

from .errors import ConfigError

if TYPE_CHECKING:
    from typing import Any

# joiners that several scripts and emoji need, and spaces: not "printable" to Python, but harmless
_HARMLESS = "\u200c\u200d\u00a0\u202f\u3000"


def visible(value: object) -> str:
    r"""The text of a value on one line, with control characters, line ends and bidirectional overrides as `\x1b`, `\n`, …"""
    text = str(value)
    return text if text.isprintable() else "".join(map(_visible_character, text))


def visible_lines(value: object) -> str:
    """As `visible`, for text whose line ends are ours."""
    return "\n".join(map(visible, str(value).split("\n")))


def message(error: BaseException) -> str:
    """What to tell a person about an error: one line, or the list of faults of a configuration."""
    if isinstance(error, OSError):
        # a failed rename names both files; the second one is the user's
        return visible(f"{error.filename2 or error.filename or 'input or output'}: {error.strerror}")
    if isinstance(error, ConfigError) and error.faults:
        return visible_lines(error)
    return visible(error)


def to_json(data: Any, indent: int | None = None) -> str:
    """JSON with sorted keys that is readable in any language and shows every control character escaped."""
    text = json.dumps(data, indent=indent, sort_keys=True, ensure_ascii=False)
    # json leaves DEL, C1 controls and overrides as they are; outside of strings there is nothing to escape
    return re.sub(r"[^\n -~]", lambda found: _json_character(found[0]), text)


def width(text: str) -> int:
    """The columns that a line takes on a terminal: two for wide East Asian characters, none for combining ones."""
    return sum(map(_columns, text))


def pad(text: str, columns: int) -> str:
    """The text, padded with spaces to that many columns of a terminal."""
    return text + " " * (columns - width(text))


def _visible_character(character: str) -> str:
    if character.isprintable() or character in _HARMLESS:
        return character
    return character.encode("unicode_escape").decode()


def _json_character(character: str) -> str:
    return character if _visible_character(character) == character else json.dumps(character)[1:-1]


def _columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "FW" else 1
