# SPDX-License-Identifier: MIT
"""What a rollout decides: rule by rule, and over random fleets, faults and rules."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afero_ota import outcome
from afero_ota.plan import Image, Plan, Rules, Target, Wave
from afero_ota.rollout import decision
from afero_ota.rollout.decision import IN_FLIGHT, Control, Decision, Device, Sighting, State, Verdict

N = 7112
T0 = 1_800_000_000.0


def said(line: str, now: float) -> outcome.Outcome | None:
    stamp = datetime.fromtimestamp(now, timezone.utc).strftime("%a %b %e %H:%M:%S %Y")
    return outcome.decode(f"{stamp}:{line}".encode().hex())


def plan(*waves: list[str], **rules: Any) -> Plan:
    own = Rules(**rules)
    built = tuple(Wave(f"wave {i}", tuple(map(Target, ids)), own) for i, ids in enumerate(waves, 1))
    return Plan("p", "t", "a", Image("1", "n", "v", N), built, own)


class Table:
    """A rollout in the hands of a test: what each device shows, and a clock."""

    def __init__(self, one: Plan):
        self.plan, self.now, self.control = one, T0, Control()
        self.devices = {target.device_id: Device() for wave in one.waves for target in wave.devices}
        self.shown: dict[str, Sighting | None] = dict.fromkeys(self.devices, Sighting(True, False, 7001))

    def show(self, device: str, line: str = "", **changes: Any) -> None:
        shown = self.shown[device] or Sighting(True, False, 7001)
        reason = said(line, self.now) if line else shown.reason
        self.shown[device] = shown._replace(**changes)._replace(reason=reason)

    def ask(self, after: float = 0.0) -> Decision:
        """Decide without carrying it out."""
        self.now += after
        for device, sighting in self.shown.items():
            self.devices[device].see(sighting, N, self.now)
        found = decision.decide(self.plan, self.devices, self.control, self.now)
        self.control = found.control
        return found

    def act(self, after: float = 0.0) -> Decision:
        """Decide, and push what was decided."""
        found = self.ask(after)
        for device in found.push:
            self.devices[device].push(self.now)
        return found

    def finish(self, *devices: str, line: str = "ota 7112 ok") -> None:
        for device in devices:
            self.show(device, line, running=N)

    def state(self, device: str) -> State:
        return self.ask().standings[device].state


def test_at_most_so_many_are_in_flight() -> None:
    table = Table(plan(["a", "b", "c"], in_flight=2))
    assert table.act().push == ("a", "b")
    assert table.act().push == ()
    table.finish("a")
    assert table.act().push == ("c",)


def test_the_new_version_is_success_and_all_of_it_ends_the_rollout() -> None:
    table = Table(plan(["a"]))
    table.act()
    table.show("a", updating=True)
    assert table.state("a") is State.UPDATING and table.ask().verdict is Verdict.RUNNING
    table.show("a", updating=False, running=N)
    found = table.ask()
    assert found.standings["a"].state is State.DONE and found.verdict is Verdict.FINISHED and not found.watched


@pytest.mark.parametrize(
    "line", ["ota 7112 refused 6 other hardware", "ota 7112 failed 21 x", "ota 7112 rolled back, health x"]
)
def test_what_the_device_says_of_this_push_is_failure(line: str) -> None:
    table = Table(plan(["a"]))
    table.show("a", line)
    table.act()
    assert table.state("a") is State.PUSHED, "it had said so before the push"
    table.now += 5
    table.show("a", line.replace("7112", "7111"))
    assert table.state("a") is State.PUSHED, "it speaks of another version"
    table.show("a", line)
    found = table.ask()
    assert found.standings["a"].state is State.FAILED and found.reasons == {found.standings["a"].reason: 1}


def test_a_device_on_trial_holds_its_slot_and_may_be_rolled_back() -> None:
    table = Table(plan(["a", "b"], in_flight=1, abort_share=1.0))
    table.act()
    table.show("a", "ota 7112 restarted, not confirmed", running=N)
    assert table.act().standings["a"].state is State.TRIAL and table.act().push == ()
    table.show("a", "ota 7112 rolled back, health hubby", running=7001)
    assert table.act().push == ("b",) and table.state("a") is State.FAILED


def test_a_device_that_goes_back_without_a_word_has_failed() -> None:
    table = Table(plan(["a"], soak=60))
    table.act()
    table.finish("a", line="reboot")
    assert table.state("a") is State.DONE
    table.show("a", running=7001)
    assert table.ask().standings["a"].reason == "rolled back: runs 7001 again"


@pytest.mark.parametrize(("updating", "limit", "word"), [(False, 600, "begin"), (True, 3600, "end")])
def test_a_silent_device_frees_its_slot_and_counts_as_failed(updating: bool, limit: float, word: str) -> None:
    table = Table(plan(["a", "b"], in_flight=1, abort_share=1.0))
    table.act()
    table.show("a", updating=updating)
    assert table.ask().push == ()
    assert table.act(limit - 1).push == () and table.ask().until == T0 + limit
    found = table.act(1)
    assert found.push == ("b",) and found.standings["a"].state is State.SILENT and word in found.standings["a"].reason
    table.finish("a")
    assert table.state("a") is State.DONE, "better late than never"


def test_offline_devices_wait_without_a_slot_up_to_a_limit() -> None:
    table = Table(plan(["a", "b"], in_flight=1))
    table.show("a", online=False)
    assert table.act().push == ("b",)
    assert table.act(86_399).standings["a"].state is State.OFFLINE
    assert table.act(1).standings["a"].state is State.UNREACHABLE


def test_an_offline_device_that_returns_is_pushed() -> None:
    table = Table(plan(["a"]))
    table.show("a", online=False)
    table.act()
    table.show("a", online=True)
    assert table.act(5000).push == ("a",)


def test_who_is_updating_or_not_listed_or_current_or_newer_is_not_pushed() -> None:
    table = Table(plan(["a", "b", "c", "d"]))
    table.show("a", updating=True)
    table.shown["b"] = None
    table.show("c", running=N)
    table.show("d", running=N + 1)
    found = table.act()
    assert found.push == ()
    states = [found.standings[device].state for device in "abcd"]
    assert states == [State.BUSY, State.OFFLINE, State.DONE, State.NEWER]


def test_a_device_that_installs_has_begun_although_nobody_saw_it_download() -> None:
    table = Table(plan(["a"]))
    table.act()
    table.now += 30
    table.show("a", "full_ota")
    assert table.state("a") is State.UPDATING


def test_a_device_that_was_never_seen_is_not_pushed() -> None:
    assert decision.decide(plan(["a"]), {}, Control(), T0).push == ()


def test_a_device_that_vanishes_after_its_push_falls_silent() -> None:
    table = Table(plan(["a"]))
    table.act()
    table.shown["a"] = None
    assert table.ask(600).standings["a"].state is State.SILENT


def test_the_next_wave_waits_for_success_and_soak() -> None:
    table = Table(plan(["a", "b"], ["c"], min_success=1.0, soak=60))
    assert table.act().push == ("a", "b")
    table.finish("a")
    assert table.act(10).push == ()
    table.finish("b")
    found = table.act(10)
    assert (found.verdict, found.push, found.until) == (Verdict.SOAKING, (), table.now + 60)
    assert table.act(59).push == ()
    assert table.act(1).push == ("c",)


def test_a_wave_that_had_the_version_before_is_watched_from_its_own_beginning() -> None:
    table = Table(plan(["a"], ["b"], ["c"], soak=60))
    table.finish("b")
    table.act()
    table.finish("a")
    table.act(100)
    assert len(table.act(60).control.opened) == 2
    assert table.act(59).push == ()
    assert table.act(1).push == ("c",)


def test_a_wave_that_falls_short_ends_the_rollout() -> None:
    table = Table(plan(["a", "b"], ["c"], min_success=0.6, abort_minimum=9))
    table.act()
    table.finish("a")
    table.show("b", "ota 7112 failed 21 x")
    found = table.act(1)
    assert found.verdict is Verdict.ABORTED and "1 of 2 devices" in found.control.aborted and found.push == ()


def test_an_offline_device_does_not_hold_up_the_next_wave_unless_its_success_is_needed() -> None:
    for needed, pushed in ((0.5, ("c",)), (0.9, ())):
        table = Table(plan(["a", "b"], ["c"], min_success=needed))
        table.show("b", online=False)
        table.act()
        table.finish("a")
        assert table.act(1).push == pushed
    table.show("b", online=True)
    assert table.act(1).push == ("b",)


def test_the_rollout_ends_when_too_many_failed_once_enough_reported() -> None:
    table = Table(plan(list("abcdefgh"), abort_share=0.25, abort_minimum=4, in_flight=8))
    table.act()
    table.show("a", "ota 7112 failed 21 x")
    table.show("b", "ota 7112 failed 21 x")
    assert table.ask(1).verdict is Verdict.RUNNING
    table.finish("c")
    assert table.ask(1).verdict is Verdict.RUNNING
    table.finish("d")
    found = table.ask(1)
    assert found.verdict is Verdict.ABORTED and "2 of 4" in found.control.aborted and found.watched
    table.finish(*"efgh")
    assert table.ask(1).verdict is Verdict.ABORTED, "an abort is for good"


def test_a_share_that_is_reached_but_not_passed_does_not_end_the_rollout() -> None:
    table = Table(plan(list("abcd"), abort_share=0.25, abort_minimum=1))
    table.act()
    table.finish(*"bcd")
    table.ask(1)
    table.show("a", "ota 7112 failed 21 x")
    assert table.ask(1).verdict is Verdict.FINISHED


def test_a_named_reason_ends_the_rollout_at_once() -> None:
    table = Table(plan(["a", "b"], ["c"], abort_on=("refused: other hardware",), abort_minimum=99))
    table.act()
    table.show("b", "ota 7112 refused 6 other hardware")
    assert table.ask(1).control.aborted == "wave 1: device b: refused: other hardware"


def test_nothing_is_pushed_while_paused_and_everything_after() -> None:
    table = Table(plan(["a", "b"], in_flight=1))
    table.act()
    table.control = replace(table.control, paused=True)
    table.finish("a")
    assert table.act().push == () and table.ask().verdict is Verdict.PAUSED
    table.control = replace(table.control, paused=False)
    assert table.act().push == ("b",)


def test_a_failed_device_is_pushed_again_only_when_that_is_asked_for() -> None:
    table = Table(plan(["a", "b"], abort_share=1.0))
    table.act()
    table.show("a", "ota 7112 failed 21 x")
    table.finish("b")
    found = table.act(1)
    assert found.push == () and decision.failed_devices(found.standings) == ["a"]
    table.devices["a"].retry()
    assert table.act(1).push == ("a",)
    assert table.state("a") is State.PUSHED, "the old outcome is no answer to the new push"
    table.finish("a")
    assert table.state("a") is State.DONE and table.devices["a"].attempts == 2


def test_a_push_that_the_cloud_refuses_is_a_failure_and_a_second_one_is_an_error() -> None:
    table = Table(plan(["a"]))
    table.act()
    with pytest.raises(ValueError, match="pushed already"):
        table.devices["a"].push(table.now)
    table.devices["a"].refuse(table.now, "status 404")
    assert table.ask().standings["a"].reason == "push refused: status 404"


def test_ten_thousand_devices_are_decided_in_a_moment() -> None:
    names = [f"{i:016x}" for i in range(10_000)]
    table = Table(plan(names[:100], names[100:], in_flight=5000, min_success=0.9))
    table.act()
    table.finish(*names[:100])
    table.act(1)
    times = []
    for _ in range(7):
        began = time.thread_time()
        decision.decide(table.plan, table.devices, table.control, table.now)
        times.append(time.thread_time() - began)
    print(f"\n{min(times) * 1000:.1f} ms")
    assert min(times) < 0.05


# ---- random fleets ---------------------------------------------------------------------------------------------------

FATES = (
    "ok",
    "ok",
    "ok",
    "refused 6 other hardware",
    "failed 21 x",
    "rolled back, health x",
    "silent",
    "lost",
    "mute",
    "gone",
)


@dataclass
class Thing:
    """A simulated device: what it does is set by its script and by when it is pushed."""

    fate: str
    running: int | None
    comes: int  # seconds until it is online
    busy: int  # seconds for which it is busy with another update
    delays: tuple[int, int, int]
    line: str = ""
    line_at: float = T0
    online: bool = True
    updating: bool = False
    listed: bool = True
    pushes: int = 0
    events: list[tuple[float, dict[str, Any]]] = field(default_factory=list)

    def begin(self) -> None:
        self.online, self.updating = self.comes == 0, self.busy > 0
        self.events = [(T0 + self.comes, {"online": True}), (T0 + self.busy, {"updating": False})]

    def advance(self, now: float) -> None:
        self.events.sort(key=lambda event: event[0])
        while self.events and self.events[0][0] <= now:
            moment, changes = self.events.pop(0)
            for name, value in changes.items():
                setattr(self, name, value)
            self.line_at = moment if "line" in changes else self.line_at

    def push(self, now: float) -> None:
        assert self.listed and self.online and not self.updating, "pushed when it must not be"
        assert self.running is None or self.running < N, "pushed although it runs the version"
        self.pushes += 1
        start, middle, end = (now + sum(self.delays[: i + 1]) for i in range(3))
        stories: dict[str, list[tuple[float, dict[str, Any]]]] = {
            "silent": [(start, {"online": False})],
            "gone": [(start, {"listed": False})],
            "lost": [(start, {"updating": True}), (middle, {"updating": False, "line": "reboot"})],
            "mute": [(start, {"updating": True}), (middle, {"updating": False, "running": N})],
            "ok": [
                (start, {"updating": True}),
                (middle, {"updating": False, "running": N, "line": f"ota {N} restarted, not confirmed"}),
                (end, {"line": f"ota {N} ok"}),
            ],
            "rolled back, health x": [
                (start, {"updating": True}),
                (middle, {"updating": False, "running": N, "line": f"ota {N} restarted, not confirmed"}),
                (end, {"running": self.running or 7001, "line": f"ota {N} {self.fate}"}),
            ],
        }
        ends: list[tuple[float, dict[str, Any]]] = [
            (start, {"updating": True}),
            (middle, {"updating": False, "line": f"ota {N} {self.fate}"}),
        ]
        self.events += stories.get(self.fate, ends)

    def sighting(self) -> Sighting | None:
        reason = said(self.line, self.line_at) if self.line else None
        return Sighting(self.online, self.updating, self.running, reason) if self.listed else None


delay = st.integers(1, 300)
things = st.builds(
    Thing,
    st.sampled_from(FATES),
    st.sampled_from([7001, 7001, 7001, 7002, None, N, N + 5]),
    st.sampled_from([0, 0, 0, 0, 200, 5000]),
    st.sampled_from([0, 0, 0, 0, 100]),
    st.tuples(delay, delay, delay),
)
rule_sets = st.builds(
    Rules,
    in_flight=st.integers(1, 6),
    start_limit=st.integers(60, 400).map(float),
    finish_limit=st.integers(60, 1200).map(float),
    offline_limit=st.integers(0, 1500).map(float),
    abort_share=st.sampled_from([0.0, 0.1, 0.34, 0.5, 1.0]),
    abort_minimum=st.integers(1, 5),
    abort_on=st.sampled_from([(), ("refused: other hardware",), ("failed 21",), ("silent",)]),
    min_success=st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    soak=st.sampled_from([0.0, 45.0, 500.0]),
)


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_over_random_fleets_the_rules_hold(data: st.DataObject) -> None:
    fleet = {f"d{i}": one for i, one in enumerate(data.draw(st.lists(things, min_size=1, max_size=14)))}
    names = list(fleet)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(names) - 1), max_size=3))) if len(names) > 1 else []
    parts = [names[i:j] for i, j in zip([0, *cuts], [*cuts, len(names)])]
    waves = tuple(Wave(f"w{i}", tuple(map(Target, part)), data.draw(rule_sets)) for i, part in enumerate(parts))
    run = Run(Plan("p", "t", "a", Image("1", "n", "v", N), waves), fleet)
    run.to_the_end(data.draw(st.integers(5, 90)), data.draw(st.sampled_from([None, None, 400])))
    assert all(one.pushes <= 1 for one in fleet.values())


class Run:
    """A rollout over a simulated fleet; every decision is checked against the rules, worked out anew."""

    def __init__(self, one: Plan, fleet: dict[str, Thing]):
        self.plan, self.fleet, self.control, self.now = one, fleet, Control(), T0
        self.devices = {name: Device() for name in fleet}
        self.soaked: dict[int, float] = {}
        for thing in fleet.values():
            thing.begin()

    def to_the_end(self, pause: int, forget_at: int | None) -> None:
        """Until it says that it has ended; it must, since every limit is finite."""
        for step in range(100_000 // pause):
            found = self.step()
            if found.verdict is Verdict.FINISHED or (found.verdict is Verdict.ABORTED and not found.watched):
                return
            if forget_at is not None and step * pause > forget_at:
                self.control, forget_at = replace(self.control, paused=not self.control.paused), None
                assert not self.step().push or not self.control.paused
                self.control = replace(self.control, paused=False)
            self.now += pause
        raise AssertionError(f"it never ended: {found}")

    def step(self) -> Decision:
        for name, thing in self.fleet.items():
            thing.advance(self.now)
            self.devices[name].see(thing.sighting(), N, self.now)
        before, self.control = self.control, self.control
        found = decision.decide(self.plan, self.devices, self.control, self.now)
        assert found == decision.decide(self.plan, self.devices, self.control, self.now), (
            "asked twice, it says the same"
        )
        self.check(found, before)
        self.control = found.control
        for name in found.push:
            self.devices[name].push(self.now)
            self.fleet[name].push(self.now)
        return found

    def check(self, found: Decision, before: Control) -> None:
        states = {name: one.state for name, one in found.standings.items()}
        assert states.keys() == self.fleet.keys()
        assert found.totals == Counter(states.values()) and sum(found.totals.values()) == self.plan.size
        assert [sum(counts.values()) for counts in found.waves] == [len(wave.devices) for wave in self.plan.waves]
        bad = [name for name, state in states.items() if state in (State.FAILED, State.SILENT)]
        assert sum(found.reasons.values()) == len(bad) and found.watched == bool(IN_FLIGHT & set(states.values()))
        self.check_pushes(found, states, before)
        self.check_waves(found, states, before)
        assert bool(found.control.aborted) == (
            bool(before.aborted) or self.must_abort(states, len(found.control.opened))
        )

    def check_pushes(self, found: Decision, states: dict[str, State], before: Control) -> None:
        assert not (found.push and (found.control.aborted or before.paused))
        assert len(set(found.push)) == len(found.push)
        flying = sum(state in IN_FLIGHT for state in states.values())
        for position, name in enumerate(found.push):
            wave = self.wave_of(name)
            assert wave < len(found.control.opened)
            assert flying + position < self.plan.waves[wave].rules.in_flight

    def wave_of(self, name: str) -> int:
        return next(i for i, wave in enumerate(self.plan.waves) if Target(name) in wave.devices)

    def check_waves(self, found: Decision, states: dict[str, State], before: Control) -> None:
        assert found.control.opened[: len(before.opened)] == before.opened
        for number in range(len(before.opened), len(found.control.opened)):
            assert not before.aborted and not before.paused and found.control.opened[number] == self.now
            if number:
                wave = self.plan.waves[number - 1]
                own = [states[target.device_id] for target in wave.devices]
                assert not set(own) & {*IN_FLIGHT, State.WAITING}
                counted = [state for state in own if state is not State.NEWER]
                assert own.count(State.DONE) >= wave.rules.min_success * len(counted) - 1e-9
                ends = [self.ended(target.device_id, wave.rules) for target in wave.devices]
                assert self.now >= max([found.control.opened[number - 1], *filter(None, ends)]) + wave.rules.soak

    def ended(self, name: str, rules: Rules) -> float | None:
        device = self.devices[name]
        if device.pushed is None or device.done is not None or device.failed is not None:
            return device.done if device.done is not None else device.failed
        return device.pushed + min(rules.start_limit, rules.finish_limit)

    def must_abort(self, states: dict[str, State], opened: int) -> bool:
        for number, wave in enumerate(self.plan.waves[:opened]):
            names = [target.device_id for target in wave.devices]
            bad = [name for name in names if states[name] in (State.FAILED, State.SILENT)]
            good = [name for name in names if states[name] is State.DONE and self.fleet[name].pushes]
            reported = len(bad) + len(good)
            if reported >= wave.rules.abort_minimum and bad and len(bad) > wave.rules.abort_share * reported + 1e-9:
                return True
            fates = {"refused: other hardware": "refused 6 other hardware", "failed 21": "failed 21 x"}
            for reason in wave.rules.abort_on:
                silent = reason == "silent" and any(states[name] is State.SILENT for name in bad)
                named = any(self.fleet[name].fate == fates.get(reason) and states[name] is State.FAILED for name in bad)
                if silent or named:
                    return True
            own = [states[name] for name in names]
            over = not set(own) & {*IN_FLIGHT, State.WAITING, State.OFFLINE, State.BUSY}
            counted = len(own) - own.count(State.NEWER)
            short = own.count(State.DONE) < wave.rules.min_success * counted - 1e-9
            if over and short and number == opened - 1 and number < len(self.plan.waves) - 1:
                return True
        return False
