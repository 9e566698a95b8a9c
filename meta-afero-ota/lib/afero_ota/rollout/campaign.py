# SPDX-License-Identifier: MIT
"""A plan carried out from beginning to end by this client: checks, journal, page, exit status."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable

from ..errors import OtaError
from ..files import write_text
from ..plan import Plan
from ..report import rollout_page
from ..service import OtaService
from . import acting, ledger, planning, story
from .acting import Clock, Pace, Rollout, Watcher
from .decision import Decision
from .ledger import Ledger
from .story import Story

_CLOCK_TOLERANCE = 300.0  # seconds
_PAUSE = 5.0  # seconds between two drawings of the page


@dataclass(frozen=True)
class Ending:
    """How a rollout ended. status: the exit status."""

    decision: Decision
    story: Story
    status: int


def check(service: OtaService, plan: Plan) -> None:
    """Whether a plan can be carried out here and now. Raises ConfigError, RefusedError, and OtaError for a wrong clock."""
    planning.check_cloud(service, plan)
    skew = service.clock_skew or 0.0
    if abs(skew) > _CLOCK_TOLERANCE:
        raise OtaError(
            f"this machine's clock is {skew:+.0f} s off the service's, and the limits of a rollout are counted by it; set it first"
        )


def carry_out(
    service: OtaService,
    plan: Plan,
    journal: str,
    watchers: Sequence[Watcher] = (),
    pace: Pace | None = None,
    retry_failed: bool = False,
    page: str = "",
    warn: Callable[[str], None] = lambda line: None,
) -> Ending:
    """Carry a plan out, or go on with it. journal: its path; page: where the HTML page goes, empty for none.

    warn: gets a line when the page cannot be written, which stops nothing. Raises the errors of `Rollout.run`.
    """
    check(service, plan)
    clock = Clock(max((ledger.moment(entry) for entry in ledger.read(journal)), default=0.0))
    with Ledger(journal, plan, clock.now()) as book:
        drawing = [_Page(plan, journal, page, warn)] if page else []
        one = Rollout(
            plan,
            service,
            book,
            [*watchers, *drawing],
            pace,
            clock,
            lambda: planning.check_cloud(service, plan, accounts=False),
        )
        try:
            decision = one.run(retry_failed)
        finally:
            for last in drawing:
                last.draw()
    return Ending(decision, story.build(plan, ledger.read(journal)), acting.exit_status(decision, one.in_doubt))


class _Page:
    """Draws the page while the rollout goes on, but spends no more than a tenth of the time on it."""

    def __init__(self, plan: Plan, journal: str, path: str, warn: Callable[[str], None]):
        self._plan, self._journal, self._path, self._warn = plan, journal, path, warn
        self._next, self._failed = 0.0, False

    def noted(self, event: str, now: float, facts: Mapping[str, Any]) -> None:
        """Nothing: the page is made from the journal."""

    def decided(self, decision: Decision, now: float) -> None:
        if time.monotonic() >= self._next:
            self.draw(now)

    def draw(self, now: float | None = None) -> None:
        began = time.monotonic()
        try:
            write_text(self._path, rollout_page.html(story.build(self._plan, ledger.read(self._journal), now)))
        except OSError as error:
            if not self._failed:
                self._warn(f"the page {self._path} cannot be written: {error.strerror}; the rollout goes on")
            self._failed = True
        ended = time.monotonic()
        self._next = ended + max(_PAUSE, 10 * (ended - began))
