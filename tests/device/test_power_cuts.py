# SPDX-License-Identifier: MIT
"""The power is cut at seeded points of an update, of U-Boot, of the new system's first boot and of its confirmation.

Afterwards the device is one complete system, the old one or the new one, and which of the two is no matter of luck.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from reference_update import STEPS, Rehearsal
from rehearsal.board.bench import CUTS, Bench

NAMES = [name for name, _ in STEPS]
PATTERNS = dict(STEPS)
UPDATE = NAMES[: NAMES.index("U-Boot")]
U_BOOT = ["U-Boot", "choosing", "loading"]
# half of the cuts hit the update; the first of the others are one each
PLACES = (UPDATE, U_BOOT, UPDATE, ["kernel"], UPDATE, ["confirming"])
TRIES = 3
REPEAT_EVERY = 4  # of the interrupted updates, so many are tried again


@dataclass(frozen=True)
class Cut:
    """Where the power goes: at this share of a step's duration; for a start of the new system, several times in a row."""

    number: int
    points: tuple[tuple[str, float], ...]

    def __str__(self) -> str:
        return ", ".join(f"{name} {share:.0%}" for name, share in self.points)


def plan(seed: int, count: int) -> list[Cut]:
    """The same for the same seed; a longer plan starts like a shorter one."""
    random_ = random.Random(seed)
    cuts = []
    for number in range(count):
        steps = PLACES[number % len(PLACES)]
        times = 1 if steps is UPDATE else random_.choice((1, 1, 2, 3))
        cuts.append(Cut(number, tuple((random_.choice(steps), random_.random()) for _ in range(times))))
    return cuts


@pytest.fixture(scope="module")
def lanes(bench: Bench, rehearsal: Rehearsal, seed: int, request: pytest.FixtureRequest) -> Iterator[list[Future[str]]]:
    """The cuts, as many at a time as there are processors; an emulated device uses one."""
    count = request.config.getoption("--cuts", None)
    pool = ThreadPoolExecutor(max(1, min(8, os.cpu_count() or 1)))
    cuts = plan(seed, CUTS if count is None else count)
    try:
        yield [pool.submit(make_cut, bench, rehearsal, cut) for cut in cuts]
    finally:
        pool.shutdown(cancel_futures=True)


def test_a_cut_leaves_one_complete_system(
    lanes: list[Future[str]], cut_number: int, seed: int, figures: list[str]
) -> None:
    try:
        line = lanes[cut_number].result()
    except BaseException as error:
        figures.append(f"seed {seed} cut {cut_number:4}  FAILED: {str(error).splitlines()[0]}")
        raise
    figures.append(f"seed {seed} cut {cut_number:4}  {line}")


def expected(said: str, pending: bool) -> str:
    """The slot that must come up, by what the console had said when the power went; "" when either may."""
    if not pending and not re.search(PATTERNS["switching"], said):
        return "A"
    if pending or re.search(PATTERNS["restarting"], said):
        # a try may be counted before it is told of
        tries = len(re.findall(PATTERNS["choosing"], said.rpartition("sysupgrade:")[2]))
        return "B" if tries < TRIES else ""
    return ""


def make_cut(bench: Bench, rehearsal: Rehearsal, cut: Cut) -> str:
    """Make the cut and check the device; a line for the table."""
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
            device.listen(share * rehearsal.seconds[name])
            device.cut()
            before_the_cuts += device.said
        device.power_on()
        slot = device.wait_until_up()
        must_be = expected(before_the_cuts, pending=not in_update)
        assert not must_be or slot == must_be, f"{cut}: slot {slot} was started, not {must_be}"
        device.check(slot, old if slot == "A" else new, factory=slot == "A")
        assert device.reported_version() == (old if slot == "A" else new).version_number
        line = f"{str(cut):40} -> slot {slot}, complete"
        if slot == "A" and cut.number % REPEAT_EVERY == 0:
            status, said = device.update(new)
            assert status is None and device.wait_until_up() == "B", f"{cut}: the update cannot be repeated: {said}"
            device.check("B", new)
            line += "; repeated -> slot B, complete"
    device.scrap()
    return line
