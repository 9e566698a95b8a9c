# SPDX-License-Identifier: MIT
"""Rollouts to a simulated fleet behind the real service: rules, faults, doubts, and going on after any end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from afero_ota import errors
from afero_ota.rollout import acting, control, ledger
from afero_ota.rollout.acting import Clock
from afero_ota.rollout.decision import Decision, State, Verdict
from fleets import HURRY, Fleet, fleet, in_state, states
from rehearsal.service import wait_until


class Stop(Exception):
    """The client's end in a test."""


class Tap:
    """Calls a function at every entry of the journal; may raise to end the client there."""

    def __init__(self, call: Callable[[str, Mapping[str, Any]], None]):
        self._call = call

    def noted(self, event: str, now: float, facts: Mapping[str, Any]) -> None:
        self._call(event, facts)

    def decided(self, decision: Decision, now: float) -> None:
        """Nothing."""


class Looks:
    """Counts how often the client has decided what to do."""

    count = 0

    def noted(self, event: str, now: float, facts: Mapping[str, Any]) -> None:
        """Nothing."""

    def decided(self, decision: Decision, now: float) -> None:
        self.count += 1


def stop_after(event: str, number: int) -> Tap:
    """Ends the client once so many such entries were noted."""
    seen = [0]

    def count(found: str, facts: Mapping[str, Any]) -> None:
        seen[0] += found == event
        if seen[0] >= number:
            raise Stop

    return Tap(count)


def most_in_flight(one: Fleet) -> int:
    """The most devices that were in flight at any time, by the journal."""
    flying, most = set[str](), 0
    for entry in one.entries():
        values = entry.get("set") or {}
        if entry["event"] == "push":
            flying.add(entry["device"])
        elif values.get("done") or values.get("failed") or entry.get("state") == "silent":
            flying.discard(entry["device"])
        most = max(most, len(flying))
    return most


def check_memory(one: Fleet, plan: Any) -> None:
    """What the journal says is what the client knew at its end."""
    assert one.last
    known = ledger.fold(plan, one.entries())
    assert known.control == one.last.control and known.in_doubt == one.last.in_doubt
    for device_id, device in one.last.devices.items():
        assert dict(ledger.worth_keeping(known.devices[device_id])) == dict(ledger.worth_keeping(device)), device_id
        kept = ("pushed", "before", "attempts")
        assert [getattr(known.devices[device_id], name) for name in kept] == [getattr(device, name) for name in kept]


def test_a_list_of_devices_that_takes_longer_than_the_pause_between_two_looks_leaves_time_to_push(
    tmp_path: Path,
) -> None:
    slow = {"match": "GET /v1/accounts/*/devices", "do": "stall", "seconds": 2 * HURRY.poll}
    with fleet(tmp_path, 5, faults={"rules": [slow]}) as one:
        decision = one.run(one.plan())
        assert states(decision) == {"done": 5}


def test_every_device_is_pushed_once_wave_by_wave_and_within_the_limit(tmp_path: Path) -> None:
    with fleet(tmp_path, 60) as one:
        plan = one.plan(["5"], ["50%"], in_flight=12, soak=0.5, min_success=1.0)
        found = one.run(plan)
        assert states(found) == {"done": 60} and acting.exit_status(found) == 0
        assert one.pushes() == dict.fromkeys(found.standings, 1)
        assert 6 <= most_in_flight(one) <= 12
        one.check_pushes()
        check_memory(one, plan)
        times = {entry["device"]: ledger.moment(entry) for entry in one.entries("push")}
        for wave, following in zip(plan.waves, plan.waves[1:]):
            ended = max(one.last.devices[target.device_id].done or 0 for target in wave.devices)  # type: ignore[union-attr]
            assert min(times[target.device_id] for target in following.devices) >= ended + 0.5, "it soaked"
        again = one.run(plan)
        assert states(again) == {"done": 60} and sum(one.pushes().values()) == 60


@pytest.mark.parametrize(
    ("profile", "rules", "why"),
    [
        (
            {"failed": {"21 contents differ": 1.0}},
            {"abort_share": 0.2, "abort_minimum": 4},
            "devices failed or fell silent",
        ),
        ({"refused": {"6 other hardware": 1.0}}, {"abort_on": ("refused: other hardware",)}, "refused: other hardware"),
        ({"rolled_back": {"health hubby": 1.0}}, {"abort_on": ("rolled back",)}, "rolled back: health hubby"),
        ({"silent": 1.0}, {"abort_share": 0.5, "abort_minimum": 3}, "devices failed or fell silent"),
        ({"failed": {"20 x": 1.0}}, {"min_success": 0.9, "in_flight": 5}, "must before the next wave"),
    ],
    ids=["share", "named refusal", "named rollback", "silence", "too few successes"],
)
def test_a_rollout_aborts_by_its_rules_and_pushes_nothing_more(
    tmp_path: Path, profile: dict[str, Any], rules: dict[str, Any], why: str
) -> None:
    with fleet(tmp_path, 40, **profile) as one:
        plan = one.plan(sizes=["5"], **{"in_flight": 4, **rules})
        found = one.run(plan)
        assert found.verdict is Verdict.ABORTED and why in found.control.aborted
        assert acting.exit_status(found) == errors.RolloutAbortedError.exit_status
        assert sum(one.pushes().values()) <= 5 and not found.watched
        again = one.run(plan)
        assert again.verdict is Verdict.ABORTED and sum(one.pushes().values()) <= 5
        with pytest.raises(errors.RefusedError, match="make a new plan"):
            one.run(plan, retry_failed=True)


def test_a_mixed_fleet_ends_as_its_devices_say(tmp_path: Path) -> None:
    profile: dict[str, Any] = {
        "failed": {"21 contents differ": 0.1},
        "refused": {"7 does not fit": 0.1},
        "rolled_back": {"health hubby": 0.1},
        "silent": 0.05,
        "offline": 0.1,
        "offline_returns": 0.5,
        "offline_seconds": [50, 100],
        "updating": 0.1,
        "updating_seconds": [50, 100],
    }
    with fleet(tmp_path, 120, **profile) as one:
        plan = one.plan(["10"], abort_share=1.0)
        found = one.run(plan)
        truth = {device["deviceId"]: device for device in one.service.sim.fleet()}
        assert found.verdict is Verdict.FINISHED and acting.exit_status(found) == 10
        assert sum(found.totals.values()) == 120
        for device_id, standing in found.standings.items():
            fate = truth[device_id]["fate"]
            wanted = {"": "unreachable", "ok": "done", "silent": "silent"}.get(fate, "failed")
            assert standing.state.value == wanted, (device_id, fate, standing)
        assert found.reasons["failed: contents differ"] == sum("contents" in one["fate"] for one in truth.values())
        assert found.reasons["rolled back: health hubby"] == sum("hubby" in one["fate"] for one in truth.values())
        assert max(one.pushes().values()) == 1
        one.check_pushes()
        check_memory(one, plan)
        # what a device refuses once it refuses again, everything else is drawn anew
        bad = in_state(found, State.FAILED) | in_state(found, State.SILENT)
        again = one.run(plan, retry_failed=True)
        refused = {device_id for device_id in bad if "does not fit" in truth[device_id]["fate"]}
        assert refused <= in_state(again, State.FAILED)
        assert {device for device, number in one.pushes().items() if number == 2} <= bad


def test_a_device_that_vanishes_or_is_taken_over_is_told(tmp_path: Path) -> None:
    with fleet(tmp_path, 3) as one:
        plan = one.plan(in_flight=1, offline_limit=1.0)
        gone = plan.waves[0].devices[1].device_id
        one.service.sim.forget(gone)
        found = one.run(plan)
        assert (
            found.standings[gone].state is State.UNREACHABLE
            and "not in the device list" in found.standings[gone].reason
        )
        assert states(found) == {"done": 2, "unreachable": 1} and gone not in one.pushes()


# ---- the cloud -------------------------------------------------------------------------------------------------------


def push_fault(**fault: Any) -> dict[str, Any]:
    return {"rules": [{"match": "PUT DT/firmwareImages/{id}/push", **fault}]}


@pytest.mark.parametrize("at", ["before", "after"])
def test_a_push_without_an_answer_is_watched_and_sent_again_only_if_it_did_not_arrive(tmp_path: Path, at: str) -> None:
    with fleet(tmp_path, 6, faults=push_fault(when={"first": 2}, do="reset", at=at)) as one:
        found = one.run(one.plan(start_limit=2.0))
        assert states(found) == {"done": 6} and one.pushes() == dict.fromkeys(found.standings, 1)
        withdrawn = {entry["device"] for entry in one.entries("withdrawn")}
        assert len(one.entries("unanswered")) == 2 and len(withdrawn) == (2 if at == "before" else 0)


def test_a_push_in_doubt_to_a_silent_device_makes_the_outcome_unknown(tmp_path: Path) -> None:
    faults = push_fault(when={"first": 1}, do="reset", at="after")
    with fleet(tmp_path, 1, silent=1.0, faults=faults) as one:
        found = one.run(one.plan(start_limit=2.0))
        assert one.last and acting.exit_status(found, one.last.in_doubt) == errors.UnknownOutcomeError.exit_status
        assert sum(one.pushes().values()) == 1


def test_a_busy_service_is_heeded(tmp_path: Path) -> None:
    faults = push_fault(when={"every": 3}, do="status", status=429, headers={"Retry-After": "1"})
    with fleet(tmp_path, 8, faults=faults) as one:
        found = one.run(one.plan())
        assert states(found) == {"done": 8} and one.pushes() == dict.fromkeys(found.standings, 1)


def test_nothing_is_judged_or_pushed_while_the_cloud_cannot_be_reached(tmp_path: Path) -> None:
    with fleet(tmp_path, 8) as one:
        plan = one.plan(in_flight=2, start_limit=1.0, finish_limit=1.5)
        outage = {"rules": [{"match": "GET /v1/accounts/{id}/devices", "do": "status", "status": 503}]}
        began: list[float] = []

        def lights(event: str, facts: Mapping[str, Any]) -> None:
            if event == "accepted" and not began:
                began.append(time.monotonic())
                one.service.sim.set_faults(outage)
            elif event == "outage" and time.monotonic() > began[0] + 2.5:
                one.service.sim.set_faults({})

        found = one.run(plan, Tap(lights))
        assert len(one.entries("outage")) > 2
        assert states(found) == {"done": 8}, "nobody is silent because we could not look"
        one.service.sim.set_faults(outage)
        with pytest.raises(errors.NetworkError):
            one.run(plan, pace=replace(HURRY, outage=0.5))


def test_an_image_that_is_taken_away_stops_the_rollout_and_is_no_failure_of_the_devices(tmp_path: Path) -> None:
    with fleet(tmp_path, 10) as one:
        plan = one.plan(in_flight=3)

        def take_away(event: str, facts: Mapping[str, Any]) -> None:
            if event == "accepted" and len(one.entries("accepted")) == 2:
                path = f"DT/firmwareImages/types/5/versionNumbers/{plan.image.version_number}"
                assert one.api.call("DELETE", path).status_code == 204

        with pytest.raises(errors.RefusedError, match="the cloud changed since the plan was made.*is gone"):
            one.run(plan, Tap(take_away))
        known = ledger.fold(plan, one.entries())
        assert not [device for device in known.devices.values() if device.failed is not None]
        assert sum(device.pushed is not None for device in known.devices.values()) == sum(one.pushes().values()) == 2


# ---- going on --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("event", "number"), [("push", 3), ("accepted", 3), ("device", 4), ("control", 1)])
def test_a_client_that_ends_anywhere_is_followed_by_another(tmp_path: Path, event: str, number: int) -> None:
    with fleet(tmp_path, 12) as one:
        plan = one.plan(in_flight=4, start_limit=2.0)
        with pytest.raises(Stop):
            one.run(plan, stop_after(event, number))
        found = one.run(plan)
        assert states(found) == {"done": 12} and one.pushes() == dict.fromkeys(found.standings, 1)


def test_a_device_that_updates_while_no_client_runs_is_not_silent(tmp_path: Path) -> None:
    with fleet(tmp_path, 1, speed=10.0, install_seconds=[50, 50]) as one:
        plan = one.plan(start_limit=3.5, finish_limit=30.0)
        with pytest.raises(Stop):
            one.run(plan, stop_after("accepted", 1))
        time.sleep(4)  # past the time to begin, with the device in the middle of its update
        silent: list[str] = []
        found = one.run(
            plan, Tap(lambda event, facts: silent.extend([event] if facts.get("state") == "silent" else []))
        )
        assert states(found) == {"done": 1} and not silent


def test_pause_resume_and_abort_work_from_elsewhere(tmp_path: Path) -> None:
    with fleet(tmp_path, 30) as one:
        plan, wishes = one.plan(in_flight=3), control.path_of(one.journal)
        results: list[Decision] = []
        control.write(wishes, paused=True)
        looks = Looks()
        client = threading.Thread(target=lambda: results.append(one.run(plan, looks)))
        client.start()
        wait_until(lambda: looks.count > 3)
        assert not one.pushes()
        control.write(wishes)
        wait_until(lambda: one.entries("accepted"))
        control.write(wishes, aborted="the release notes are wrong")
        client.join(30)
        [found] = results
        assert found.verdict is Verdict.ABORTED and "release notes" in found.control.aborted
        assert 0 < sum(one.pushes().values()) < 30 and not found.watched
        assert [entry["paused"] for entry in one.entries("control")][:2] == [True, False]
        with pytest.raises(errors.ConfigError, match="aborted, which is for good"):
            control.write(wishes)


def test_a_clock_that_was_set_back_does_not_turn_back_the_rollout() -> None:
    clock = Clock(not_before=time.time() + 3600)
    first = clock.now()
    assert first >= time.time() + 3599
    clock.sleep(0.02)
    assert 0.019 <= clock.now() - first < 5  # both ends are rounded to a millisecond
