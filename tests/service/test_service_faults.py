# SPDX-License-Identifier: MIT
"""Faults occur on the wire as the faults file says, and only then."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from api import Api
from rehearsal.ota_service import server  # noqa: F401  (rules may name its endpoints)
from rehearsal.ota_service.faults import Plan, PlanError
from rehearsal.service import SCRIPTS, RunningService

Play = Callable[..., Api]

RECORD = {"name": "n", "type": 5, "version": "1", "url": ""}


@pytest.fixture
def play(own_service: RunningService) -> Play:
    """Activates fault rules; returns a client that has already logged in."""

    def start(*rules: dict[str, Any], seed: int = 0) -> Api:
        api = Api(own_service)
        own_service.sim.set_faults({"seed": seed, "rules": list(rules)})
        return api

    return start


def records(api: Api) -> int:
    return int(api.service.sim.stats()["records"])


def rule(match: str, do: str, **options: Any) -> dict[str, Any]:
    return {"match": match, "do": do, **options}


# ---- the connection --------------------------------------------------------------------------------------------------


def test_refuse_closes_the_connection_without_carrying_out_the_call(play: Play) -> None:
    api = play(rule("POST P/pool", "refuse"))
    with pytest.raises(requests.ConnectionError):
        api.call("POST", "P/pool", json=RECORD)
    assert records(api) == 0


@pytest.mark.parametrize(("at", "made"), [("before", 0), ("after", 1)])
def test_reset_is_a_tcp_reset_before_or_after_the_write(play: Play, at: str, made: int) -> None:
    api = play(rule("POST P/pool", "reset", at=at))
    where, body = urlsplit(api.url("P/pool")), json.dumps(RECORD).encode()
    head = (
        f"POST {where.path} HTTP/1.1\r\nHost: {where.netloc}\r\nAuthorization: {api.authorization}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    # in one piece: a client that is still sending when the reset arrives may see an ordinary close
    with socket.create_connection((where.hostname, where.port), timeout=30) as connection:
        connection.sendall(head.encode() + body)
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    assert records(api) == made


@pytest.mark.parametrize("at", ["before", "after"])
def test_stall_answers_late(play: Play, at: str) -> None:
    api = play(rule("POST P/pool", "stall", seconds=0.5, at=at))
    start = time.monotonic()
    assert api.call("POST", "P/pool", json=RECORD).status_code == 201
    assert time.monotonic() - start >= 0.5


@pytest.mark.parametrize(("at", "made"), [("before", 0), ("after", 1)])
def test_a_call_that_the_client_gives_up_is_carried_out_only_if_it_stalls_afterwards(
    play: Play, at: str, made: int
) -> None:
    api = play(rule("POST P/pool", "stall", seconds=30, at=at))
    with pytest.raises(requests.Timeout):
        api.call("POST", "P/pool", json=RECORD, timeout=0.5)
    assert records(api) == made


@pytest.mark.parametrize("how", ["close", "reset"])
def test_an_upload_can_be_cut_at_a_byte(play: Play, how: str) -> None:
    api = play(rule("POST P/binaries", "cut_request", byte=300_000, how=how, when={"nth": 1}))
    content = os.urandom(5_000_000)
    with pytest.raises(requests.ConnectionError):
        api.call("POST", "P/binaries", data=content)
    assert api.call("POST", "P/binaries", data=content).json()["value"] == hashlib.sha256(content).hexdigest()
    assert len(list((api.service.data / "uploads").iterdir())) == 1


def test_an_upload_can_stall_at_a_byte(play: Play) -> None:
    api = play(rule("POST P/binaries", "cut_request", byte=1000, how="stall"))
    with pytest.raises((requests.Timeout, requests.ConnectionError)):
        api.call("POST", "P/binaries", data=os.urandom(20_000_000), timeout=1)


def test_a_body_that_is_shorter_than_the_cut_goes_through(play: Play) -> None:
    api = play(rule("POST P/binaries", "cut_request", byte=10))
    assert api.call("POST", "P/binaries", data=b"short").status_code == 200


@pytest.mark.parametrize("how", ["close", "reset"])
def test_an_answer_can_be_cut_at_a_byte(play: Play, how: str) -> None:
    api = play(rule("POST P/pool", "cut_answer", byte=7, how=how))
    received = b""
    answer = api.call("POST", "P/pool", json=RECORD, stream=True)
    assert answer.status_code == 201
    with answer, pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        for byte in answer.iter_content(1):
            received += byte
    assert received == b'{"name"'
    assert records(api) == 1


def test_a_download_can_be_cut_in_the_middle(play: Play) -> None:
    api = play(rule("GET /sim/devices/*/images/*", "cut_answer", byte=100_000, when={"nth": 1}))
    api.service.sim.register("hub-1")
    api.push(api.image(os.urandom(1_000_000)), "hub-1")
    update = api.service.sim.update("hub-1")
    assert update
    url, received = update["url"], b""
    answer = requests.get(url, stream=True, timeout=30)
    with answer, pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        for block in answer.iter_content(1000):
            received += block
    assert received == requests.get(url, timeout=30).content[:100_000]


def test_drip_sends_the_complete_answer_slowly(play: Play) -> None:
    api = play(rule("POST P/pool", "drip", bytes=50, pause=0.05))
    start = time.monotonic()
    assert api.call("POST", "P/pool", json=RECORD).json()["name"] == "n"
    assert time.monotonic() - start >= 0.2


def test_slow_upload_reads_at_the_given_rate(play: Play) -> None:
    api = play(rule("POST P/binaries", "slow_upload", rate=200_000))
    start = time.monotonic()
    assert api.call("POST", "P/binaries", data=b"x" * 200_000).status_code == 200
    assert time.monotonic() - start >= 0.9


# ---- answers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("at", "made"), [("before", 0), ("after", 1)])
def test_a_status_is_answered_before_or_after_the_write(play: Play, at: str, made: int) -> None:
    api = play(rule("POST P/pool", "status", status=503, headers={"Retry-After": 7}, at=at))
    answer = api.call("POST", "P/pool", json=RECORD)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "7")
    assert answer.json()["status"] == 503
    assert records(api) == made


def test_a_status_can_come_with_html_or_with_json(play: Play) -> None:
    api = play(
        rule("GET P/tags", "status", status=502, body="<html>Bad Gateway</html>"),
        rule("GET P/types", "status", status=403, body={"trace": "x at y"}),
    )
    answer = api.call("GET", "P/tags")
    assert (answer.headers["Content-Type"], answer.text) == ("text/html", "<html>Bad Gateway</html>")
    assert api.call("GET", "P/types").json() == {"trace": "x at y"}


def test_the_hash_of_an_upload_can_be_wrong_upper_case_or_missing(play: Play) -> None:
    match, right = "POST P/binaries", hashlib.sha256(b"content").hexdigest()
    api = play(
        *(rule(match, "hash", value=value, when={"nth": n}) for n, value in enumerate(("wrong", "upper", "missing"), 1))
    )
    wrong, upper, missing, normal = (api.call("POST", "P/binaries", data=b"content").json() for _ in range(4))
    assert len(wrong["value"]) == 64 and wrong["value"] != right
    assert (upper, missing, normal) == ({"value": right.upper()}, {}, {"value": right})


def test_an_answer_can_be_something_other_than_json(play: Play) -> None:
    api = play(rule("POST P/pool", "not_json"))
    answer = api.call("POST", "P/pool", json=RECORD)
    assert answer.status_code == 201 and records(api) == 1
    with pytest.raises(requests.exceptions.JSONDecodeError):
        answer.json()


def test_fields_can_be_dropped_and_added_in_every_item(play: Play) -> None:
    api = play(rule("* P/pool", "fields", drop=["tags", "createdTimestamp"], add={"future": 1}))
    made = api.call("POST", "P/pool", json=RECORD).json()
    assert made["future"] == 1 and not {"tags", "createdTimestamp"} & set(made)
    (listed,) = api.call("GET", "P/pool").json()["content"]
    assert listed["future"] == 1 and "tags" not in listed


@pytest.mark.parametrize(("at", "first"), [("before", 401), ("after", 200)])
def test_tokens_can_expire_before_or_after_a_call(play: Play, at: str, first: int) -> None:
    api = play(rule("GET P/tags", "expire_tokens", at=at, when={"nth": 1}))
    assert [api.call("GET", "P/tags").status_code for _ in range(2)] == [first, 401]
    api.log_in()
    assert api.call("GET", "P/tags").status_code == 200


def test_exists_can_lag_behind_a_create(play: Play) -> None:
    path = "P/pool/types/5/names/n/versions/1/exists"
    api = play(rule(f"GET {path}", "lag", seconds=60, when={"first": 2}))
    api.call("POST", "P/pool", json=RECORD)
    assert [api.call("GET", path).json()["value"] for _ in range(3)] == [False, False, True]


@pytest.mark.parametrize(("place", "seen_twice"), [("front", 1), ("back", 0)])
def test_a_record_can_appear_between_two_pages(play: Play, place: str, seen_twice: int) -> None:
    api = play(rule("GET P/pool", "insert_record", place=place, when={"nth": 2}))
    for _ in range(4):
        api.record()
    pages = [api.call("GET", "P/pool", params={"page": n, "size": 2}).json()["content"] for n in range(3)]
    ids = [item["id"] for page in pages for item in page]
    assert len(ids) - len(set(ids)) == seen_twice and records(api) == 5


# ---- when and where --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ("always", "xxxxxx"),
        ({"nth": 3}, "..x..."),
        ({"every": 2}, ".x.x.x"),
        ({"first": 2}, "xx...."),
        ({"after": 4}, "....xx"),
        ({"probability": 0}, "......"),
        ({"probability": 1}, "xxxxxx"),
    ],
)
def test_when_selects_the_calls_that_fail(play: Play, when: str | dict[str, float], expected: str) -> None:
    api = play(rule("GET P/tags", "status", status=500, when=when))
    assert "".join("x" if api.call("GET", "P/tags").status_code == 500 else "." for _ in range(6)) == expected


def test_probability_is_reproducible_with_the_same_seed(play: Play) -> None:
    def run(seed: int) -> list[int]:
        api = play(rule("GET P/tags", "status", status=500, when={"probability": 0.5}), seed=seed)
        return [api.call("GET", "P/tags").status_code for _ in range(20)]

    first, again, other = run(1), run(1), run(2)
    assert first == again != other and set(first) == {200, 500}


@pytest.mark.parametrize(
    ("match", "hit"),
    [
        ("GET P/pool/types/5", True),
        ("* P/pool/types/{type}", True),
        ("GET P/pool/*/*", True),
        ("GET **", True),
        ("GET ~/v1/.*/types/[0-9]+", True),
        ("GET P/pool", False),
        ("GET P/pool/*", False),
        ("POST P/pool/types/5", False),
        ("GET DT/**", False),
    ],
)
def test_match_selects_calls_by_method_and_path(play: Play, match: str, hit: bool) -> None:
    api = play(rule(match, "status", status=500))
    assert (api.call("GET", "P/pool/types/5").status_code == 500) is hit


def test_the_first_rule_that_applies_is_played_and_counted(play: Play) -> None:
    api = play(
        rule("GET P/tags", "status", status=500, when={"nth": 2}),
        rule("GET P/tags", "status", status=501, when={"first": 2}),
    )
    assert [api.call("GET", "P/tags").status_code for _ in range(3)] == [501, 500, 200]
    assert list(api.service.sim.stats()["faults"].values()) == [1, 1]


def test_faults_are_read_from_the_file_named_on_the_command_line(tmp_path: Path) -> None:
    with RunningService(tmp_path, faults="rules:\n- match: GET /sim/key\n  do: status\n  status: 418\n") as service:
        assert requests.get(f"{service.url}/sim/key", timeout=30).status_code == 418


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not YAML"),
        ("[]", "expected a mapping with `rules`"),
        ("rules: 5", "expected a mapping with `rules`"),
        ("rulez: []", "rulez is not known here; known: seed, rules"),
        ("seed: x\nrules: []", "seed is 'x'"),
        ("rules: [x]", "rule 1: expected a mapping"),
        ("rules: [{match: GET P/tags}]", "`do` is None; expected one of refuse"),
        ("rules: [{match: GET P/tags, do: explode}]", "`do` is 'explode'"),
        ("rules: [{match: P/tags, do: refuse}]", "`match` is 'P/tags'; expected a method"),
        ("rules: [{match: FETCH P/tags, do: refuse}]", "expected a method"),
        ("rules: [{match: GET tags, do: refuse}]", "must start with"),
        ("rules: [{match: 'GET ~(', do: refuse}]", "regular expression"),
        ("rules: [{match: 'GET P/tagz/{type}', do: refuse}]", "is no call of this service"),
        ("rules: [{match: GET P/tags, do: refuse, at: after}]", "at is not known here"),
        ("rules: [{match: GET P/tags, do: reset, at: never}]", "`at` is 'never'; expected one of before, after"),
        ("rules: [{match: GET P/tags, do: stall}]", "`seconds` is missing; expected a number from 0"),
        ("rules: [{match: GET P/tags, do: cut_answer, byte: -1}]", "`byte` is -1; expected a whole number from 0"),
        (
            "rules: [{match: GET P/tags, do: status, status: 99}]",
            "`status` is 99; expected a whole number from 200 to 599",
        ),
        ("rules: [{match: GET P/tags, do: status, status: true}]", "`status` is True"),
        ("rules: [{match: GET P/tags, do: fields, drop: [1]}]", "`drop` is [1]; expected a list of texts"),
        ("rules: [{match: GET P/tags, do: refuse, when: sometimes}]", "`when` is 'sometimes'; expected always"),
        ("rules: [{match: GET P/tags, do: refuse, when: {nth: 0}}]", "`when`"),
        ("rules: [{match: GET P/tags, do: refuse, when: {probability: 2}}]", "`when`"),
        ("rules: [{match: GET P/tags, do: refuse, when: {nth: 1, first: 2}}]", "`when`"),
    ],
)
def test_an_invalid_faults_file_is_explained(text: str, said: str) -> None:
    with pytest.raises(PlanError) as caught:
        Plan.parse(text, "faults.yml")
    assert str(caught.value).startswith("faults.yml") and said in str(caught.value)


def test_an_empty_faults_file_means_no_faults() -> None:
    assert Plan.parse("", "faults.yml").rules == []


def test_the_example_in_the_documentation_is_a_valid_faults_file() -> None:
    text = (
        (SCRIPTS.parent / "docs" / "local-service.md")
        .read_text()
        .partition("### Examples\n")[2]
        .partition("\n### Devices")[0]
    )
    assert len(Plan.parse(textwrap.dedent(text), "local-service.md").rules) == 6
