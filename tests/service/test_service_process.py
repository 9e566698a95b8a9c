# SPDX-License-Identifier: MIT
"""The service as a program: options, output, shutdown, and the data it keeps."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
import yaml

from api import Api
from rehearsal.service import DEFAULTS, SCRIPTS, RunningService


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the service with arguments that it must refuse."""
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    return subprocess.run(
        [sys.executable, "-m", "rehearsal.ota_service", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def listening_addresses(port: int) -> set[str]:
    """Local addresses of this machine's listening sockets on a port, as the kernel writes them."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with open(table) as stream:
            for words in (line.split() for line in stream):
                if words[3] == "0A" and int(words[1].rpartition(":")[2], 16) == port:
                    found.add(words[1].rpartition(":")[0])
    return found


def test_it_listens_on_the_loopback_address_only(shared_service: RunningService) -> None:
    port = urlsplit(shared_service.url).port
    assert port and listening_addresses(port) == {"0100007F"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_shuts_down_cleanly_without_further_output(number: signal.Signals) -> None:
    service = RunningService().start()
    process = service.process
    assert process and process.stdout
    process.send_signal(number)
    said = process.stdout.read()
    assert (process.wait(20), said) == (0, "")
    service.stop()


def test_it_shuts_down_promptly_while_a_call_hangs(tmp_path: Path) -> None:
    rules = {"rules": [{"match": "GET /sim/stats", "do": "stall", "seconds": 600}]}
    service = RunningService(tmp_path, faults=rules).start()
    with pytest.raises(requests.Timeout):
        requests.get(f"{service.url}/sim/stats", timeout=0.3)
    with requests.Session() as session:
        with pytest.raises(requests.Timeout):
            session.get(f"{service.url}/sim/stats", timeout=0.3)
        assert service.stop() == 0


def test_everything_survives_a_restart(tmp_path: Path) -> None:
    with RunningService(tmp_path) as service:
        service.sim.register("hub-1", versionNumber="17")
        api = Api(service)
        image = api.image(b"still there")
        key = requests.get(f"{service.url}/sim/key", timeout=30).content
    with RunningService(tmp_path) as service:
        again = Api(service)
        assert again.call("GET", "DT/firmwareImages").json()["content"] == [image]
        again.session.headers["Authorization"] = api.session.headers["Authorization"]
        assert again.call("GET", "P/pool").json()["totalElements"] == 1
        assert int(again.record()["versionNumber"]) == int(image["versionNumber"]) + 1
        assert service.sim.device("hub-1")["versionNumber"] == "17"
        assert requests.get(f"{service.url}/sim/key", timeout=30).content == key
        again.push(image, "hub-1")
        update = service.sim.update("hub-1")
        assert update and update["size"] == len(b"still there")


def test_a_data_folder_of_an_earlier_version_is_used(tmp_path: Path) -> None:
    with RunningService(tmp_path) as service:
        service.sim.register("hub-1", versionNumber="17")
    with sqlite3.connect(service.data / "service.sqlite") as store:
        store.execute("ALTER TABLE devices DROP COLUMN reason")
        store.execute("ALTER TABLE devices DROP COLUMN reason_time")
    with RunningService(tmp_path) as service:
        assert service.sim.device("hub-1")["versionNumber"] == "17"
        service.sim.report("hub-1", "done", reason="ota 17 ok")


def test_acknowledged_data_survives_a_kill(tmp_path: Path) -> None:
    service = RunningService(tmp_path).start()
    image = Api(service).image(b"killed")
    service.kill()
    with RunningService(tmp_path) as service:
        assert Api(service).call("GET", "DT/firmwareImages").json()["content"] == [image]


def test_the_account_comes_from_the_configuration_file(tmp_path: Path) -> None:
    with RunningService(tmp_path, conf={"username": "me@x.org", "userpw": "päss", "partnerId": "p/1"}) as service:
        me = Api(service).call("GET", "/v1/users/me").json()
    assert me["partnerAccess"][0]["partner"]["partnerId"] == "p/1"


def test_the_configuration_file_may_be_yaml(tmp_path: Path) -> None:
    conf = tmp_path / "conf.yml"
    conf.write_text(yaml.safe_dump({**DEFAULTS, "userpw": "from yaml"}))
    with RunningService(arguments=("--conf", str(conf)), conf={"userpw": "from yaml"}) as service:
        assert service.token()


def test_tokens_expire_after_their_lifetime() -> None:
    with RunningService(arguments=("--token-lifetime", "0.000001")) as service:
        assert Api(service).call("GET", "P/pool").status_code == 401


def test_no_secret_is_written_to_disk(tmp_path: Path) -> None:
    canaries = {
        "username": "canary-user@x.org",
        "userpw": "canary-password",
        "auth-string": "Y2FuYXJ5OmNhbmFyeS1zZWNyZXQ=",
    }
    with RunningService(tmp_path, conf=canaries) as service:
        api = Api(service)
        api.call("GET", "/v1/users/me")
        api.call("GET", "P/pool?access_token=canary-in-query")
        token = api.authorization.partition(" ")[2]
    (tmp_path / "partner-ota-conf.json").unlink()
    written = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    for secret in (*canaries.values(), token, "canary-secret", "canary-in-query"):
        assert secret.encode() not in written


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file"),
        ("{", "conf.json"),
        ("[]", "holds no mapping"),
        (json.dumps({**DEFAULTS, "userpw": "", "partnerId": 5}), "lacks userpw, partnerId"),
    ],
)
def test_an_invalid_configuration_file_gives_one_clear_message(tmp_path: Path, content: str | None, said: str) -> None:
    conf = tmp_path / "conf.json"
    if content is not None:
        conf.write_text(content)
    done = command("--port", "0", "--conf", str(conf))
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_port_in_use_gives_one_clear_message(shared_service: RunningService) -> None:
    port = str(urlsplit(shared_service.url).port)
    done = command("--port", port)
    assert done.returncode == 1 and f"port {port} cannot be used" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_data_folder_that_is_a_file_gives_one_clear_message(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    done = command("--port", "0", "--data", str(tmp_path / "data"))
    assert done.returncode == 1 and "cannot be used" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [["--port", "70000"], ["--port", "x"], ["--token-lifetime", "0"], ["--nothing"]])
def test_an_invalid_option_is_a_usage_error(arguments: list[str]) -> None:
    done = command(*arguments)
    assert done.returncode == 2 and "usage:" in done.stderr and "Traceback" not in done.stderr
