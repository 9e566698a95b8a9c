# SPDX-License-Identifier: MIT
"""Stories of rollouts as the page of a rollout gets them: seeded, of any size."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from afero_ota.plan import Image, Rules
from afero_ota.rollout.decision import State, Verdict
from afero_ota.rollout.story import DeviceStory, Story, WaveStory

T0 = 1_800_000_000.0  # 2027-01-15T08:00:00Z
REASONS = (
    "refused: does not fit",
    "rolled back: health hubby",
    "failed: status 21",
    "refused: other hardware",
)
_SHARES = ((State.DONE, 90), (State.FAILED, 4), (State.SILENT, 2), (State.UNREACHABLE, 3), (State.NEWER, 1))
_VERSION = 7112


def finished(size: int, seed: int = 1, waves: Sequence[str] = ("canaries", "tenth", "rest")) -> Story:
    """A rollout that has ended, in which some devices failed."""
    rng, devices = random.Random(seed), list[DeviceStory]()
    ends = [max(1, size // 100), max(2, size // 10), size]
    states, shares = [state for state, _ in _SHARES], [share for _, share in _SHARES]
    for number in range(size):
        wave = next(place for place, end in enumerate(ends, 1) if number < end)
        devices.append(_device(rng, number, wave, rng.choices(states, shares)[0]))
    whole = Counter(one.state for one in devices)
    return Story(
        Image("49867", "Gateway", "1.0.2", _VERSION, "ab" * 32, 48_123_904),
        "partner-0001",
        "type-0001",
        "account-0001",
        "sha256:" + "cd" * 32,
        Verdict.FINISHED,
        "",
        T0,
        T0 + 7200,
        tuple(_wave(name, number, devices) for number, name in enumerate(waves, 1)),
        tuple(devices),
        whole,
        Counter(one.reason for one in devices if one.state in (State.FAILED, State.SILENT)),
        {"runs the image already": 12},
        tuple(_progress(devices, size)),
        ((T0, "process 4711 on builder, since 2027-01-15T08:00:00.000Z"),),
    )


def at(story: Story, verdict: Verdict, reason: str = "") -> Story:
    """The same rollout with another end."""
    return replace(story, verdict=verdict, reason=reason)


def named(text: str, size: int = 12) -> Story:
    """A rollout all of whose texts from elsewhere are this one."""
    found = finished(size, waves=(text,) * 3)
    return replace(
        found,
        image=Image(text, text, text, 7112, text),
        partner_id=text,
        device_type_id=text,
        account_id=text,
        digest=text,
        verdict=Verdict.ABORTED,
        reason=text,
        devices=tuple(
            replace(
                one,
                device_id=text,
                name=text,
                reason=text,
                state=State.FAILED,
                events=((T0, text),),
            )
            for one in found.devices
        ),
        reasons={text: size},
        left_out={text: 1},
        runs=((T0, text),),
        waves=tuple(replace(one, rules=replace(one.rules, abort_on=(text,))) for one in found.waves),
    )


def _device(rng: random.Random, number: int, wave: int, state: State) -> DeviceStory:
    pushed = T0 + 60 + (wave - 1) * 2000 + rng.uniform(0, 2500)
    took = rng.uniform(90, 900)
    reason = {
        State.FAILED: rng.choice(REASONS),
        State.SILENT: "silent: did not end the update in time",
        State.UNREACHABLE: "is offline",
        State.NEWER: "runs 7113",
    }.get(state, "")
    events = [
        (pushed, "pushed (attempt 1)"),
        (pushed + 1, "the cloud accepted the push"),
        (pushed + 9, "began to update"),
    ]
    events.append((pushed + took, reason or "runs the new version"))
    untouched = state in (State.UNREACHABLE, State.NEWER)
    before = rng.choice([7001, 7001, 7001, 7050, 7111, None])
    running = _VERSION if state is State.DONE else 7113 if state is State.NEWER else before
    return DeviceStory(
        f"{rng.getrandbits(64):016x}",
        f"Gateway {number:05}",
        wave,
        state,
        reason,
        before,
        running,
        0 if untouched else 1,
        () if untouched else tuple(events),
        None if untouched else took,
    )


def _wave(name: str, number: int, devices: Sequence[DeviceStory]) -> WaveStory:
    own = [one for one in devices if one.wave == number]
    end = max((when for one in own for when, _ in one.events), default=T0)
    opened = T0 + (number - 1) * 2000
    rules = Rules(in_flight=50, soak=600.0, abort_on=("refused: other hardware",))
    return WaveStory(number, name, rules, len(own), opened, max(end, opened), Counter(one.state for one in own))


def _progress(devices: Sequence[DeviceStory], size: int) -> list[tuple[float, Counter[State]]]:
    changes = []
    for one in devices:
        if not one.events:
            changes.append((T0 + 5000, State.WAITING, one.state))
            continue
        times = [when for when, _ in one.events]
        changes += [
            (times[0], State.WAITING, State.PUSHED),
            (times[2], State.PUSHED, State.UPDATING),
            (times[3], State.UPDATING, one.state),
        ]
    counts, points = Counter({State.WAITING: size}), [(T0, Counter({State.WAITING: size}))]
    for when, before, after in sorted(changes, key=lambda one: one[0]):
        counts[before] -= 1
        counts[after] += 1
        if when - points[-1][0] >= 10:
            points.append((when, counts.copy()))
    return points
