# SPDX-License-Identifier: MIT
"""A simulated fleet inside a service, an image for it, and rollouts to it."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from afero_ota import config, service
from afero_ota import plan as plans
from afero_ota.plan import Plan, Rules
from afero_ota.rollout import ledger, planning
from afero_ota.rollout.acting import Clock, Pace, Rollout, Watcher
from afero_ota.rollout.decision import Decision, State
from afero_ota.rollout.ledger import Ledger
from afero_ota.rollout.selection import Filters
from afero_ota.transport import Patience
from api import Api
from rehearsal.service import RunningService

SPEED = 200.0  # a device is through in half a second
NO_FAULTS: dict[str, Any] = {
    "running": {"7001": 1.0},
    "offline": 0.0,
    "updating": 0.0,
    "silent": 0.0,
    "interrupted": 0.0,
    "refused": {},
    "failed": {},
    "rolled_back": {},
}
# limits that fit the speed; no rule ends a rollout unless a test says so
PATIENT: dict[str, Any] = {
    "in_flight": 50,
    "start_limit": 5.0,
    "finish_limit": 12.0,
    "offline_limit": 3.0,
    "abort_share": 1.0,
    "min_success": 0.0,
}
HURRY = Pace(poll=0.15, rate=1000.0, outage=20.0)


class Fleet:
    """The devices of one running service, and rollouts to them."""

    def __init__(self, running: RunningService, folder: Path):
        self.service, self.folder, self.api = running, folder, Api(running)
        self.image = self.api.image(os.urandom(10_000))
        self.path = folder / "plan.yml"
        self.last: Rollout | None = None

    @property
    def journal(self) -> str:
        return ledger.path_of(str(self.path))

    def client(self) -> service.OtaService:
        """A client that gives a request up at once, so that the rollout itself has to bear it."""
        return service.connect(config.load(str(self.service.conf), {}, {}), Patience(stall=20.0, attempts=1))

    def plan(
        self, canaries: Sequence[str] = (), sizes: Sequence[str] = (), ids: Sequence[str] = (), **rules: Any
    ) -> Plan:
        """A plan for all devices (or these), also in the file."""
        request = planning.Request(Filters(tuple(ids)), canaries, sizes, Rules(**{**PATIENT, **rules}))
        made, _ = planning.make(self.client(), planning.planned(self.image), request)
        self.path.write_text(plans.dump(made))
        return made

    def run(self, plan: Plan, *watchers: Watcher, retry_failed: bool = False, pace: Pace = HURRY) -> Decision:
        """Carry a plan out, or go on with it."""
        cloud, clock = self.client(), Clock()
        with Ledger(self.journal, plan, clock.now()) as book:
            self.last = Rollout(
                plan, cloud, book, watchers, pace, clock, lambda: planning.check_cloud(cloud, plan, accounts=False)
            )
            return self.last.run(retry_failed)

    def entries(self, *events: str) -> list[ledger.Entry]:
        return [entry for entry in ledger.read(self.journal) if not events or entry["event"] in events]

    def pushes(self) -> Counter[str]:
        """How often the service was asked to push each device."""
        return Counter(self.service.sim.stats()["pushes"])

    def check_pushes(self) -> None:
        """Nobody was pushed while it was updating, or without need."""
        pushes = [push for device in self.service.sim.fleet() for push in device["pushes"]]
        assert not [push for push in pushes if push["whileUpdating"] or push["needless"]]


def states(decision: Decision) -> dict[str, int]:
    """How many devices are in each state, by its word."""
    return {state.value: number for state, number in decision.totals.items() if number}


def in_state(decision: Decision, state: State) -> set[str]:
    return {device for device, standing in decision.standings.items() if standing.state is state}


@contextmanager
def fleet(folder: Path, size: int, speed: float = SPEED, faults: Any = None, **profile: Any) -> Iterator[Fleet]:
    """A service with so many devices, which are without faults but for what the profile says."""
    folder.mkdir(exist_ok=True)
    (folder / "profile.json").write_text(json.dumps({**NO_FAULTS, **profile}))
    options = ["--sim-devices", size, "--sim-seed", 7, "--sim-speed", speed, "--sim-profile", folder / "profile.json"]
    with RunningService(arguments=tuple(map(str, options)), faults=faults) as running:
        yield Fleet(running, folder)
