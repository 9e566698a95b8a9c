# SPDX-License-Identifier: MIT
"""The device's side of the service: which image a device is offered, and how it is delivered."""

from __future__ import annotations

import hashlib
import os
from typing import Any

import pytest
import requests
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from api import Api
from rehearsal.ota_service import signing
from rehearsal.service import RunningService

CONTENT = os.urandom(700_001)


@pytest.fixture
def pushed(own_api: Api) -> dict[str, Any]:
    """An image that was pushed to a new device, hub-1."""
    own_api.service.sim.register("hub-1")
    image = own_api.image(CONTENT)
    assert own_api.push(image, "hub-1").status_code == 202
    return image


def offer(service: RunningService) -> dict[str, Any]:
    """The update that hub-1 is offered."""
    update = service.sim.update("hub-1")
    assert update
    return update


def test_a_device_without_a_push_is_offered_nothing(own_api: Api) -> None:
    own_api.service.sim.register("hub-1")
    own_api.image(CONTENT)
    assert own_api.service.sim.update("hub-1") is None


def test_a_pushed_device_is_offered_the_image(own_service: RunningService, pushed: dict[str, Any]) -> None:
    update = offer(own_service)
    assert update["versionNumber"] == pushed["versionNumber"]
    assert (update["size"], update["sha256"]) == (len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


def test_an_image_is_delivered_behind_a_signed_header(own_service: RunningService, pushed: dict[str, Any]) -> None:
    body = requests.get(offer(own_service)["url"], timeout=30).content
    head, image = body[: signing.SIZE], body[signing.SIZE :]
    assert image == CONTENT and len(head) == 216 and head[0] == 5
    key = load_pem_public_key(requests.get(f"{own_service.url}/sim/key", timeout=30).content)
    assert isinstance(key, Ed25519PublicKey)
    header = signing.parse(head, key)
    assert (header.version_number, header.size) == (int(pushed["versionNumber"]), len(CONTENT))
    assert header.sha256 == hashlib.sha256(CONTENT).hexdigest()
    with pytest.raises(ValueError, match="signature"):
        signing.parse(head[:20] + b"\xff" + head[21:], key)


@pytest.mark.parametrize(
    ("wanted", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100-", 100, None),
        ("bytes=200-300", 200, 301),
        ("bytes=215-216", 215, 217),
        ("bytes=216-", 216, None),
        ("bytes=-10", -10, None),
        ("bytes=500000-99999999", 500_000, None),
    ],
)
def test_a_range_is_delivered_on_request(
    own_service: RunningService, pushed: dict[str, Any], wanted: str, start: int, end: int | None
) -> None:
    url = offer(own_service)["url"]
    whole = requests.get(url, timeout=30).content
    answer = requests.get(url, headers={"Range": wanted}, timeout=30)
    assert answer.status_code == 206 and answer.content == whole[start:end]
    first = start if start >= 0 else len(whole) + start
    assert answer.headers["Content-Range"] == f"bytes {first}-{first + len(answer.content) - 1}/{len(whole)}"


def test_a_range_is_delivered_only_if_the_file_is_unchanged(
    own_service: RunningService, pushed: dict[str, Any]
) -> None:
    url = offer(own_service)["url"]
    tag = requests.get(url, timeout=30).headers["ETag"]
    same = requests.get(url, headers={"Range": "bytes=5-", "If-Range": tag}, timeout=30)
    other = requests.get(url, headers={"Range": "bytes=5-", "If-Range": '"other"'}, timeout=30)
    assert (same.status_code, other.status_code) == (206, 200)
    assert len(other.content) == len(CONTENT) + signing.SIZE


def test_a_range_beyond_the_end_is_refused(own_service: RunningService, pushed: dict[str, Any]) -> None:
    answer = requests.get(offer(own_service)["url"], headers={"Range": "bytes=9999999-"}, timeout=30)
    assert answer.status_code == 416
    assert answer.headers["Content-Range"] == f"bytes */{len(CONTENT) + signing.SIZE}"


@pytest.mark.parametrize("newer", [0, 1])
def test_a_device_is_never_offered_the_same_or_an_older_version(
    own_service: RunningService, pushed: dict[str, Any], newer: int
) -> None:
    own_service.sim.change("hub-1", versionNumber=str(int(pushed["versionNumber"]) + newer))
    assert own_service.sim.update("hub-1") is None


def test_a_device_that_reports_the_new_version_is_done(own_service: RunningService, pushed: dict[str, Any]) -> None:
    own_service.sim.report("hub-1", "downloading", offset=10, total=100)
    assert own_service.sim.device("hub-1")["updating"] is True
    own_service.sim.report("hub-1", "done", versionNumber=pushed["versionNumber"])
    device = own_service.sim.device("hub-1")
    assert (device["updating"], device["versionNumber"]) == (False, pushed["versionNumber"])
    assert own_service.sim.update("hub-1") is None
    assert [push["state"] for push in own_service.sim.pushes()] == ["done"]


def test_a_failed_update_is_not_offered_again_until_it_is_pushed_again(own_api: Api, pushed: dict[str, Any]) -> None:
    sim = own_api.service.sim
    sim.report("hub-1", "failed", detail="no room")
    assert sim.update("hub-1") is None
    assert [(push["state"], push["detail"]) for push in sim.pushes()] == [("failed", "no room")]
    own_api.push(pushed, "hub-1")
    assert sim.update("hub-1")


def test_a_device_that_still_reports_the_old_version_is_offered_the_image_again(
    own_service: RunningService, pushed: dict[str, Any]
) -> None:
    own_service.sim.report("hub-1", "done", versionNumber="0")
    assert own_service.sim.update("hub-1")


def test_an_offline_device_is_offered_nothing_and_shown_as_unavailable(own_api: Api, pushed: dict[str, Any]) -> None:
    sim = own_api.service.sim
    sim.change("hub-1", behaviour="offline")
    assert sim.update("hub-1") is None
    path = f"/v1/accounts/{own_api.service.account_id}/devices?expansions=state"
    assert own_api.call("GET", path).json()[0]["deviceState"]["available"] is False
    sim.change("hub-1", behaviour="normal")
    assert sim.update("hub-1")


def test_a_device_can_be_shown_as_updating(own_api: Api) -> None:
    own_api.service.sim.register("hub-1")
    own_api.service.sim.change("hub-1", updating=True)
    path = f"/v1/accounts/{own_api.service.account_id}/devices/hub-1"
    assert own_api.call("GET", path).json()["updating"] is True


def test_calls_are_counted_by_endpoint(own_api: Api) -> None:
    own_api.record()
    own_api.record()
    counts = own_api.service.sim.stats()
    assert counts["requests"]["POST /v1/ota/partners/{partnerId}/pool"] == 2
    assert (counts["records"], counts["associations"]) == (2, 0)
