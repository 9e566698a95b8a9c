# SPDX-License-Identifier: MIT
"""Versions compared as BitBake compares them (bb.utils.vercmp), which is how recipes are written.

A version is `[EPOCH:]VERSION[-REVISION]`. Epochs are compared as numbers, then versions, then revisions, the last two part by part. A
part is a number, a run of letters, or one other character. A tilde is before the end of the text, the end before a number, a
number before letters, letters before any other character; equal kinds are compared as numbers or as texts.
"""

from __future__ import annotations

import re
from typing import Union

Part = tuple[int, Union[int, str]]
Key = tuple[int, tuple[Part, ...], tuple[Part, ...]]

_PARTS = re.compile(r"([0-9]+)|([A-Za-z]+)|(~)|(.)", re.DOTALL)
_END: Part = (0, -1)


def split(version: str) -> tuple[str, str, str]:
    """Epoch, version and revision of a version; "" for an epoch or a revision that it does not have."""
    version = version.strip(" <>=")
    epoch = ""
    if ":" in version:
        epoch, version = version.split(":")[:2]
    version, dash, revision = version.rpartition("-")
    return (epoch, version, revision) if dash else (epoch, revision, "")


def key(version: str) -> Key:
    """What versions are sorted by. Raises ValueError for an epoch that is not a number."""
    epoch, number, revision = split(version)
    return int(epoch or 0), _key(number), _key(revision)


def compare(one: str, other: str) -> int:
    """-1, 0 or 1: whether a version is older than another one, the same, or newer."""
    return (key(one) > key(other)) - (key(one) < key(other))


def compare_said(version: str, said: str) -> int:
    """As `compare`, with epoch and revision only where `said` has them: 3.0.14 means every revision of it."""
    epoch, number, revision = split(version)
    said_epoch, said_number, said_revision = split(said)
    one = int(epoch or 0) if said_epoch else 0, _key(number), _key(revision) if said_revision else ()
    other = int(said_epoch or 0), _key(said_number), _key(said_revision) if said_revision else ()
    return (one > other) - (one < other)


def _key(text: str) -> tuple[Part, ...]:
    return (*map(_part, _PARTS.findall(text)), _END)


def _part(found: tuple[str, str, str, str]) -> Part:
    number, letters, tilde, other = found
    if number:
        return 0, int(number)
    if letters:
        return 1, letters
    return (-1, tilde) if tilde else (2, other)
