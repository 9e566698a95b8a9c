# SPDX-License-Identifier: MIT
"""Pause, resume and abort a rollout from elsewhere: a small file beside its journal, which the client looks at all the time.

It works from another terminal, and while no client runs: then it takes effect as soon as one does.
"""

from __future__ import annotations

import getpass
import json
import os
import socket
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError, Fault, OtaError
from ..files import write_text


@dataclass(frozen=True)
class Wish:
    """What people want. aborted: why, empty when it goes on; by: who said so."""

    paused: bool = False
    aborted: str = ""
    by: str = ""


def path_of(journal_path: str) -> str:
    """Where the wishes for the rollout of a journal are."""
    return f"{journal_path}.control"


def read(path: str) -> Wish:
    """The wish in force; none when there is no file. Raises ConfigError when the file is not one of ours."""
    try:
        with open(path, encoding="utf-8") as stream:
            data: Any = json.load(stream)
    except FileNotFoundError:
        return Wish()
    except (OSError, ValueError) as error:
        data = None
        problem = getattr(error, "strerror", None) or "is no JSON"
    else:
        problem = "is no mapping"
    if not isinstance(data, dict):
        raise ConfigError([Fault(path, problem, "delete it: afero-ota pause, resume and abort write it anew")])
    return Wish(data.get("paused") is True, str(data.get("aborted") or ""), str(data.get("by") or ""))


def write(path: str, paused: bool = False, aborted: str = "") -> Wish:
    """Put a wish in force. An abort is for good: raises ConfigError when another wish follows it."""
    if read(path).aborted and not aborted:
        raise ConfigError("this rollout was aborted, which is for good; make a new plan for the devices that are left")
    wish = Wish(paused, aborted, _who())
    try:
        write_text(path, json.dumps({"paused": paused, "aborted": aborted, "by": wish.by}) + "\n")
    except OSError as error:
        raise OtaError(f"{path} cannot be written: {error.strerror}") from None
    return wish


def _who() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())  # a container's user often has no name
    return f"{user} on {socket.gethostname()}"
