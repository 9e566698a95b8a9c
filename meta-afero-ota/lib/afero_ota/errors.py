# SPDX-License-Identifier: MIT
"""The exceptions a caller may see. Each has the exit status that the command line ends with, and what that status means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class OtaError(Exception):
    """Base of all errors of this library; ``str()`` is a complete message for people."""

    exit_status = 1
    meaning = "any other error"


@dataclass(frozen=True)
class Fault:
    """One thing wrong with what the user said: what was found, what is expected, the line that corrects it."""

    field: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.field}: {self.problem}\n    {self.remedy}"


class Missing(Fault):
    """The fault of a field that is needed and not set."""


class ConfigError(OtaError):
    """The configuration, the command line or an input file is wrong; carries every fault at once."""

    exit_status = 2
    meaning = "command line, configuration or an input file is wrong; nothing was sent"

    def __init__(
        self, faults: Sequence[Fault] | str, warnings: Sequence[str] = (), where: str = "the OTA configuration"
    ):
        self.faults: tuple[Fault, ...] = () if isinstance(faults, str) else tuple(faults)
        self.warnings = tuple(warnings)  # what may be the cause, such as a misspelt key
        if isinstance(faults, str):
            lines = [faults]
        else:
            count = "one fault" if len(faults) == 1 else f"{len(faults)} faults"
            lines = [f"{count} in {where}:", *(f"  - {fault}" for fault in faults)]
        super().__init__("\n".join([*lines, *(f"warning: {warning}" for warning in warnings)]))


class AuthError(OtaError):
    """Account, password or client not accepted, or a privilege is missing."""

    exit_status = 3
    meaning = "the service does not accept the account, or the account lacks a privilege"

    def __init__(self, reason: str, advice: str = ""):
        self.reason = reason  # what was asked and answered, without what to do about it
        super().__init__(f"{reason}. {advice}" if advice else reason)


class RefusedError(OtaError):
    """Refused, by this library or by the service; the same request again would be refused again."""

    exit_status = 4
    meaning = "refused; repeating it will not help"


class NotFoundError(RefusedError):
    """The service answered 404: it knows no such thing."""


class ConflictError(OtaError):
    """The cloud already holds something different under this name, version or number."""

    exit_status = 5
    meaning = "the cloud holds something else under this version"


class NetworkError(OtaError):
    """The service could not be reached, or kept answering with errors, until the retries were used up."""

    exit_status = 6
    meaning = "the service could not be reached; safe to run again"


class AbortedError(OtaError):
    """Stopped before the end; what was done is in the journal."""

    exit_status = 7
    meaning = "stopped on the way, or a device is busy with another update; safe to run again"


class UnknownOutcomeError(OtaError):
    """A request that is not safe to repeat was sent and no usable answer came back."""

    exit_status = 8
    meaning = "a push got no answer; look at the device before running again"


class RolloutAbortedError(OtaError):
    """A rollout was ended by a rule of its plan, or on request."""

    exit_status = 9
    meaning = "the rollout was aborted, by a rule of its plan or on request"


class SomeFailedError(OtaError):
    """A rollout went to its end, and not every device runs the image."""

    exit_status = 10
    meaning = "the rollout ended, and some devices do not run the image"


def missing_module(module: str, debian: str, pypi: str) -> str:
    """The message for a Python package that is not installed: which interpreter lacks it, and the commands that install it."""
    import sys

    python = sys.executable or "python3"
    return (
        f"the Python that runs this ({python}) has no {module}; "
        f"install it: apt-get install {debian}  or  {python} -m pip install {pypi}"
    )


def exit_statuses() -> dict[int, str]:
    """Every exit status of the command line, and what it means."""
    found, kinds = {0: "done, or nothing to do"}, [OtaError]
    for kind in kinds:
        found.setdefault(kind.exit_status, kind.meaning)
        kinds += kind.__subclasses__()
    return dict(sorted(found.items()))
