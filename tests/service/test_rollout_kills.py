# SPDX-License-Identifier: MIT
"""A rollout whose client is killed at fifty points: all runs together do what one run does."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from afero_ota import cli
from afero_ota.rollout import ledger
from afero_ota.rollout.decision import Decision, State, decide
from fleets import Fleet, fleet

DEVICES, KILLS, SEED = 1000, 50, 20261124
PROFILE: dict[str, Any] = {
    "failed": {"21 contents differ": 0.03},
    "refused": {"7 does not fit": 0.02},
    "rolled_back": {"health hubby": 0.02},
    "silent": 0.02,
    "offline": 0.02,
    "offline_returns": 0.0,
    "updating": 0.02,
    "updating_seconds": [200, 400],
}
RULES: dict[str, Any] = {"in_flight": 60, "start_limit": 6.0, "finish_limit": 12.0, "offline_limit": 15.0}
ARGUMENTS = ("--poll", "0.3", "--rate", "500", "--attempts", "2", "--quiet", "--page")


def start(one: Fleet) -> int:
    """The command in a process of its own; returns its id. Forked, since loading Python anew takes longer than a run."""
    process = os.fork()
    if process:
        return process
    status = 99
    with contextlib.suppress(BaseException), (one.folder / "client.log").open("a") as log:
        sys.stdout = sys.stderr = log
        command = [
            "deploy",
            "--plan",
            str(one.path),
            "--conf",
            str(one.service.conf),
            *ARGUMENTS,
            str(one.folder / "page.html"),
        ]
        status = cli.main(command)
        log.flush()
    os._exit(status)


def ended(process: int) -> int | None:
    """The exit status of a process, None while it runs."""
    found, status = os.waitpid(process, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def run_until(one: Fleet, lines: int | None) -> int | None:
    """Run the client until the journal has grown by so many lines, then kill it; None: to its end, whose status is returned."""
    path = Path(one.journal)
    size = path.stat().st_size if path.exists() else 0
    process = start(one)
    while (status := ended(process)) is None:
        if lines is not None and path.exists():
            with path.open("rb") as stream:
                stream.seek(size)
                if stream.read().count(b"\n") >= lines:
                    os.kill(process, signal.SIGKILL)
                    os.waitpid(process, 0)
                    return None
        time.sleep(0.001)
    return status


def result(one: Fleet, plan: Any) -> Decision:
    known = ledger.fold(plan, one.entries())
    return decide(plan, known.devices, known.control, known.time)


def shown(decision: Decision) -> dict[str, tuple[str, str]]:
    """State and reason of each device; how far a silent one came depends on when it was looked at."""
    found = {}
    for device_id, standing in decision.standings.items():
        found[device_id] = (standing.state.value, standing.reason if standing.state is State.FAILED else "")
    return found


def test_fifty_kills_change_nothing(tmp_path: Path) -> None:
    with fleet(tmp_path / "clean", DEVICES, **PROFILE) as one:
        plan = one.plan(["20"], ["200"], **RULES)
        status, clean = run_until(one, None), result(one, plan)
        assert status == 10, (tmp_path / "clean" / "client.log").read_text()
        lines, pushes = len(one.entries()), one.pushes()
    draw = random.Random(SEED)
    # so that the last kill comes before the end, which every client brings a line nearer
    points = sorted(draw.sample(range(1, int(lines * 0.8)), KILLS))
    with fleet(tmp_path / "killed", DEVICES, **PROFILE) as one:
        plan = one.plan(["20"], ["200"], **RULES)
        killed = 0
        for before, point in zip([0, *points], points):
            killed += run_until(one, point - before + 1) is None
        assert killed == KILLS
        assert run_until(one, None) == status, (tmp_path / "killed" / "client.log").read_text()
        again = result(one, plan)
        assert one.pushes() == pushes and max(one.pushes().values()) == 1
        one.check_pushes()
        counts = Counter(entry["event"] for entry in one.entries())
    assert shown(again) == shown(clean) and again.totals == clean.totals
    assert counts["run"] == KILLS + 1 and sum(clean.totals.values()) == DEVICES
