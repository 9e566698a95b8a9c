# SPDX-License-Identifier: MIT
"""Power cuts at seeded points of an update, in U-Boot, in the new system's first boot and in its confirmation.

Afterwards the device runs one complete system, and wherever the point of the cut decides between old and new, the right one.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from bench import BENCHES, Bench
from reference_update import STEPS, Rehearsal

NAMES = [name for name, _ in STEPS]
PATTERNS = dict(STEPS)
UPDATE = NAMES[: NAMES.index("U-Boot")]
U_BOOT = ["U-Boot", "choosing", "loading"]
# half of the cuts are in the update; six have one at each of the other places, too
PLACES = (UPDATE, ["confirming"], UPDATE, U_BOOT, UPDATE, ["kernel"])
TRIES = 3
REPEAT_EVERY = 4  # one in so many interrupted updates is repeated


@dataclass(frozen=True)
class Cut:
    """Where the power is cut: steps and shares of their durations. Several cuts in a row while the new system starts."""

    number: int
    points: tuple[tuple[str, float], ...]

    def __str__(self) -> str:
        return ", ".join(f"{name} {share:.0%}" for name, share in self.points)


def plan(seed: int, count: int) -> list[Cut]:
    """The cuts for a seed; a longer plan begins with the shorter one."""
    random_ = random.Random(seed)
    cuts = []
    for number in range(count):
        steps = PLACES[number % len(PLACES)]
        times = 1 if steps is UPDATE else random_.choice((1, 1, 2, 3))
        cuts.append(Cut(number, tuple((random_.choice(steps), random_.random()) for _ in range(times))))
    return cuts


@pytest.fixture(scope="module")
def lanes(bench: Bench, rehearsal: Rehearsal, seed: int, cuts: int) -> Iterator[list[Future[str]]]:
    """The cuts, made in parallel: one emulated device for each processor."""
    pool = ThreadPoolExecutor(max(1, min(8, os.cpu_count() or 1)))
    try:
        yield [pool.submit(make_cut, bench, rehearsal, cut) for cut in plan(seed, cuts)]
    finally:
        pool.shutdown(cancel_futures=True)


@pytest.mark.normally(*BENCHES)
def test_a_cut_leaves_one_complete_system(
    bench: Bench, lanes: list[Future[str]], cut_number: int, seed: int, figures: list[str]
) -> None:
    name = f"{bench.name}, seed {seed} cut {cut_number:4}"
    try:
        line = lanes[cut_number].result()
    except BaseException as error:
        figures.append(f"{name}  FAILED: {str(error).splitlines()[0]}")
        raise
    figures.append(f"{name}  {line}")


def expected(output: str, pending: bool) -> str:
    """The slot that must start, judged by the console's output before the cut; "" when either may."""
    if not pending and not re.search(PATTERNS["switching"], output):
        return "A"
    if pending or re.search(PATTERNS["restarting"], output):
        # U-Boot may have counted a try that it has not printed
        tries = len(re.findall(PATTERNS["choosing"], output.rpartition("sysupgrade:")[2]))
        return "B" if tries < TRIES else ""
    return ""


def make_cut(bench: Bench, rehearsal: Rehearsal, cut: Cut) -> str:
    """Make the cut and check the device. Returns a line for the table."""
    old, new = bench.release(1), bench.release(2)
    in_update = cut.points[0][0] in UPDATE
    device = bench.device(f"cut-{cut.number}", start=None if in_update else rehearsal.pending)
    before_the_cuts = ""
    with device:
        for number, (name, share) in enumerate(cut.points):
            if number:
                device.power_on()
            if in_update:
                assert device.wait_until_up() == "A"
                device.deliver(new.image, new.header)
                device.start_sysupgrade()
            device.expect(PATTERNS[name])
            device.run_for(share * rehearsal.seconds[name])
            device.cut()
            before_the_cuts += device.output
        device.power_on()
        slot = device.wait_until_up()
        must_be = expected(before_the_cuts, pending=not in_update)
        assert not must_be or slot == must_be, f"{cut}: slot {slot} started, not {must_be}"
        device.check(slot, old if slot == "A" else new, factory=slot == "A")
        assert device.reported_version() == (old if slot == "A" else new).version_number
        line = f"{str(cut):40} -> slot {slot}, complete"
        if slot == "A" and cut.number % REPEAT_EVERY == 0:
            status, output = device.update(new)
            assert status is None and device.wait_until_up() == "B", f"{cut}: the update cannot be repeated: {output}"
            device.check("B", new)
            line += "; repeated -> slot B, complete"
    device.scrap()
    return line
