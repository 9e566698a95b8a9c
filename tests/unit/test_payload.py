# SPDX-License-Identifier: MIT
"""From archive to payload and manifest."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from afero_ota import errors, manifest, payload

CONTENT = os.urandom(3 << 20) + b"end"


@pytest.fixture
def archive(tmp_path: Path) -> str:
    path = tmp_path / "image.tar.gz"
    path.write_bytes(CONTENT)
    return str(path)


def test_a_payload_holds_the_archive_byte_for_byte_with_its_hash_and_size(archive: str, tmp_path: Path) -> None:
    made = payload.package(archive, str(tmp_path / "out" / "hub_update.bin"))
    assert (tmp_path / "out" / "hub_update.bin").read_bytes() == CONTENT
    assert (made.sha256, made.size) == (hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))


def test_packaging_does_not_copy_the_data_on_the_same_file_system(tmp_path: Path) -> None:
    archive = tmp_path / "image.tar.gz"
    archive.write_bytes(os.urandom(64 << 20))
    os.sync()
    before = os.statvfs(tmp_path).f_bfree
    payload.package(str(archive), str(tmp_path / "hub_update.bin"))
    os.sync()
    used = (before - os.statvfs(tmp_path).f_bfree) * os.statvfs(tmp_path).f_frsize
    assert os.stat(tmp_path / "hub_update.bin").st_ino == archive.stat().st_ino or used < 32 << 20


def test_packaging_copies_if_the_file_system_cannot_share_data(
    archive: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(payload, "_share", lambda source, target: False)
    made = payload.package(archive, str(tmp_path / "hub_update.bin"))
    assert (tmp_path / "hub_update.bin").read_bytes() == CONTENT
    assert made.sha256 == hashlib.sha256(CONTENT).hexdigest()


def test_packaging_again_replaces_the_payload(archive: str, tmp_path: Path) -> None:
    target = tmp_path / "out" / "hub_update.bin"
    first = payload.package(archive, str(target))
    assert payload.package(archive, str(target)) == first
    assert os.listdir(tmp_path / "out") == ["hub_update.bin"]


def test_packaging_follows_the_link_that_bitbake_leaves_to_the_newest_image(archive: str, tmp_path: Path) -> None:
    (tmp_path / "link.tar.gz").symlink_to("image.tar.gz")
    made = payload.package(str(tmp_path / "link.tar.gz"), str(tmp_path / "hub_update.bin"))
    assert not os.path.islink(made.path)
    assert made.size == len(CONTENT)


def test_progress_ends_at_the_size_of_the_file(archive: str, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    payload.package(archive, str(tmp_path / "hub_update.bin"), lambda done, total: seen.append((done, total)))
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert seen == sorted(seen)


@pytest.mark.parametrize("content", [None, b""])
def test_a_missing_or_empty_archive_is_refused_and_nothing_is_written(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "image.tar.gz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(errors.ConfigError, match="image.tar.gz"):
        payload.package(str(path), str(tmp_path / "out" / "hub_update.bin"))
    assert not (tmp_path / "out").exists()


def test_a_manifest_describes_the_payload(archive: str, tmp_path: Path) -> None:
    made = payload.package(archive, str(tmp_path / "hub_update.bin"))
    path = manifest.write(made, {"image": "core-image-minimal"})
    document = json.loads((tmp_path / "hub_update.bin.manifest.json").read_text())
    assert path == str(tmp_path / "hub_update.bin.manifest.json")
    assert document == {
        "format": 1,
        "file": "hub_update.bin",
        "sha256": made.sha256,
        "size": made.size,
        "image": "core-image-minimal",
    }


def test_a_payload_changed_after_packaging_fails_verification(archive: str, tmp_path: Path) -> None:
    made = payload.package(archive, str(tmp_path / "hub_update.bin"))
    manifest.write(made, {})
    (tmp_path / "hub_update.bin").unlink()
    (tmp_path / "hub_update.bin").write_bytes(CONTENT + b"!")
    with pytest.raises(errors.ConfigError, match="package the image again"):
        manifest.verify(payload.measure(made.path), manifest.read(made.path))


def test_a_build_time_is_the_source_date_epoch_in_utc() -> None:
    assert manifest.build_time("1302044400") == "2011-04-05T23:00:00Z"
