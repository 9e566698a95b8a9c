# SPDX-License-Identifier: MIT
"""A rollout as plain data, for reports: what was planned, what became of each wave and device, and when.

Built from the plan and its journal; no network, no files. All texts of devices and of the cloud are as they came: whoever shows
them must make them harmless.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .. import outcome
from ..plan import Image, Plan, Rules
from . import ledger
from .decision import HELD_UP, IN_FLIGHT, REPORTED, Device, Standing, State, Verdict, decide
from .ledger import Entry


@dataclass(frozen=True)
class DeviceStory:
    """One device. before, running: its versionNumber when the plan was made, and the newest one known.

    events: times (seconds since 1970) and what happened, oldest first. took: seconds from the last push to how it ended.
    """

    device_id: str
    name: str
    wave: int
    state: State
    reason: str
    before: int | None
    running: int | None
    attempts: int
    events: tuple[tuple[float, str], ...] = ()
    took: float | None = None


@dataclass(frozen=True)
class WaveStory:
    """One wave, numbered from 1. opened, ended: None when it did not begin or end; counts: its devices by state."""

    number: int
    name: str
    rules: Rules
    size: int
    opened: float | None
    ended: float | None
    counts: Mapping[State, int]


@dataclass(frozen=True)
class Story:
    """A whole rollout. began: None when no client ran yet; updated: time of the newest fact. Times: seconds since 1970.

    reason: why the rollout was aborted. reasons: failed and silent devices by reason. progress: devices by state over time.
    """

    image: Image
    partner_id: str
    device_type_id: str
    account_id: str
    digest: str
    verdict: Verdict
    reason: str
    began: float | None
    updated: float
    waves: tuple[WaveStory, ...]
    devices: tuple[DeviceStory, ...]
    totals: Mapping[State, int]
    reasons: Mapping[str, int]
    left_out: Mapping[str, int]
    progress: tuple[tuple[float, Mapping[State, int]], ...] = ()
    runs: tuple[tuple[float, str], ...] = ()  # times and clients


def document(story: Story) -> dict[str, Any]:
    """The story as plain values, for JSON. Times are as in the journal."""

    def time(moment: float | None) -> str | None:
        return None if moment is None else ledger.stamp(moment)

    return {
        "image": {"id": story.image.id, "name": story.image.name, "version": story.image.version},
        "versionNumber": str(story.image.version_number),
        "sha256": story.image.sha256,
        "partnerId": story.partner_id,
        "deviceTypeId": story.device_type_id,
        "accountId": story.account_id,
        "plan": story.digest,
        "verdict": story.verdict.value,
        "reason": story.reason,
        "began": time(story.began),
        "updated": time(story.updated),
        "totals": by_word(story.totals),
        "reasons": dict(story.reasons),
        "leftOut": dict(story.left_out),
        "waves": [
            {
                "name": wave.name,
                "size": wave.size,
                "opened": time(wave.opened),
                "ended": time(wave.ended),
                "devices": by_word(wave.counts),
            }
            for wave in story.waves
        ],
        "devices": [
            {
                "id": one.device_id,
                "name": one.name,
                "wave": story.waves[one.wave - 1].name,
                "state": one.state.value,
                "reason": one.reason,
                "before": _number(one.before),
                "running": _number(one.running),
                "attempts": one.attempts,
                "events": [{"time": time(moment), "text": said} for moment, said in one.events],
            }
            for one in story.devices
        ],
    }


def by_word(counts: Mapping[State, int]) -> dict[str, int]:
    """Counts of devices by the word for their state, in the order of the states; those that are none are left out."""
    return {state.value: counts[state] for state in State if counts.get(state)}


def in_words(counts: Mapping[State, int]) -> str:
    """Counts of devices in one line, such as `3 done, 1 failed`."""
    return ", ".join(f"{number} {word}" for word, number in by_word(counts).items())


def _number(number: int | None) -> str | None:
    return None if number is None else str(number)


@dataclass
class _Collector:
    """What the entries say besides the state of the devices."""

    events: dict[str, list[tuple[float, str]]] = field(default_factory=dict)
    progress: list[tuple[float, Mapping[State, int]]] = field(default_factory=list)
    runs: list[tuple[float, str]] = field(default_factory=list)

    def add(self, entry: Entry) -> None:
        now, event = ledger.moment(entry), entry["event"]
        if event == "run":
            self.runs.append((now, ledger.owner(entry)))
        elif event == "progress":
            self.progress.append((now, _totals(entry.get("totals"))))
        elif isinstance(entry.get("device"), str):
            said = _words(entry)
            if said:
                self.events.setdefault(entry["device"], []).append((now, said))


def build(plan: Plan, entries: Iterable[Entry], now: float | None = None) -> Story:
    """The story of a plan's rollout. entries: of its journal (`ledger.read`). now: None for the time of the newest entry."""
    collected, known = _Collector(), ledger.fold(plan, ())
    for entry in entries:
        collected.add(entry)
        known.add(entry)
    moment = known.time if now is None else max(now, known.time)
    decision = decide(plan, known.devices, known.control, moment)
    waves, devices = [], []
    for number, wave in enumerate(plan.waves, 1):
        for target in wave.devices:
            device, standing = known.devices[target.device_id], decision.standings[target.device_id]
            devices.append(
                DeviceStory(
                    target.device_id,
                    target.name,
                    number,
                    standing.state,
                    standing.reason,
                    target.running,
                    plan.image.version_number if standing.state is State.DONE else device.running,
                    device.attempts,
                    tuple(collected.events.get(target.device_id, ())),
                    _took(device, standing),
                )
            )
        opened = known.control.opened[number - 1] if number <= len(known.control.opened) else None
        counts = decision.waves[number - 1]
        ended = _ended(opened, counts, (decision.standings[target.device_id].since for target in wave.devices))
        waves.append(WaveStory(number, wave.name, wave.rules, len(wave.devices), opened, ended, counts))
    return Story(
        plan.image,
        plan.partner_id,
        plan.device_type_id,
        plan.account_id,
        plan.digest,
        decision.verdict,
        known.control.aborted or decision.control.aborted,
        collected.runs[0][0] if collected.runs else None,
        moment,
        tuple(waves),
        tuple(devices),
        decision.totals,
        decision.reasons,
        plan.left_out,
        tuple(collected.progress),
        tuple(collected.runs),
    )


def _took(device: Device, standing: Standing) -> float | None:
    if device.pushed is None or standing.since is None or standing.state not in REPORTED:
        return None
    return standing.since - device.pushed


def _ended(opened: float | None, counts: Mapping[State, int], times: Iterable[float | None]) -> float | None:
    unfinished = counts.get(State.WAITING, 0) + sum(counts.get(state, 0) for state in (*IN_FLIGHT, *HELD_UP))
    return None if opened is None or unfinished else max([opened, *(one for one in times if one is not None)])


def _totals(data: Any) -> Mapping[State, int]:
    words = {state.value: state for state in State}
    pairs = data.items() if isinstance(data, Mapping) else ()
    return Counter({words[word]: int(number) for word, number in pairs if word in words and isinstance(number, int)})


def _words(entry: Entry) -> str:
    """What an entry says of its device, in words; empty when it is not worth telling."""
    event, values = entry["event"], entry.get("set") or {}
    if event == "push":
        return f"pushed (attempt {values.get('attempts')})"
    if event == "accepted":
        return "the cloud accepted the push"
    if event in ("unanswered", "withdrawn"):
        return f"{'push without an answer' if event == 'unanswered' else 'push withdrawn'}: {entry.get('why')}"
    if event == "retry":
        return "to be pushed again"
    return _state(str(entry.get("state")), values)


def _state(state: str, values: Mapping[str, Any]) -> str:
    if values.get("failed") is not None:
        return str(values.get("reason"))
    if values.get("done") is not None:
        return "runs the new version"
    if values.get("trial"):
        return f"runs the new version on trial ({outcome.NOT_CONFIRMED} yet)"
    if values.get("started") is not None:
        return "began to update"
    return state
