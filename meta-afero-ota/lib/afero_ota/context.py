# SPDX-License-Identifier: MIT
"""What the steps of one run share: the service, the journal, and where messages and progress go."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable

from .journal import Journal
from .service import OtaService

if TYPE_CHECKING:
    from .payload import Progress

Log = Callable[[str], None]


def _silent(message: str) -> None:
    """A log that discards its messages."""


@dataclass(frozen=True)
class Context:
    """log: takes one message. progress: takes what is being done ("hashing", "uploading"), bytes done, bytes in all."""

    service: OtaService
    journal: Journal
    log: Log = _silent
    progress: Callable[[str, int, int], None] | None = None

    def progress_of(self, what: str) -> Progress | None:
        """The progress callback of one part of the work, or None when there is no observer."""
        return functools.partial(self.progress, what) if self.progress else None
