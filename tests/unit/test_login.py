# SPDX-License-Identifier: MIT
"""The login without a network: what the configuration must say, PKCE, the address that a browser ends at, the stored token."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from afero_ota import config, errors
from afero_ota.credentials import Secret
from afero_ota.login import code, settings, stored

KEYCLOAK = "https://accounts.example.com/auth/realms/one/protocol/openid-connect"
LOGIN = settings.Login(f"{KEYCLOAK}/token", f"{KEYCLOAK}/auth", "app")


def load(folder: Path, document: dict[str, object], environ: dict[str, str] | None = None) -> config.Config:
    path = folder / "conf.json"
    path.write_text(json.dumps(document))
    path.chmod(0o600)
    return config.load(str(path), {}, environ or {}, config.LOGIN_NEEDS)


def faults(folder: Path, document: dict[str, object], environ: dict[str, str] | None = None) -> str:
    with pytest.raises(errors.ConfigError) as caught:
        load(folder, document, environ)
    return str(caught.value)


def test_without_any_key_of_the_login_the_password_is_needed(tmp_path: Path) -> None:
    said = faults(tmp_path, {})
    assert all(f"- {name}: not set" in said for name in ("username", "userpw", "auth-string"))


@pytest.mark.parametrize(
    "document",
    [
        {"access-token": "t"},
        {"access-token-command": "echo t"},
        {"refresh-token": "t", "clientId": "app"},
        {"refresh-token-command": "echo t", "auth-string": "YTpi"},
        {"username": "u", "userpw": "p", "clientId": "app", "tokenUrl": f"{KEYCLOAK}/token"},
    ],
)
def test_each_of_these_is_a_complete_login(tmp_path: Path, document: dict[str, object]) -> None:
    load(tmp_path, document)


def test_tokens_come_from_the_environment_too(tmp_path: Path) -> None:
    loaded = load(tmp_path, {}, {"AFERO_OTA_ACCESS_TOKEN": "canary"})
    assert loaded.credentials.access_token.reveal() == "canary"
    assert "canary" not in repr(loaded)


def test_a_configuration_for_a_login_page_says_that_nobody_has_logged_in(tmp_path: Path) -> None:
    said = faults(tmp_path, {"tokenUrl": f"{KEYCLOAK}/token", "clientId": "app"})
    assert "conf.json.login yet" in said and "scripts/afero-ota login" in said and "userpw" not in said


def test_a_refresh_token_without_a_file_to_keep_its_successor_beside_is_refused() -> None:
    with pytest.raises(errors.ConfigError, match="refresh-token: needs a configuration file"):
        config.load(None, {}, {"AFERO_OTA_REFRESH_TOKEN": "t", "AFERO_OTA_AUTH_STRING": "YTpi"}, config.LOGIN_NEEDS)


def test_keycloaks_login_page_is_known_from_its_token_url(tmp_path: Path) -> None:
    assert (
        load(tmp_path, {"access-token": "t", "tokenUrl": LOGIN.token_url}).login.authorization_url == f"{KEYCLOAK}/auth"
    )


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("tokenUrl", "http://accounts.example.com/token", "https is required"),
        ("authorizationUrl", "nowhere", "is not a URL"),
        ("redirectUri", "no-scheme", "is not a URI"),
        ("bearerToken", "refresh_token", "is not a token of the answer"),
    ],
)
def test_a_wrong_key_is_named_with_what_is_expected(tmp_path: Path, key: str, value: str, reason: str) -> None:
    said = faults(tmp_path, {"access-token": "t", key: value})
    assert f"{key} in " in said and reason in said and f"set {key} to" in said


def test_the_file_of_the_token_is_beside_the_configuration_or_where_it_says(tmp_path: Path) -> None:
    assert load(tmp_path, {"access-token": "t"}).login.token_file == f"{tmp_path}/conf.json.login"
    assert load(tmp_path, {"access-token": "t", "tokenFile": "/srv/t"}).login.token_file == "/srv/t"


def test_a_command_that_prints_a_token_runs_again_for_the_next_one(tmp_path: Path) -> None:
    secret = Secret("access-token", command=f"echo x >>{tmp_path}/n; wc -l <{tmp_path}/n")
    assert [secret.reveal(), secret.reveal(), secret.reveal(again=True)] == ["1", "1", "2"]


# ---- the code --------------------------------------------------------------------------------------------------------


def test_the_challenge_is_the_one_of_the_rfc() -> None:
    """RFC 7636, appendix B."""
    assert (
        code.challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk") == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    )


def test_the_address_holds_the_challenge_and_never_the_verifier() -> None:
    flow = code.begin(LOGIN, "app", "http://127.0.0.1:1/")
    fields = {name: value for name, [value] in parse_qs(urlsplit(flow.url).query).items()}
    assert fields["code_challenge"] == code.challenge(flow.verifier) and fields["state"] == flow.state
    assert flow.verifier not in flow.url and flow.verifier not in repr(flow)
    assert flow.verifier != code.begin(LOGIN, "app", "http://127.0.0.1:1/").verifier


def test_the_code_is_found_in_whatever_is_pasted() -> None:
    flow = code.begin(LOGIN, "app", "app://redirect")
    query = f"state={flow.state}&code=c-1"
    for pasted in (f"app://redirect?{query}\n", query, f"?{query}", " c-1 "):
        assert code.code_in(flow, pasted) == "c-1"


def test_an_answer_to_another_login_is_not_taken() -> None:
    flow = code.begin(LOGIN, "app", "app://redirect")
    with pytest.raises(ValueError, match="the state differs"):
        code.code_in(flow, "app://redirect?state=other&code=c-1")


def test_a_refusal_of_the_login_page_is_told() -> None:
    flow = code.begin(LOGIN, "app", "app://redirect")
    with pytest.raises(errors.AuthError, match="access_denied \\(not you\\)"):
        code.code_in(flow, f"app://redirect?state={flow.state}&error=access_denied&error_description=not+you")


# ---- the stored token ------------------------------------------------------------------------------------------------


def test_the_stored_token_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    path, before = str(tmp_path / "t.login"), os.umask(0)
    try:
        stored.write(path, stored.Stored("canary", "https://x/token"))
        with stored.locked(path, print):
            pass
    finally:
        os.umask(before)
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o600}
    assert stored.read(path, print) == stored.Stored("canary", "https://x/token")


def test_a_stored_token_that_others_can_read_is_warned_of(tmp_path: Path) -> None:
    path, said = tmp_path / "t.login", list[str]()
    stored.write(str(path), stored.Stored("canary", "https://x/token"))
    path.chmod(0o640)
    stored.read(str(path), said.append)
    assert len(said) == 1 and "chmod 600" in said[0] and "canary" not in said[0]


def test_a_file_that_is_something_else_is_refused_without_quoting_it(tmp_path: Path) -> None:
    path = tmp_path / "t.login"
    path.write_text("canary")
    with pytest.raises(errors.ConfigError, match="is not a file of afero-ota login") as caught:
        stored.read(str(path), print)
    assert "canary" not in str(caught.value)
