# SPDX-License-Identifier: MIT
"""sysupgrade --local on the bench for the scripts: an image from bench or factory, without the cloud."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from shell_bench import HEADER, NAME, OLD_HEADER, Hub, changed, flipped, needs_root

pytestmark = needs_root

IMAGE = "/data/image.tar.gz"


def install(hub: Hub, image: bytes, name: str = IMAGE) -> tuple[int, str]:
    hub.put(name[1:], image)
    return hub.inside(f"/sbin/sysupgrade --local {name}")


def told(hub: Hub) -> str:
    """What the cloud is told."""
    return (hub.root / "data/afero_nv/reboot_reason").read_text()


def test_an_archive_is_installed_without_a_header_where_that_is_allowed(hub: Hub, good: bytes, tmp_path: Path) -> None:
    hub.settings("ALLOW_LOCAL=1\n")
    status, said = install(hub, good)
    assert status == 0, said
    assert hub.env()["BOOT_ORDER"] == "B A"
    assert hub.env()["AFERO_OTA_TRYING_VERSION"] == "101"
    assert told(hub) == "ota 101 restarted, not confirmed"
    assert (hub.root / IMAGE[1:]).read_bytes() == good
    with hub.other_slot(tmp_path / "b") as tree:
        assert (tree / "etc/afero-ota/complete").exists()
        # as in a factory's system: the cloud sees the version in the OTA record
        assert list((tree / "etc/afero-ota/hdr").iterdir()) == []
        assert list((tree / "etc").glob("*.hdr")) == []


def test_an_archive_is_refused_where_nobody_allowed_it(hub: Hub, good: bytes) -> None:
    environment, other = hub.state()[:2]
    status, said = install(hub, good)
    assert (status, "set ALLOW_LOCAL=1 in /etc/afero-ota/sysupgrade.conf" in said) == (4, True), said
    assert told(hub) == "ota 101 refused 4 device not ready"
    assert hub.state()[:2] == (environment, other)


@pytest.mark.parametrize(
    ("status", "make"),
    [
        (5, flipped),
        (6, lambda image: changed(image, {"./etc/afero-ota/compatible": lambda text: b"toaster\n"})),
        (8, lambda image: changed(image, {"./etc/full-ota-record.json": lambda text: text.replace(b"101", b"99")})),
    ],
    ids=["damaged", "other hardware", "older"],
)
def test_a_local_image_is_checked_like_any_other_and_never_deleted(
    hub: Hub, good: bytes, status: int, make: Callable[[bytes], bytes]
) -> None:
    hub.settings("ALLOW_LOCAL=1\nFREE_IMAGE=1\n")
    environment, other = hub.state()[:2]
    assert install(hub, make(good))[0] == status
    assert hub.state()[:2] == (environment, other)
    assert (hub.root / IMAGE[1:]).exists()


def test_a_header_that_hubby_left_is_not_that_of_a_local_image(hub: Hub, good: bytes, tmp_path: Path) -> None:
    hub.settings("ALLOW_LOCAL=1\n")
    hub.put(f"tmp/{NAME}.hdr", HEADER)
    status, said = install(hub, good, f"/tmp/{NAME}.img")
    assert status == 0, said
    # of the running system, which otamgr had replaced
    assert hub.header() == OLD_HEADER
    assert (hub.root / f"tmp/{NAME}.hdr").read_bytes() == HEADER
    with hub.other_slot(tmp_path / "b") as tree:
        assert list((tree / "etc").glob("*.hdr")) == []


def test_a_kind_whose_engine_proves_the_origin_needs_no_permission(hub: Hub) -> None:
    """Whether RAUC accepts the bundle is another question; here the device has no rauc."""
    status, said = install(hub, b"hsqs" + os.urandom(9000), "/data/bundle.raucb")
    assert (status != 0, "ALLOW_LOCAL" in said) == (True, False), said


def test_the_options_are_explained_to_whoever_gets_them_wrong(hub: Hub) -> None:
    for arguments in ("", "--local", "--lokal image", "--local one two"):
        status, said = hub.inside(f"/sbin/sysupgrade {arguments}")
        assert (status, "usage: sysupgrade [--local] IMAGE" in said) == (2, True), said
