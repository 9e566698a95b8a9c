# SPDX-License-Identifier: MIT
"""What only bundles have: who signed them, and when. With Debian's rauc and dm-verity on the emulated board."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import keys
import tamper
from afero_ota import outcome
from bench import Bench
from keys import Pair
from rehearsal.board.device import Device
from rehearsal.board.releases import Release
from test_refusals import protected_state

pytestmark = pytest.mark.only("rauc")


@pytest.fixture(scope="module")
def updated(bench: Bench) -> Iterator[Device]:
    """A device that runs release 2 in slot B."""
    device = bench.device("rauc")
    with device:
        assert device.wait_until_up() == "A"
        assert device.update(bench.release(2))[0] is None
        assert device.wait_until_up() == "B"
        yield device
    device.scrap()


def bundled(
    bench: Bench, target: Path, pair: Pair, archive: Path | None = None, compatible: str = "qemuarm", build: str = "999"
) -> None:
    """A bundle as the owner of this key would make it."""
    content = target.with_suffix(".content")
    content.mkdir()
    (content / "rootfs.tar.gz").write_bytes((archive or bench.release(2).archive).read_bytes())
    manifest = f"[update]\ncompatible={compatible}\nversion=1\nbuild={build}\n\n[bundle]\nformat=verity\n\n"
    (content / "manifest.raucm").write_text(manifest + "[image.rootfs]\nfilename=rootfs.tar.gz\n")
    command = ["rauc", "bundle", f"--cert={pair.cert}", f"--key={pair.key}", str(content), str(target)]
    subprocess.run(command, check=True, capture_output=True)


def unsigned(bench: Bench, path: Path) -> None:
    path.write_bytes(bench.release(2).archive.read_bytes())


def by_another_owner(bench: Bench, path: Path) -> None:
    bundled(bench, path, keys.make(bench.folder, "somebody"))


def for_another_board(bench: Bench, path: Path) -> None:
    bundled(bench, path, bench.pair, compatible="another-board")


def older(bench: Bench, path: Path) -> None:
    archive = path.with_suffix(".tar.gz")
    tamper.older_version(bench.release(2).archive, archive)
    bundled(bench, path, bench.pair, archive, build="0")


def flipped_bit(bench: Bench, path: Path) -> None:
    tamper.flipped_bit(bench.release(2).image, path)


def truncated(bench: Bench, path: Path) -> None:
    tamper.truncated(bench.release(2).image, path)


REFUSALS = [
    pytest.param(flipped_bit, 5, "not a valid image", id="flipped bit"),
    pytest.param(truncated, 5, "not a valid image", id="truncated", marks=pytest.mark.long),
    pytest.param(unsigned, 10, "not signed", id="unsigned", marks=pytest.mark.long),
    pytest.param(by_another_owner, 11, "signer not trusted", id="another owner", marks=pytest.mark.long),
    pytest.param(for_another_board, 6, "other hardware", id="another board", marks=pytest.mark.long),
    pytest.param(older, 8, "older than running", id="older", marks=pytest.mark.long),
]


@pytest.mark.parametrize(("make", "status", "words"), REFUSALS)
def test_a_bundle_that_must_not_be_installed_is_refused_with_the_reason(
    bench: Bench, updated: Device, make: Callable[[Bench, Path], None], status: int, words: str
) -> None:
    before = protected_state(updated)
    bad = bench.tampered(make.__name__, lambda path: make(bench, path), "999")
    found, output = updated.update(bad)
    assert found == status, output
    told = outcome.parse((updated.read_file("/afero_nv/reboot_reason") or b"").decode())
    assert told and (told.code, told.detail) == (status, words), output
    assert protected_state(updated) == before
    assert "rauc" not in updated.command("cat /proc/mounts")
    updated.check("B", bench.release(2), user_data=False)


def test_a_device_goes_from_the_factory_to_b_and_back_to_a(bench: Bench, updated: Device) -> None:
    release: Release = bench.release(3)
    updated.check("B", bench.release(2), user_data=False)
    status, output = updated.update(release)
    assert status is None, output
    assert updated.wait_until_up() == "A"
    updated.check("A", release, user_data=False)
    assert updated.reported_version() == release.version_number


# a 32-bit system's clock ends in 2038
@pytest.mark.long
@pytest.mark.parametrize("date", ["1970-01-02", "2037-01-01"], ids=["never set", "after the certificate expired"])
def test_a_clock_that_is_wrong_does_not_matter(bench: Bench, date: str) -> None:
    release = bench.release(2)
    device = bench.device("clock")
    with device:
        assert device.wait_until_up() == "A"
        device.command(f"date -s '{date} 00:00'")
        status, output = device.update(release)
        assert status is None, output
        assert device.wait_until_up() == "B"
        device.check("B", release)
    device.scrap()
