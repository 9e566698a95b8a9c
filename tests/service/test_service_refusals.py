# SPDX-License-Identifier: MIT
"""Every invalid call is answered with a 4xx in Afero's error envelope."""

from __future__ import annotations

import socket
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from api import Api

ENVELOPE = {"timestamp", "status", "error", "error_description", "service_name", "region", "trace"}


def printed_by_the_old_tool(answer: requests.Response) -> str:
    """The part of an error answer that Afero's upload tool prints (print_err_response in partner-ota-hub-uploader.py)."""
    return str(answer.json()["trace"].split("at", 1)[0])


def assert_refused(answer: requests.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    body: dict[str, Any] = answer.json()
    assert set(body) - {"fieldErrors"} == ENVELOPE
    assert body["status"] == status and body["service_name"] == "ClientApi"
    assert printed_by_the_old_tool(answer).strip()
    return body


def test_aferos_old_tool_finds_the_reason_for_an_error(api: Api) -> None:
    record = api.record()
    again = {key: record[key] for key in ("name", "type", "version", "url")}
    taken = api.call("POST", "P/pool", json=again)
    assert taken.status_code == 409
    assert printed_by_the_old_tool(taken).startswith("alreadyExists: ")
    assert printed_by_the_old_tool(api.call("GET", "P/pool/types/5", params={"size": "x"})) == "valid"


GOOD = {"name": "n", "type": 5, "version": "refused", "url": ""}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": "x" * 36}, "name"),
        ({"name": ""}, "name"),
        ({"name": 5}, "name"),
        ({"name": None}, "name"),
        ({"description": "x" * 501}, "description"),
        ({"tags": ["x" * 36]}, "tags"),
        ({"tags": "x"}, "tags"),
        ({"tags": [1]}, "tags"),
        ({"type": "hub"}, "type"),
        ({"type": True}, "type"),
        ({"type": 0}, "type"),
        ({"type": 201}, "type"),
        ({"type": 10**30}, "type"),
        ({"version": []}, "version"),
        ({"url": None}, "url"),
        ({"associations": {"somebody": []}}, "associations"),
        ({"associations": []}, "associations"),
    ],
)
def test_an_invalid_field_is_named(api: Api, change: dict[str, Any], field: str) -> None:
    body = assert_refused(api.call("POST", "P/pool", json={**GOOD, **change}), 400)
    assert body["error"] == "validationFailure"
    assert field in [fault["field"] for fault in body["fieldErrors"]]
    assert set(body["fieldErrors"][0]) == {"error", "error_description", "field", "rejectedValue"}


def test_every_missing_field_is_named(api: Api) -> None:
    body = assert_refused(api.call("POST", "P/pool", json={}), 400)
    assert {fault["field"] for fault in body["fieldErrors"]} == {"name", "type", "version", "url"}


def test_the_documented_limits_themselves_are_allowed(api: Api) -> None:
    api.record(name="x" * 35, description="x" * 500, tags=["x" * 35])


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"null",
        b'"text"',
        b"[" * 100_000,
        b'{"name": NaN}',
        b'{"name": 1e999}',
        b'{"name": "\\ud800", "type": 5, "version": "1", "url": ""}',
        b'{"type": ' + b"9" * 10_000 + b"}",
    ],
    ids=str,
)
def test_a_body_that_is_not_a_json_object_is_refused(api: Api, raw: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    assert_refused(api.call("POST", "P/pool", data=raw, headers=headers), 400)


def test_another_content_type_is_refused(api: Api) -> None:
    assert_refused(api.call("POST", "P/pool", data="x", headers={"Content-Type": "text/plain"}), 415)
    assert_refused(api.call("POST", "P/binaries", data="x", headers={"Content-Type": "text/plain"}), 415)


def test_a_body_that_is_too_long_is_refused(api: Api) -> None:
    assert_refused(api.call("POST", "P/pool", json={**GOOD, "x": "y" * (1 << 20)}), 413)


@pytest.mark.parametrize("path", ["/", "/v1", "/v2/ota", "P", "P/pool/", "P/nothing", "/oauth", "//", "/sim/nothing"])
def test_an_unknown_path_is_refused(api: Api, path: str) -> None:
    assert_refused(api.call("GET", path), 404)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "P/pool", "GET, POST"),
        ("POST", "P/tags", "GET"),
        ("GET", "/oauth/token", "POST"),
        ("PATCH", "P/types/5", "GET, PUT"),
        ("OPTIONS", "P/types", "GET, POST"),
        ("GET", "P/binaries", "POST"),
    ],
)
def test_a_wrong_method_is_refused_and_the_allowed_ones_are_named(
    api: Api, method: str, path: str, allowed: str
) -> None:
    answer = api.call(method, path)
    assert_refused(answer, 405)
    assert answer.headers["Allow"] == allowed


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "P/types/77", 404),
        ("GET", "P/types/x", 400),
        ("GET", "P/pool/types/999", 404),
        ("GET", "P/types/5.0", 400),
        ("GET", "P/types/%D9%A5", 400),
        ("PUT", "P/pool/types/5/versionNumbers/1", 404),
        ("PUT", "P/pool/types/5/versionNumbers/99999999999999999999", 404),
        ("GET", "P/pool/types/5/versionNumbers/1/associations", 404),
        ("GET", "DT/firmwareImages/types/5/versionNumbers/1", 404),
        ("GET", "DT/firmwareImages/types/5/versionNumbers/-1", 404),
        ("DELETE", "DT/firmwareImages/types/5/versionNumbers/1", 404),
        ("GET", "P/pool?page=-1", 400),
        ("GET", "P/pool?size=0", 400),
        ("GET", "P/pool?size=x", 400),
        ("GET", "P/pool?sort=nothing", 400),
        ("GET", "P/pool/types/5/names/%FF/versions/1/exists", 400),
        ("GET", "P/pool/types/5/names/a/versions/1/exists?excludeFirmwareImageId=x", 400),
        ("GET", "/v1/ota/partners/somebody/pool", 404),
        ("GET", "P/deviceTypes/unknown/firmwareImages", 404),
        ("GET", "/v1/accounts/somebody/devices", 404),
        ("PUT", "DT/firmwareImages/1/push", 404),
        ("PUT", "DT/firmwareImages/x/push", 400),
    ],
)
def test_unknown_or_invalid_ids_and_queries_are_refused(api: Api, method: str, path: str, status: int) -> None:
    body = {"name": "n", "version": "v", "url": "", "value": "hub-1"}
    assert_refused(api.call(method, path, json=body if method == "PUT" else None), status)


def test_an_unknown_upload_cannot_be_moved(api: Api) -> None:
    assert_refused(api.call("POST", "P/binaries/moveToRepository", json={"value": "0" * 64}), 404)


def test_an_upload_can_be_moved_only_once(api: Api) -> None:
    value = api.call("POST", "P/binaries", data=b"moved once").json()
    assert api.call("POST", "P/binaries/moveToRepository", json=value).status_code == 200
    assert_refused(api.call("POST", "P/binaries/moveToRepository", json=value), 404)


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer x", "Basic eDp5", "Bearer \xe4"])
def test_a_call_without_a_valid_token_is_refused(api: Api, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header.encode("latin-1")}
    for path in ("P/pool", "/v1/users/me", f"/v1/accounts/{api.service.account_id}/devices"):
        answer = requests.get(api.url(path), headers=headers, timeout=30)
        assert_refused(answer, 401)
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_an_expired_token_is_refused(own_api: Api) -> None:
    assert own_api.call("GET", "P/pool").status_code == 200
    own_api.service.sim.expire_tokens()
    assert_refused(own_api.call("GET", "P/pool"), 401)
    own_api.log_in()
    assert own_api.call("GET", "P/pool").status_code == 200


def test_a_wrong_password_is_an_invalid_grant(api: Api) -> None:
    basic = {"Authorization": f"Basic {api.service.settings['auth-string']}"}
    form = {"grant_type": "password", "username": api.service.settings["username"], "password": "wrong ü"}
    body = assert_refused(requests.post(api.url("/oauth/token"), data=form, headers=basic, timeout=30), 400)
    assert body["error"] == "invalid_grant"


def test_an_unknown_client_is_unauthorized(api: Api) -> None:
    form = {"grant_type": "password", "username": "x", "password": "y"}
    for headers in ({}, {"Authorization": "Basic eDp5"}):
        body = assert_refused(requests.post(api.url("/oauth/token"), data=form, headers=headers, timeout=30), 401)
        assert body["error"] == "unauthorized"


@pytest.mark.parametrize("form", [{}, {"grant_type": "client_credentials"}, {"grant_type": "refresh_token"}])
def test_unsupported_grants_are_refused(api: Api, form: dict[str, str]) -> None:
    headers = {
        "Authorization": f"Basic {api.service.settings['auth-string']}",
        "Content-Type": "application/x-www-form-urlencoded",
    }
    assert_refused(requests.post(api.url("/oauth/token"), data=form, headers=headers, timeout=30), 400)


def test_malformed_http_is_refused_with_the_envelope(api: Api) -> None:
    where = urlsplit(api.service.url)
    with socket.create_connection((where.hostname, where.port), timeout=30) as connection:
        connection.sendall(b"this is no HTTP\r\n\r\n")
        answer = b""
        while block := connection.recv(65536):
            answer += block
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400") and b'"service_name": "ClientApi"' in body
