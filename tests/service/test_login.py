# SPDX-License-Identifier: MIT
"""Logging in where a password is not enough: a login page with one-time codes, and refresh tokens that are good for one use."""

from __future__ import annotations

import concurrent.futures
import json
import os
import re
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

import browser_login as browser
from afero_ota import config, errors
from afero_ota.login import code, stored
from afero_ota.service import OtaService, connect
from afero_ota.transport import Patience
from rehearsal.ota_service.keycloak import APP_REDIRECT, OPENID
from rehearsal.service import RunningService

CLI = Path(__file__).resolve().parents[2] / "scripts" / "afero-ota"
IMPATIENT = Patience(connect=5, stall=5, attempts=3, first_pause=0.01, longest_pause=0.02)
TOKEN = f"POST {OPENID}/token"


@pytest.fixture(scope="module")
def service() -> Iterator[RunningService]:
    with RunningService(arguments=("--login", "keycloak")) as running:
        yield running


@pytest.fixture(autouse=True)
def no_faults(service: RunningService) -> Iterator[None]:
    yield
    service.sim.set_faults({})


def client(conf: Path, environ: dict[str, str] | None = None) -> OtaService:
    return connect(config.load(str(conf), {}, environ or {}, config.PUBLISH_NEEDS), IMPATIENT)


def kept(conf: Path) -> str:
    found = stored.read(f"{conf}.login", print)
    assert found
    return found.refresh_token


def logged_in(service: RunningService, folder: Path, **keys: object) -> Path:
    """A configuration file after a login."""
    conf = browser.conf(service, folder, **keys)
    loaded = config.load(str(conf), {}, {})
    flow = code.begin(loaded.login, browser.CLIENT_ID, APP_REDIRECT)
    found = code.code_in(flow, browser.log_in(service, flow.url))
    connect(loaded, IMPATIENT).log_in_with(found, flow.verifier, flow.redirect_uri)
    return conf


class Typed:
    """`afero-ota login` in a process of its own, up to the address that it prints."""

    def __init__(self, conf: Path, *arguments: str):
        command = [str(CLI), "login", "--conf", str(conf), *arguments]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        assert self.process.stderr
        self.said, self.url = "", ""
        while not self.url and (line := self.process.stderr.readline()):
            self.said += line
            self.url = line.strip() if line.startswith("http") else ""
        assert self.url, self.said

    def end(self, pasted: str = "") -> tuple[int, str]:
        """Exit status, and everything that was printed."""
        out, err = self.process.communicate(pasted, timeout=60)
        return self.process.returncode, self.said + out + err


# ---- the command -----------------------------------------------------------------------------------------------------


def test_a_login_in_a_browser_on_this_machine_is_enough_for_what_follows(
    service: RunningService, tmp_path: Path
) -> None:
    conf = browser.conf(service, tmp_path)
    typed = Typed(conf)
    answer = requests.get(browser.log_in(service, typed.url), timeout=30)
    status, said = typed.end()
    assert (status, answer.status_code) == (0, 200) and "You are logged in" in answer.text
    assert stat.S_IMODE(Path(f"{conf}.login").stat().st_mode) == 0o600
    assert kept(conf) not in said
    done = subprocess.run([CLI, "list", "--json", "--conf", conf], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, json.loads(done.stdout)) == (0, []), done.stderr


def test_the_address_of_a_browser_elsewhere_is_pasted(service: RunningService, tmp_path: Path) -> None:
    conf = browser.conf(service, tmp_path, redirectUri=APP_REDIRECT)
    typed = Typed(conf, "--json")
    status, said = typed.end(browser.log_in(service, typed.url) + "\n")
    assert status == 0 and f'"tokenFile": "{conf}.login"' in said
    client(conf).login()


def test_a_wrong_paste_can_be_corrected(service: RunningService, tmp_path: Path) -> None:
    conf = browser.conf(service, tmp_path)
    typed = Typed(conf, "--paste")
    right = browser.log_in(service, typed.url)
    status, said = typed.end(f"http://127.0.0.1/?code=stolen&state=other\n\n{right}\n")
    assert status == 0 and "the state differs" in said


def test_somebody_elses_request_does_not_end_the_wait(service: RunningService, tmp_path: Path) -> None:
    typed = Typed(browser.conf(service, tmp_path))
    right = browser.log_in(service, typed.url)
    parts = urlsplit(right)
    foreign = f"http://{parts.netloc}/?code=foreign&state=foreign"
    assert requests.get(foreign, timeout=30).status_code == 400
    assert requests.get(f"http://{parts.netloc}/favicon.ico", timeout=30).status_code == 404
    # connects and says nothing: it costs a few seconds, not the login
    with socket.create_connection((parts.hostname, parts.port or 0)):
        assert requests.get(right, timeout=30).status_code == 200
    assert typed.end()[0] == 0


def test_the_end_of_standard_input_and_of_the_time_are_told(service: RunningService, tmp_path: Path) -> None:
    conf = browser.conf(service, tmp_path)
    status, said = Typed(conf, "--paste").end()
    assert status == errors.AbortedError.exit_status and "run the command in a terminal" in said
    status, said = Typed(conf, "--timeout", "0.2").end()
    assert status == errors.AbortedError.exit_status and "nobody logged in within 0.2 s" in said
    assert not Path(f"{conf}.login").exists()


def test_without_a_standard_input_only_the_browser_is_waited_for(service: RunningService, tmp_path: Path) -> None:
    conf = browser.conf(service, tmp_path)
    shell = f"exec {CLI} login --conf {conf} --timeout 0.2 {{}} <&-"
    for option, said in (("", "nobody logged in within 0.2 s"), ("--paste", "run the command in a terminal")):
        done = subprocess.run(["sh", "-c", shell.format(option)], capture_output=True, text=True)
        assert done.returncode == errors.AbortedError.exit_status and said in done.stderr, done.stderr


def test_a_configuration_without_a_login_page_names_what_to_write(service: RunningService) -> None:
    done = subprocess.run([CLI, "login", "--conf", service.conf], capture_output=True, text=True)
    assert done.returncode == 2 and "authorizationUrl" in done.stderr and "tokenUrl" in done.stderr


# ---- tokens ----------------------------------------------------------------------------------------------------------


def test_a_password_alone_is_refused_with_a_word_about_the_one_time_code(service: RunningService) -> None:
    with pytest.raises(errors.AuthError, match="invalid_grant.*one-time code.*scripts/afero-ota login") as caught:
        client(service.conf).login()
    assert service.settings["userpw"] not in str(caught.value)


def test_each_refresh_token_is_used_once_and_its_successor_kept(service: RunningService, tmp_path: Path) -> None:
    conf, seen = logged_in(service, tmp_path), list[str]()
    for _ in range(4):
        list(client(conf).records())
        seen.append(kept(conf))
    assert len(set(seen)) == 4


def test_a_token_that_expires_on_the_way_is_renewed(service: RunningService, tmp_path: Path) -> None:
    conf = logged_in(service, tmp_path)
    cloud = client(conf)
    list(cloud.records())
    before = kept(conf)
    service.sim.expire_tokens()
    list(cloud.records())
    assert kept(conf) != before


def test_many_processes_at_once_do_not_burn_the_token(service: RunningService, tmp_path: Path) -> None:
    conf = logged_in(service, tmp_path)
    before = service.sim.stats()["requests"][TOKEN]

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run([CLI, "list", "--conf", conf], cwd=tmp_path, capture_output=True, text=True)

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        runs = [pool.submit(run) for _ in range(6)]
    assert [(done.result().returncode, done.result().stderr) for done in runs] == [(0, "")] * 6
    assert service.sim.stats()["requests"][TOKEN] == before + 6
    client(conf).login()


def test_a_reused_token_costs_both_their_login_and_the_message_says_what_to_do(
    service: RunningService, tmp_path: Path
) -> None:
    conf = logged_in(service, tmp_path)
    copy = tmp_path / "copy.login"
    copy.write_bytes(Path(f"{conf}.login").read_bytes())
    cloud = client(conf)
    cloud.login()
    os.replace(copy, f"{conf}.login")  # the same token once more, as a backup would bring it back
    with pytest.raises(
        errors.AuthError, match="invalid_grant.*was used elsewhere. Log in again: scripts/afero-ota login"
    ):
        client(conf).login()
    # the first one's tokens are worthless as well
    with pytest.raises(errors.AuthError):
        list(cloud.records())


def test_a_refresh_token_expires(tmp_path: Path) -> None:
    with RunningService(arguments=("--login", "keycloak", "--refresh-lifetime", "0.1")) as short:
        conf = logged_in(short, tmp_path)
        time.sleep(0.2)  # nothing else ends its life
        with pytest.raises(errors.AuthError, match="Token is not active.*Log in again"):
            client(conf).login()


def test_the_answer_to_a_renewal_that_is_lost_is_told_as_a_lost_login(service: RunningService, tmp_path: Path) -> None:
    conf = logged_in(service, tmp_path)
    service.sim.set_faults({"rules": [{"match": TOKEN, "when": {"nth": 1}, "do": "reset", "at": "after"}]})
    with pytest.raises(errors.AuthError, match="Log in again: scripts/afero-ota login"):
        client(conf).login()


def test_a_renewal_that_fails_for_now_is_repeated(service: RunningService, tmp_path: Path) -> None:
    conf = logged_in(service, tmp_path)
    service.sim.set_faults({"rules": [{"match": TOKEN, "when": {"first": 2}, "do": "status", "status": 503}]})
    client(conf).login()


def test_a_token_is_not_spent_where_its_successor_cannot_be_kept(service: RunningService, tmp_path: Path) -> None:
    conf = logged_in(service, tmp_path)
    seed, before = kept(conf), service.sim.stats()["requests"][TOKEN]
    there = browser.conf(service, tmp_path, tokenFile="/proc/no-such-folder/token", **{"refresh-token": seed})
    with pytest.raises(errors.ConfigError, match="cannot keep the refresh token"):
        client(there).login()
    assert service.sim.stats()["requests"][TOKEN] == before
    client(browser.conf(service, tmp_path)).login()


def test_a_configured_refresh_token_is_used_once_and_then_its_successors(
    service: RunningService, tmp_path: Path
) -> None:
    conf = logged_in(service, tmp_path)
    environ = {"AFERO_OTA_REFRESH_TOKEN": kept(conf)}
    Path(f"{conf}.login").unlink()
    for _ in range(3):
        client(conf, environ).login()
    # another one in its place is a new login
    other = tmp_path / "other"
    other.mkdir()
    environ = {"AFERO_OTA_REFRESH_TOKEN": kept(logged_in(service, other))}
    client(conf, environ).login()


def test_a_stored_token_is_not_shown_to_another_server(service: RunningService, tmp_path: Path) -> None:
    conf = logged_in(service, tmp_path)
    browser.conf(service, tmp_path, tokenUrl=f"{service.url}/auth/realms/other/protocol/openid-connect/token")
    with pytest.raises(errors.AuthError, match="is a login at .*/realms/local/.*configuration says .*/realms/other/"):
        client(conf).login()


def test_an_access_token_is_taken_from_a_command_again_when_it_is_refused(
    service: RunningService, tmp_path: Path
) -> None:
    conf = logged_in(service, tmp_path)
    printed = tmp_path / "token"

    def new_token() -> None:
        form = {"grant_type": "refresh_token", "refresh_token": kept(conf), "client_id": browser.CLIENT_ID}
        answer = requests.post(f"{service.url}{OPENID}/token", data=form, timeout=30).json()
        stored.write(f"{conf}.login", stored.Stored(answer["refresh_token"], f"{service.url}{OPENID}/token"))
        printed.write_text(answer["access_token"])

    new_token()
    cloud = client(browser.conf(service, tmp_path, **{"access-token-command": f"cat {printed}"}))
    list(cloud.records())
    service.sim.expire_tokens()
    new_token()
    list(cloud.records())
    service.sim.expire_tokens()
    with pytest.raises(errors.AuthError, match="401"):
        list(cloud.records())


def test_the_id_token_is_shown_where_the_configuration_says_so(service: RunningService, tmp_path: Path) -> None:
    conf = logged_in(service, tmp_path, bearerToken="id_token")
    service.sim.set_faults({"rules": [{"match": TOKEN, "do": "fields", "drop": ["access_token"]}]})
    list(client(conf).records())


def test_no_secret_is_in_what_the_commands_print_or_keep(service: RunningService, tmp_path: Path) -> None:
    conf = logged_in(service, tmp_path)
    tokens = [kept(conf)]
    rules = [{"match": "* /**", "when": {"every": 2}, "do": "status", "status": 503, "headers": {"Retry-After": "0"}}]
    service.sim.set_faults({"rules": rules})
    done = subprocess.run(
        [CLI, "record", "-n", "77", "--verbose", "--conf", conf], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0 and "503" in done.stderr
    tokens.append(kept(conf))
    log = (service.data / "service.log").read_text()
    written = [path.read_text() for path in tmp_path.iterdir() if path.suffix != ".login"]
    for token in tokens:
        assert not [text for text in (done.stdout, done.stderr, log, *written) if token in text]
    # nor the code of the login, whose address is a query
    assert not re.search(r"code=|refresh_token=", log)
