# SPDX-License-Identifier: MIT
"""Whose bundles a device obeys: sysupgrade with the real rauc. Nothing is installed here, since that needs dm-verity: test_rauc.py."""

from __future__ import annotations

from pathlib import Path

import pytest

import keys
from keys import Pair
from shell_bench import COMPATIBLE, Hub, bundle, flipped, needs_root, owned_by

pytestmark = needs_root
# no device mapper: RAUC comes as far as mounting what it trusts
TRUSTED = (4, "cannot be mounted")
NO_DEVICE_MAPPER = "mount --bind /dev/null dev/loop-control"


@pytest.fixture(scope="module")
def owner(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return keys.make(tmp_path_factory.mktemp("owner"), "release")


def refused(hub: Hub, image: bytes) -> tuple[int, str]:
    before = hub.state()[:2]
    status, said = hub.upgrade(image, before=NO_DEVICE_MAPPER)
    assert hub.state()[:2] == before
    return status, said


def test_the_owners_bundle_is_trusted(hub: Hub, good: bytes, owner: Pair, tmp_path: Path) -> None:
    owned_by(hub, owner)
    status, said = refused(hub, bundle(tmp_path, good, owner))
    assert (status, TRUSTED[1] in said) == (TRUSTED[0], True), said


def test_during_a_change_of_keys_both_are_trusted_and_afterwards_only_the_new_one(
    hub: Hub, good: bytes, owner: Pair, tmp_path: Path
) -> None:
    new, of_old, of_new = keys.make(tmp_path, "new"), tmp_path / "of-old", tmp_path / "of-new"
    of_old.mkdir()
    of_new.mkdir()
    old_bundle, new_bundle = bundle(of_old, good, owner), bundle(of_new, good, new)
    owned_by(hub, owner, new)
    assert [refused(hub, image)[0] for image in (old_bundle, new_bundle)] == [TRUSTED[0]] * 2
    # the next image's keyring revokes the old key
    owned_by(hub, new)
    assert [refused(hub, image)[0] for image in (old_bundle, new_bundle)] == [11, TRUSTED[0]]


def test_a_certificate_that_is_not_for_code_signing_signs_nothing(hub: Hub, good: bytes, tmp_path: Path) -> None:
    tls = keys.make(tmp_path, "tls", extensions=("keyUsage=critical,digitalSignature", "extendedKeyUsage=serverAuth"))
    owned_by(hub, tls)
    status, said = refused(hub, bundle(tmp_path, good, tls))
    assert (status, "purpose" in said) == (11, True), said


def test_a_certificate_that_had_expired_when_it_signed_signs_nothing(hub: Hub, good: bytes, tmp_path: Path) -> None:
    expired = keys.expired(tmp_path, "expired")
    owned_by(hub, expired)
    status, said = refused(hub, bundle(tmp_path, good, expired))
    assert (status, "expired" in said) == (11, True), said


def test_a_bundle_for_other_hardware_is_refused(hub: Hub, good: bytes, owner: Pair, tmp_path: Path) -> None:
    owned_by(hub, owner)
    status, said = refused(hub, bundle(tmp_path, good, owner, compatible="toaster"))
    assert (status, "for 'toaster'" in said) == (6, True), said


def test_a_bundle_of_the_plain_format_is_refused(hub: Hub, good: bytes, owner: Pair, tmp_path: Path) -> None:
    owned_by(hub, owner)
    status, said = refused(hub, bundle(tmp_path, good, owner, form="plain"))
    assert (status, "plain" in said) == (5, True), said


@pytest.mark.parametrize(
    "damage", [lambda image: image[: len(image) // 2], lambda image: image[:-1]], ids=["half", "byte"]
)
def test_a_truncated_bundle_is_refused(hub: Hub, good: bytes, owner: Pair, tmp_path: Path, damage: object) -> None:
    owned_by(hub, owner)
    assert callable(damage)
    assert refused(hub, damage(bundle(tmp_path, good, owner)))[0] == 5


def test_a_changed_signature_is_refused(hub: Hub, good: bytes, owner: Pair, tmp_path: Path) -> None:
    owned_by(hub, owner)
    image = bundle(tmp_path, good, owner)
    assert refused(hub, image[:-300] + flipped(image[-300:-200]) + image[-200:])[0] == 5


def test_a_device_with_the_tar_engine_takes_no_bundle(hub: Hub, good: bytes, owner: Pair, tmp_path: Path) -> None:
    owned_by(hub, owner)
    hub.put("etc/afero-ota/engine", "tar\n")
    status, said = refused(hub, bundle(tmp_path, good, owner))
    assert (status, "this device installs archives" in said) == (5, True), said
    assert COMPATIBLE in (hub.root / "etc/afero-ota/compatible").read_text()


def test_a_bundle_that_a_killed_sysupgrade_left_mounted_is_in_nobodys_way(hub: Hub, good: bytes) -> None:
    left = "run/afero-ota/rauc/bundle"
    status, said = hub.upgrade(
        good, before=f"mkdir -p {left} && mount -t tmpfs left {left} && echo >{left}/rootfs.tar.gz"
    )
    assert status == 0, said
    assert not (hub.root / left / "rootfs.tar.gz").exists()
