# SPDX-License-Identifier: MIT
"""Uploads arrive complete, in both documented forms, and take constant memory."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import requests

from api import Api
from rehearsal.service import wait_until

GIBIBYTE, BLOCK = 1 << 30, 1 << 20


def in_repository(api: Api, sha256: str) -> bytes:
    url = api.call("POST", "P/binaries/moveToRepository", json={"value": sha256}).json()["value"]
    return requests.get(url, timeout=30).content


def test_a_raw_upload_is_kept_byte_for_byte(api: Api) -> None:
    content = os.urandom(3_000_001)
    answer = api.call("POST", "P/binaries", data=content, headers={"Content-Type": "application/octet-stream"})
    assert answer.json() == {"value": hashlib.sha256(content).hexdigest()}
    assert in_repository(api, answer.json()["value"]) == content


def test_a_form_upload_is_kept_byte_for_byte(api: Api) -> None:
    content = os.urandom(2_000_003) + b"\r\n--boundary\r\n"
    answer = api.call("POST", "P/binaries", files={"file": ("hub_update.bin", content)})
    assert answer.json() == {"value": hashlib.sha256(content).hexdigest()}
    assert in_repository(api, answer.json()["value"]) == content


def test_a_chunked_upload_is_kept_byte_for_byte(api: Api) -> None:
    blocks = [os.urandom(100_000) for _ in range(5)]
    headers = {"Content-Type": "application/octet-stream"}
    answer = api.call("POST", "P/binaries", data=iter(blocks), headers=headers)
    assert answer.json() == {"value": hashlib.sha256(b"".join(blocks)).hexdigest()}


def test_the_identifier_may_be_given_back_in_upper_case(api: Api) -> None:
    value = api.call("POST", "P/binaries", data=b"upper case").json()["value"]
    assert in_repository(api, value.upper()) == b"upper case"


def test_the_same_content_may_be_uploaded_again(api: Api) -> None:
    urls = set()
    for _ in range(2):
        value = api.call("POST", "P/binaries", data=b"the same twice").json()
        urls.add(api.call("POST", "P/binaries/moveToRepository", json=value).json()["value"])
    assert len(urls) == 2


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "application/octet-stream"),
        (b"", "multipart/form-data"),
        (b"x", "multipart/form-data"),
        (b"", "multipart/form-data; boundary=b"),
        (b"not a form", "multipart/form-data; boundary=b"),
        (b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nhalf', "multipart/form-data; boundary=b"),
        (b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n\r\n--b--\r\n', "multipart/form-data; boundary=b"),
        (b"--b--\r\n", "multipart/form-data; boundary=b"),
    ],
)
def test_an_empty_or_malformed_upload_is_refused_and_leaves_no_file(own_api: Api, body: bytes, kind: str) -> None:
    answer = own_api.call("POST", "P/binaries", data=body, headers={"Content-Type": kind})
    assert answer.status_code == 400, answer.text
    assert answer.json()["service_name"] == "ClientApi"
    assert list((own_api.service.data / "uploads").iterdir()) == []


def test_an_interrupted_upload_leaves_no_file(own_api: Api) -> None:
    where, uploads = urlsplit(own_api.service.url), own_api.service.data / "uploads"
    head = (
        f"POST {urlsplit(own_api.url('P/binaries')).path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n"
        f"Authorization: {own_api.authorization}\r\nContent-Type: application/octet-stream\r\n\r\n"
    )
    with socket.create_connection((where.hostname, where.port), timeout=30) as connection:
        connection.sendall(head.encode() + b"x" * 5000)
        wait_until(lambda: list(uploads.iterdir()))
    wait_until(lambda: not list(uploads.iterdir()))


def test_a_gibibyte_is_uploaded_with_constant_memory(own_api: Api) -> None:
    block, digest = os.urandom(BLOCK), hashlib.sha256()

    def blocks() -> Iterator[bytes]:
        for _ in range(GIBIBYTE // BLOCK):
            digest.update(block)
            yield block

    before = own_api.service.peak_memory()
    headers = {"Content-Type": "application/octet-stream"}
    answer = own_api.call("POST", "P/binaries", data=blocks(), headers=headers, timeout=300)
    assert answer.json() == {"value": digest.hexdigest()}
    assert own_api.service.peak_memory() - before < 32 << 20
