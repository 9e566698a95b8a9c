# SPDX-License-Identifier: MIT
"""The simulated device: an update is downloaded whole, verified, and reported as installed only when sysupgrade succeeded."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from afero_ota import outcome
from api import Api
from rehearsal import hub as hubs
from rehearsal.service import RunningService

CONTENT = os.urandom(1_500_003)
COPY = '#!/bin/sh\nset -e\nmkdir -p "$SIMHUB_NEW_ROOT/etc"\ncp "$1" "$SIMHUB_NEW_ROOT/image"\n'


@pytest.fixture
def service() -> Iterator[RunningService]:
    with RunningService() as running:
        yield running


@pytest.fixture
def api(service: RunningService) -> Api:
    return Api(service)


class Bench:
    """A simulated device: two roots, a prefix, and a replaceable sysupgrade program."""

    def __init__(self, service: RunningService, folder: Path):
        self.service, self.folder = service, folder
        self.root, self.new_root, self.prefix = folder / "a", folder / "b", folder / "tmp" / "ota_type_5"
        (self.root / "etc").mkdir(parents=True)
        self.program = folder / "sysupgrade"
        self.write_program(COPY)
        self.said: list[str] = []

    def write_program(self, text: str) -> None:
        self.program.write_text(text)
        self.program.chmod(0o755)

    def hub(self) -> hubs.Hub:
        hub = hubs.Hub(
            self.service.url,
            "hub-1",
            self.root,
            self.prefix,
            [str(self.program)],
            self.new_root,
            pause=0.01,
            log=self.said.append,
        )
        hub.register()
        return hub

    def part(self, suffix: str) -> Path:
        return self.prefix.with_name(self.prefix.name + suffix)


@pytest.fixture
def bench(service: RunningService, tmp_path: Path) -> Bench:
    return Bench(service, tmp_path)


def push(api: Api, content: bytes = CONTENT) -> str:
    """Publish the content and push it to hub-1. Returns its versionNumber."""
    image = api.image(content)
    assert api.push(image, "hub-1").status_code == 202
    return str(image["versionNumber"])


def pending(hub: hubs.Hub) -> dict[str, Any]:
    """The update that the service has for the hub."""
    update = hub.pending()
    assert update
    return update


def test_without_an_update_nothing_happens(bench: Bench) -> None:
    assert bench.hub().poll() is False
    assert not bench.part(".img").exists()


def test_the_update_is_stored_byte_for_byte_under_the_prefix(bench: Bench, api: Api) -> None:
    hub = bench.hub()
    push(api)
    assert hub.poll() is True
    assert bench.part(".img").read_bytes() == CONTENT
    header = bench.part(".hdr").read_bytes()
    assert len(header) == 216 and header[0] == 5
    assert (bench.new_root / "image").read_bytes() == CONTENT
    assert not bench.part(".part").exists()


def test_after_success_the_header_is_in_the_new_root_and_the_version_is_reported(bench: Bench, api: Api) -> None:
    hub = bench.hub()
    number = push(api)
    hub.poll()
    assert (bench.new_root / "etc" / "ota_type_5.hdr").read_bytes() == bench.part(".hdr").read_bytes()
    assert not (bench.root / "etc" / "ota_type_5.hdr").exists()
    assert str(hub.running_version()) == bench.service.sim.device("hub-1")["versionNumber"] == number
    assert hub.poll() is False


def test_after_a_failed_sysupgrade_the_device_reports_the_old_version(bench: Bench, api: Api) -> None:
    hub = bench.hub()
    first = push(api)
    hub.poll()
    before = {path: path.read_bytes() for path in bench.folder.rglob("etc/*")}
    bench.write_program("#!/bin/sh\necho no room >&2\nexit 4\n")
    push(api, b"second")
    assert hub.poll() is False
    assert {path: path.read_bytes() for path in bench.folder.rglob("etc/*")} == before
    assert bench.service.sim.device("hub-1")["versionNumber"] == first
    last = bench.service.sim.pushes()[-1]
    assert last["state"] == "failed" and "status 4" in last["detail"] and "no room" in last["detail"]


def reported_outcome(api: Api) -> outcome.Outcome | None:
    devices = api.call("GET", f"/v1/accounts/{api.service.account_id}/devices?expansions=attributes").json()
    return outcome.of_device(devices[0])


@pytest.mark.parametrize(
    ("program", "behaviour", "reason"),
    [
        (COPY, "normal", "ok"),
        ("#!/bin/sh\necho does not fit >&2\nexit 7\n", "normal", "refused: does not fit"),
        ("#!/bin/sh\necho contents >&2\necho differ >&2\nexit 21\n", "normal", "failed: contents differ"),
        (COPY, "rollback", "rolled back: health simulated"),
        (COPY, "fail", "failed: the installation fails, as the device was told to"),
    ],
)
def test_the_outcome_of_an_update_is_reported_as_attribute_65019(
    bench: Bench, api: Api, program: str, behaviour: str, reason: str
) -> None:
    hub = bench.hub()
    bench.service.sim.change("hub-1", behaviour=behaviour)
    bench.write_program(program)
    number = push(api)
    hub.poll()
    found = reported_outcome(api)
    assert found and (found.version_number, found.reason) == (int(number), reason)
    assert len(found.text.encode()) <= outcome.LINE_LIMIT


def test_an_interrupted_download_resumes_where_it_stopped(bench: Bench, api: Api) -> None:
    hub = bench.hub()
    push(api)
    rules = [
        {"match": "GET /sim/devices/*/images/*", "do": "cut_answer", "byte": 600_000, "when": {"nth": 1}},
        {
            "match": "GET /sim/devices/*/images/*",
            "do": "cut_answer",
            "byte": 300_000,
            "how": "reset",
            "when": {"nth": 2},
        },
    ]
    bench.service.sim.set_faults({"rules": rules})
    assert hub.poll() is True
    assert bench.part(".img").read_bytes() == CONTENT
    resumed = [line for line in bench.said if "resumes at byte" in line]
    first, second = (int(line.rpartition(" ")[2]) for line in resumed)
    # at most one block is lost
    assert 600_000 - hubs._BLOCK <= first <= 600_000 and first <= second <= 900_000


def test_a_device_that_was_switched_off_resumes_its_download(bench: Bench, api: Api) -> None:
    hub = bench.hub()
    hub.attempts = 1
    push(api)
    rule = {"match": "GET /sim/devices/*/images/*", "do": "cut_answer", "byte": 500_000, "when": {"nth": 1}}
    bench.service.sim.set_faults({"rules": [rule]})
    with pytest.raises(hubs.UpdateError, match="download failed"):
        hub.fetch(pending(hub))
    kept = bench.part(".part").stat().st_size
    assert 500_000 - hubs._BLOCK <= kept <= 500_000
    assert bench.hub().poll() is True
    assert any(f"resumes at byte {kept}" in line for line in bench.said)
    assert bench.part(".img").read_bytes() == CONTENT


def test_a_partial_download_of_another_image_is_not_used(bench: Bench, api: Api) -> None:
    hub = bench.hub()
    push(api)
    bench.prefix.parent.mkdir(parents=True)
    bench.part(".part").write_bytes(b"x" * 1000)
    bench.part(".part.etag").write_text('"something else"')
    assert hub.poll() is True
    assert bench.part(".img").read_bytes() == CONTENT


@pytest.mark.parametrize(("position", "said"), [(3, "signature"), (100_000, "not the one that the header describes")])
def test_a_changed_byte_is_detected_and_nothing_is_installed(bench: Bench, api: Api, position: int, said: str) -> None:
    hub = bench.hub()
    push(api)
    bench.prefix.parent.mkdir(parents=True)
    update = pending(hub)
    whole = bytearray(hub.session.get(update["url"]).content)
    whole[position] ^= 1
    bench.part(".part").write_bytes(whole)
    bench.part(".part.etag").write_text(hub.session.get(update["url"]).headers["ETag"])
    with pytest.raises(hubs.UpdateError, match=said):
        hub.fetch(update)
    assert not bench.part(".img").exists() and not bench.part(".part").exists()


def test_a_header_of_another_service_is_not_trusted(bench: Bench, api: Api, tmp_path: Path) -> None:
    hub = bench.hub()
    push(api)
    with RunningService() as other:
        stranger = hubs.Hub(other.url, "hub-1", bench.root, bench.prefix, [])
    hub.key = stranger.key
    assert hub.poll() is False
    assert "signature" in bench.service.sim.pushes()[-1]["detail"]


def test_the_version_of_a_fresh_system_comes_from_its_record(bench: Bench) -> None:
    (bench.root / "etc" / "full_ota_record.json").write_text('{"type": 5, "versionNumber": "4711"}')
    bench.hub()
    assert bench.service.sim.device("hub-1")["versionNumber"] == "4711"


def test_a_device_without_record_and_header_runs_version_0(bench: Bench) -> None:
    assert bench.hub().running_version() == 0


def test_behaviour_fail_fails_without_running_sysupgrade(bench: Bench, api: Api) -> None:
    hub = bench.hub()
    push(api)
    bench.service.sim.change("hub-1", behaviour="fail")
    assert hub.poll() is False
    assert not (bench.new_root / "image").exists()
    assert bench.service.sim.pushes()[-1]["state"] == "failed"


def test_behaviour_rollback_ends_with_the_old_version(bench: Bench, api: Api) -> None:
    hub = bench.hub()
    push(api)
    bench.service.sim.change("hub-1", behaviour="rollback")
    assert hub.poll() is False
    assert bench.service.sim.pushes()[-1]["state"] == "rolledBack"
    assert bench.service.sim.device("hub-1")["versionNumber"] == "0"


def test_behaviour_loop_is_offered_the_same_image_again(bench: Bench, api: Api) -> None:
    hub = bench.hub()
    number = push(api)
    bench.service.sim.change("hub-1", behaviour="loop")
    for _ in range(2):
        assert hub.poll() is False
        assert pending(hub)["versionNumber"] == number


def test_behaviour_offline_gets_nothing(bench: Bench, api: Api) -> None:
    hub = bench.hub()
    push(api)
    bench.service.sim.change("hub-1", behaviour="offline")
    assert hub.poll() is False and hub.pending() is None


def test_the_command_line_installs_one_update(bench: Bench, api: Api) -> None:
    bench.service.sim.register("hub-1")
    number = push(api)
    command = [sys.executable, hubs.__file__, "--service", bench.service.url, "--device-id", "hub-1", "--once"]
    command += ["--root", str(bench.root), "--prefix", str(bench.prefix), "--sysupgrade", str(bench.program)]
    first = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert first.returncode == 0, first.stderr
    assert f"runs versionNumber {number}" in first.stdout
    assert (bench.root / "image").read_bytes() == CONTENT
    assert subprocess.run(command, capture_output=True, text=True, timeout=60).returncode == 3


def test_without_a_service_the_command_line_says_so(bench: Bench) -> None:
    command = [sys.executable, hubs.__file__, "--service", "http://127.0.0.1:1", "--device-id", "x", "--once"]
    command += ["--root", "/", "--prefix", "/nowhere/ota_type_5", "--sysupgrade", "/bin/true"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and done.stderr.startswith("hub: ") and "Traceback" not in done.stderr
