# SPDX-License-Identifier: MIT
"""The journal of a rollout: what it holds, what a crash may do to it, and whose it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from afero_ota import errors
from afero_ota.plan import Image, Plan, Rules, Target, Wave
from afero_ota.rollout import ledger, story
from afero_ota.rollout.decision import State, Verdict
from afero_ota.rollout.ledger import Ledger

T0 = 1_800_000_000.0


def plan(*devices: str, version: int = 7112) -> Plan:
    wave = Wave("all", tuple(Target(one, f"Name of {one}", 7001) for one in devices or ("a", "b")))
    return Plan("partner", "type", "account", Image("49867", "Gateway", "1.0.2", version), (wave,), Rules())


def write(path: Path) -> None:
    """A rollout that pushed two devices, one of which failed."""
    with Ledger(str(path), plan(), T0) as one:
        one.note("control", T0, opened=[T0], paused=False, aborted="")
        one.note("push", T0 + 1, device="a", set={"pushed": T0 + 1, "before": "00", "attempts": 1})
        one.note("accepted", T0 + 1, device="a")
        one.note("push", T0 + 2, device="b", set={"pushed": T0 + 2, "before": "", "attempts": 1})
        one.note(
            "device",
            T0 + 9,
            device="a",
            state="failed",
            set={"failed": T0 + 9, "reason": "failed: x", "brief": "failed 21"},
        )
        one.note("progress", T0 + 9, verdict="running", totals={"failed": 1, "pushed": 1})
        one.sync()


def test_a_later_run_knows_what_the_earlier_one_knew(tmp_path: Path) -> None:
    path = tmp_path / "plan.yml.journal.jsonl"
    write(path)
    with Ledger(str(path), plan(), T0 + 20) as later:
        known = later.known
    assert known.control.opened == (T0,) and known.in_doubt == {"b"} and known.time == T0 + 9
    assert known.devices["a"].failed == T0 + 9 and known.devices["a"].brief == "failed 21"
    assert known.devices["b"].pushed == T0 + 2 and known.devices["b"].attempts == 1


@pytest.mark.parametrize("cut", range(1, 120, 7))
def test_a_cut_last_line_loses_only_itself(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "j"
    write(path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines)[:-cut])
    whole = sum(len(line) for line in lines) - cut
    kept = [json.loads(line) for line in lines if (whole := whole - len(line)) >= -1]
    with Ledger(str(path), plan(), T0 + 20) as later:
        later.note("end", T0 + 21, verdict="running")
    found = list(ledger.read(str(path)))
    assert [entry for entry in found if entry["event"] not in ("run", "end")] == kept[1:]
    assert [entry["event"] for entry in found][-2:] == ["run", "end"]


def test_a_journal_whose_first_line_was_cut_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "j"
    write(path)
    path.write_bytes(path.read_bytes()[:40])
    with Ledger(str(path), plan(), T0):
        assert [entry["event"] for entry in ledger.read(str(path))] == ["run"]


def test_another_plan_and_another_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "j"
    write(path)
    with pytest.raises(errors.RefusedError, match="belongs to another plan"), Ledger(str(path), plan("c"), T0):
        pass
    path.write_text('{"step": "push", "outcome": "done"}\n')
    before = path.read_bytes()
    with pytest.raises(errors.RefusedError, match="is no journal of a rollout"), Ledger(str(path), plan(), T0):
        pass
    assert path.read_bytes() == before


def test_a_second_client_is_refused_and_told_who_has_the_plan(tmp_path: Path) -> None:
    path = tmp_path / "j"
    said = rf"process {os.getpid()} on .*, since 2027-01-15T08:00:00"
    with Ledger(str(path), plan(), T0), pytest.raises(errors.AbortedError, match=said):
        Ledger(str(path), plan(), T0).__enter__()
    with Ledger(str(path), plan(), T0 + 1) as later:
        assert later.known.run["process"] == os.getpid()


FULL = """
import resource, signal, sys
from afero_ota import errors
sys.path.insert(0, sys.argv[2])
import test_rollout_ledger as own
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with own.Ledger(sys.argv[1], own.plan(), own.T0) as one:
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
    for number in range(100):
        try:
            one.note("accepted", own.T0, device="a", number=number)
            one.sync()
        except errors.OtaError as error:
            print(number)
            sys.exit(str(error))
"""


def test_a_full_disk_leaves_whole_lines_and_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "j"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", FULL, str(path), str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 1 and "Make room and run the same command again" in done.stderr, done.stderr
    assert path.read_bytes().endswith(b"\n") and path.stat().st_size <= 2000
    assert [entry["number"] for entry in ledger.read(str(path)) if entry["event"] == "accepted"] == list(
        range(int(done.stdout))
    )


def test_the_story_tells_of_every_device(tmp_path: Path) -> None:
    path = tmp_path / "j"
    write(path)
    found = story.build(plan(), ledger.read(str(path)))
    assert [(one.device_id, one.state, one.reason, one.before) for one in found.devices] == [
        ("a", State.FAILED, "failed: x", 7001),
        ("b", State.PUSHED, "", 7001),
    ]
    assert [text for _, text in found.devices[0].events] == [
        "pushed (attempt 1)",
        "the cloud accepted the push",
        "failed: x",
    ]
    assert found.verdict is Verdict.RUNNING and found.reasons == {"failed: x": 1} and found.updated == T0 + 9
    assert found.progress == ((T0 + 9, {State.FAILED: 1, State.PUSHED: 1}),)
    assert found.waves[0].opened == T0 and found.waves[0].ended is None and found.waves[0].counts[State.FAILED] == 1


def test_a_story_can_be_told_before_anything_happened() -> None:
    found = story.build(plan(), [])
    assert found.began is None and found.totals == {State.WAITING: 2} and found.verdict is Verdict.RUNNING
