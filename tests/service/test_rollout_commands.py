# SPDX-License-Identifier: MIT
"""The commands of a rollout as a person types them: bad input, messages, exit statuses, what a terminal shows."""

from __future__ import annotations

import functools
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from afero_ota import cli, rollout
from afero_ota.rollout.ledger import Ledger
from fleets import Fleet, fleet

Said = tuple[int, str, str]  # exit status, standard output, standard error
QUICK = ("--poll", "0.2", "--rate", "500")
LIMITS = ("--start-limit", "5", "--finish-limit", "12", "--offline-limit", "3")


@pytest.fixture
def one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    with fleet(tmp_path, 12, running={"7001": 0.8, "9000000": 0.2}, other_type=0.2) as found:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("AFERO_OTA_CONF", str(found.service.conf))
        yield found


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> Said:
    capsys.readouterr()
    status = cli.main(arguments)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_plan_deploy_status_and_again(one: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = said(capsys, "plan", "--canary", "2", *LIMITS)
    assert status == 0 and "the newest of the device type" in err
    assert "runs a newer version" in out and "is of another device type" in out and "plan.yml is written" in out
    before = sorted(os.listdir())
    status, out, _ = said(capsys, "deploy", "--plan", "plan.yml", "--dry-run")
    assert (
        status == 0 and "nothing was pushed or written" in out and sorted(os.listdir()) == before and not one.pushes()
    )
    assert said(capsys, "deploy", "--plan", "plan.yml", *QUICK)[0] == 0
    pushed = one.pushes()
    assert pushed and set(pushed.values()) == {1}
    told = json.loads(said(capsys, "status", "plan.yml", "--json")[1])
    assert told["verdict"] == "finished" and told["totals"] == {"done": len(pushed)} and told["client"] == ""
    status, out, _ = said(capsys, "deploy", "--plan", "plan.yml", "--json", *QUICK)
    lines = [json.loads(line) for line in out.splitlines()]
    assert status == 0 and lines[-1]["event"] == "result" and lines[-1]["status"] == 0 and one.pushes() == pushed
    status, _, err = said(capsys, "plan", "-o", "new.yml")
    assert status == 4 and "no device is left to update" in err and not Path("new.yml").exists()


def test_unknown_foreign_and_repeated_ids(one: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    listed = one.client().devices(one.service.account_id)
    foreign = next(row["deviceId"] for row in listed if row["deviceTypeId"] != one.service.device_type_id)
    ours = one.plan().waves[0].devices[0].device_id
    one.path.unlink()
    status, _, err = said(capsys, "plan", "-d", "no-such", foreign, ours)
    assert status == 2 and "no-such: account" in err and "is of device type another-device-type" in err
    assert not one.path.exists()
    status, out, _ = said(capsys, "plan", "-d", ours, ours)
    assert status == 0 and "1 (named twice)" in out and "1 devices to" in out


@pytest.mark.parametrize(
    ("old", "new", "status", "why"),
    [
        ("inFlight: 10", "inFlight: 1000", 2, "something was changed after it was made"),
        ("partnerId: 4", "partnerId: 5", 2, "the configuration's is"),
        ("devices:\n", "devices:\n  - {id: x}\n", 2, "digest"),
    ],
)
def test_a_plan_edited_by_hand_pushes_nothing(
    one: Fleet, capsys: pytest.CaptureFixture[str], old: str, new: str, status: int, why: str
) -> None:
    said(capsys, "plan")
    one.path.write_text(one.path.read_text().replace(old, new, 1))
    found, _, err = said(capsys, "deploy", "--plan", "plan.yml")
    assert found == status and why in err and not one.pushes()
    assert said(capsys, "pause", "plan.yml")[0] == 2


def test_a_version_that_is_no_number_is_refused(one: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    rule = {"match": "GET DT/firmwareImages/types/5", "do": "fields", "drop": ["versionNumber"]}
    one.service.sim.set_faults({"rules": [rule]})
    status, _, err = said(capsys, "plan")
    assert status == 4 and "versionNumber is ''" in err and not one.path.exists()


def test_a_second_client_is_refused_by_name(one: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    plan = one.plan()
    with Ledger(one.journal, plan, 1_800_000_000.0):
        status, _, err = said(capsys, "deploy", "--plan", "plan.yml", *QUICK)
        assert status == 7 and f"process {os.getpid()} on " in err and not one.pushes()
        told = json.loads(said(capsys, "status", "plan.yml", "--json")[1])
        assert f"process {os.getpid()} on " in told["client"]
        assert "obeys within seconds" in said(capsys, "pause", "plan.yml")[1]


def test_pause_resume_and_abort_before_anybody_runs(one: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "plan", *LIMITS)
    assert "no client is at work" in said(capsys, "pause", "plan.yml")[1]
    assert "paused by" in said(capsys, "status", "plan.yml")[1]
    assert said(capsys, "resume", "plan.yml")[0] == 0
    assert said(capsys, "abort", "plan.yml", "--reason", "a typo\x1b[2J")[0] == 0
    status, out, _ = said(capsys, "deploy", "--plan", "plan.yml", *QUICK)
    assert status == 9 and "aborted: a typo\\x1b[2J" in out and not one.pushes()
    assert said(capsys, "resume", "plan.yml")[0] == 2


def test_a_plan_takes_none_of_the_options_of_single_pushes(one: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "plan")
    assert "leave out -i and --again" in said(capsys, "deploy", "--plan", "plan.yml", "--again")[2]
    assert "goes with --plan only" in said(capsys, "deploy", "-d", "x", "--retry-failed")[2]
    status, _, err = said(capsys, "plan", "-o", str(one.service.conf))
    assert status == 2 and "is no plan" in err and one.service.conf.read_text().startswith("{")


def test_deploy_without_an_image_takes_that_of_the_payload_or_the_newest(
    one: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    device, older = one.plan().waves[0].devices[0].device_id, one.image
    newer = one.api.image(b"newer")
    record = {"versionNumber": older["versionNumber"]}
    Path("hub_update.bin.manifest.json").write_text(json.dumps({"format": 1, "sha256": "0" * 64, "record": record}))
    status, _, err = said(capsys, "deploy", "-d", device)
    assert status == 0 and f"image {older['id']} " in err and "from the manifest of hub_update.bin" in err
    Path("hub_update.bin.manifest.json").unlink()
    _, _, err = said(capsys, "deploy", "-d", device)
    assert f"image {newer['id']} " in err and "the newest of the device type" in err


def test_a_push_without_an_answer_ends_deploy_with_the_table_of_all_devices(
    one: Fleet, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollout, "push", functools.partial(rollout.push, settle=0.3))
    devices = [device.device_id for device in one.plan().waves[0].devices[:4]]
    fault = {"match": "PUT DT/firmwareImages/{id}/push", "when": {"nth": 3}, "do": "reset", "at": "before"}
    one.service.sim.set_faults({"rules": [fault]})
    status, out, err = said(capsys, "deploy", "-i", one.image["id"], "-d", "nobody", *devices)
    assert (status, one.pushes()) == (8, dict.fromkeys(devices[:2], 1))
    results = ["failed", "pushed", "pushed", "unknown", "not pushed yet"]
    for line, device, result in zip(out.splitlines()[1:], ["nobody", *devices], results):
        assert line.split()[0] == device and f"  {result}" in line
    assert "never answered" in out and "Traceback" not in err
    one.service.sim.set_faults({})
    # the same again watches that device and sends it nothing; with --again it does
    assert said(capsys, "deploy", "-i", one.image["id"], "-d", *devices[1:])[0] == 8
    assert said(capsys, "deploy", "-i", one.image["id"], "--again", "-d", *devices[2:])[0] == 0
    assert one.pushes() == dict.fromkeys(devices, 1)


def test_a_terminal_shows_a_live_table_without_anybody_s_control_sequences(tmp_path: Path) -> None:
    profile: dict[str, Any] = {"sites": ["\x1b]0;owned\x07"], "failed": {"21 \x1b[31mred": 1.0}}
    with fleet(tmp_path, 4, **profile) as one:
        one.plan()
        code = "import sys\nfrom afero_ota import cli\nsys.exit(cli.main(sys.argv[1:]))"
        command = [sys.executable, "-c", code, "deploy", "--plan", str(one.path), "-c", str(one.service.conf), *QUICK]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "TERM": "xterm",
            "COLUMNS": "140",
        }
        above, below = pty.openpty()
        with subprocess.Popen(command, stdout=below, stderr=below, env=environment) as process:
            os.close(below)
            shown = b""
            while True:
                try:
                    block = os.read(above, 65536)
                except OSError:
                    break  # the terminal's other end is closed
                if not block:
                    break
                shown += block
        os.close(above)
        text = shown.decode(errors="replace")
        assert process.returncode == 10 and "held up" in text and "failed: " in text
        assert "\x07" not in text and "\x1b]0;" not in text and "\x1b[31m" not in text
        assert re.search(r"\\x1b\]0;owned", text), "the name is shown as text"
