# SPDX-License-Identifier: MIT
"""The ready-made health checks: which ones AFERO_OTA_HEALTH_CHECKS may name, and the programs that it puts into an image.

The checks themselves are in recipes-core/afero-sysupgrade/files/health-check, under the same names.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .errors import ConfigError, Fault

SETTING = "AFERO_OTA_HEALTH_CHECKS"
PROGRAM = "/usr/lib/afero-ota/health-check"
FOLDER = "etc/afero-ota/health.d"
_PATH = r"(/[A-Za-z0-9._/-]*)"
_UNITS = {"K": 1, "M": 1 << 10, "G": 1 << 20}  # in KiB, as `df -k` counts


@dataclass(frozen=True)
class Form:
    """How a check is written, and the program that it needs on the device."""

    text: str
    pattern: str
    program: str


FORMS: Mapping[str, Form] = {
    "systemd": Form("systemd", "systemd", "systemctl"),
    "process": Form("process:NAME", r"process:([A-Za-z0-9._+-]+)", "pidof"),
    "network": Form("network:HOST", r"network:([A-Za-z0-9.:-]+)", "ping"),
    "mounted": Form("mounted:/PATH", f"mounted:{_PATH}", "grep"),
    "free": Form("free:/PATH:SIZE", rf"free:{_PATH}:([1-9][0-9]*[KMG])", "df"),
}


@dataclass(frozen=True)
class Check:
    """One check that is switched on. text: as it was written. arguments: of the program, the name first."""

    text: str
    arguments: tuple[str, ...]

    @property
    def file_name(self) -> str:
        """What the device calls it in its reports, such as ``process-hubby``."""
        return re.sub(r"[^A-Za-z0-9._]+", "-", "-".join(self.arguments[:2])).rstrip("-")


def parse(text: str) -> list[Check]:
    """The checks that are named in `text`, separated by blanks. Raises ConfigError with every one that cannot be used."""
    checks: list[Check] = []
    faults = []
    for word in text.split():
        form = FORMS.get(word.partition(":")[0])
        found = re.fullmatch(form.pattern, word) if form else None
        if not form or not found:
            problem = f"is written {form.text}, not {word!r}" if form else f"{word!r} is no health check"
            faults.append(Fault(SETTING, problem, f"these exist: {', '.join(known.text for known in FORMS.values())}"))
            continue
        check = Check(word, (word.partition(":")[0], *_arguments(found)))
        if check.file_name in {other.file_name for other in checks}:
            faults.append(Fault(SETTING, f"{word} comes second to a check of the same thing", "remove one of them"))
        checks.append(check)
    if faults:
        raise ConfigError(faults)
    return checks


def write(root: str, checks: Sequence[Check]) -> None:
    """Put a program for each check into the image. Raises ConfigError when the image lacks what a check calls."""
    faults = []
    for check in checks:
        program = FORMS[check.arguments[0]].program
        if not any(os.path.lexists(f"{root}/{folder}/{program}") for folder in ("bin", "sbin", "usr/bin", "usr/sbin")):
            problem = f"{check.text} needs the program {program}, which the image does not have"
            faults.append(Fault(SETTING, problem, "add its package to IMAGE_INSTALL, or remove the check"))
    if faults:
        raise ConfigError(faults)
    os.makedirs(os.path.join(root, FOLDER), exist_ok=True)
    for check in checks:
        path = os.path.join(root, FOLDER, check.file_name)
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(f"#!/bin/sh\nexec {PROGRAM} {shlex.join(check.arguments)}\n")
        os.chmod(path, 0o755)


def _arguments(found: re.Match[str]) -> tuple[str, ...]:
    if found.re.groups < 2:
        return found.groups()
    size = found[2]
    return found[1], str(int(size[:-1]) * _UNITS[size[-1]])
