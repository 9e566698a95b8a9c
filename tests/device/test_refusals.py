# SPDX-License-Identifier: MIT
"""Images that must not be installed are refused with a reason, and the device stays exactly as it was."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

import tamper
from afero_ota import outcome
from bench import Bench
from rehearsal.board import disk
from rehearsal.board.device import Device

# defect, exit status, part of the reason
IN_THE_NORMAL_RUN = [
    (tamper.flipped_bit, 5, "intact"),
    (tamper.foreign_machine, 6, "another-board"),
    (tamper.older_version, 8, "older"),
    (tamper.path_through_a_link, 5, "no directory"),
]
IN_THE_LONG_RUN = [
    (tamper.truncated, 5, "intact"),
    (tamper.empty, 5, "empty"),
    (tamper.not_an_archive, 5, "neither"),
    (tamper.too_large, 7, ""),
    (tamper.manifest_with_another_hash, 5, "manifest"),
    (tamper.header_in_the_image, 5, "only sysupgrade may write"),
    (tamper.marker_in_the_image, 5, "only sysupgrade may write"),
    (tamper.path_traversal, 5, "a name that"),
    (tamper.absolute_path, 5, "a name that"),
    (tamper.hard_link_to_the_outside, 5, "hard link"),
    (tamper.device_node, 5, "device node"),
]
REFUSALS = [
    *(pytest.param(*refusal, id=refusal[0].__name__) for refusal in IN_THE_NORMAL_RUN),
    *(pytest.param(*refusal, id=refusal[0].__name__, marks=pytest.mark.long) for refusal in IN_THE_LONG_RUN),
]


@pytest.fixture(scope="module")
def updated(bench: Bench) -> Iterator[Device]:
    """A device that runs release 2 in slot B, before and after each refusal."""
    device = bench.device("refusals")
    with device:
        assert device.wait_until_up() == "A"
        assert device.update(bench.release(2))[0] is None
        assert device.wait_until_up() == "B"
        yield device
    device.scrap()


def protected_state(device: Device) -> dict[str, str]:
    """Hashes of what no refusal may change: the environment's sectors, and every byte of the other slot."""
    device.command("sync")
    with device.disk.open("rb") as stream:
        ranges = [(offset, disk.ENVIRONMENT_SIZE) for offset in disk.ENVIRONMENTS]
        ranges.append(disk.partitions(device.disk)[disk.SLOTS["A"] - 1])
        found = {}
        for offset, size in ranges:
            stream.seek(offset)
            found[f"{size} bytes at {offset:#x}"] = hashlib.sha256(stream.read(size)).hexdigest()
    return found


@pytest.mark.only("tar")  # the refusals of bundles are in test_rauc.py
@pytest.mark.parametrize(("make", "status", "reason"), REFUSALS)
def test_a_bad_image_is_refused_and_nothing_is_touched(
    bench: Bench, updated: Device, make: tamper.Defect, status: int, reason: str
) -> None:
    good, before = bench.release(2), protected_state(updated)
    bad = bench.tampered(make.__name__, lambda path: make(good.image, path), "9")
    found, output = updated.update(bad)
    assert found == status, output
    assert "REFUSED" in output and reason in output
    told = outcome.parse((updated.read_file("/afero_nv/reboot_reason") or b"").decode())
    assert told and (told.kind, told.code) == (outcome.Kind.REFUSED, status)
    assert protected_state(updated) == before
    updated.check("B", good)
    assert updated.reported_version() == good.version_number


@pytest.mark.long
def test_an_image_without_its_header_is_refused(bench: Bench, updated: Device) -> None:
    good, before = bench.release(2), protected_state(updated)
    updated.deliver(good.image, None)
    found, output = updated.wait_for_sysupgrade(updated.start_sysupgrade())
    assert found == 5 and "header" in output
    assert protected_state(updated) == before
    updated.check("B", good)


@pytest.mark.long
@pytest.mark.only("tar")  # in a bundle it is the same archive
@pytest.mark.parametrize(
    "make",
    [tamper.file_that_differs_from_the_manifest, tamper.mode_that_differs_from_the_listing],
    ids=lambda make: make.__name__,
)
def test_the_written_slot_is_compared_with_the_manifest(bench: Bench, device: Device, make: tamper.Defect) -> None:
    """Noticed only after writing: the other slot is disabled, the running one stays as it is."""
    good = bench.release(1)
    found, output = device.update(bench.tampered(make.__name__, lambda path: make(good.image, path), "9"))
    assert found == 21, output
    told = outcome.parse((device.read_file("/afero_nv/reboot_reason") or b"").decode())
    assert told and (told.kind, told.code) == (outcome.Kind.FAILED, 21)
    device.check("A", good, factory=True)
    environment = disk.environment(device.disk)
    assert (environment["BOOT_ORDER"], environment["BOOT_B_LEFT"]) == ("A", "0")
    assert "/etc/afero-ota/complete" not in disk.tree_of_partition(device.disk, disk.SLOTS["B"])
    # a good update is still possible
    assert device.update(bench.release(2))[0] is None
    assert device.wait_until_up() == "B"
    device.check("B", bench.release(2))


@pytest.mark.long
def test_an_older_version_is_installed_if_allowed(bench: Bench, device: Device) -> None:
    newer, older = bench.release(3), bench.release(2)
    assert device.update(newer)[0] is None
    assert device.wait_until_up() == "B"
    assert device.update(older)[0] == 8
    device.command("mkdir -p /data/afero-ota && touch /data/afero-ota/allow-downgrade")
    assert device.update(older)[0] is None
    assert device.wait_until_up() == "A"
    device.check("A", older)
    # the permission is for one update
    assert device.try_command("test -e /data/afero-ota/allow-downgrade")[0] == 1


@pytest.mark.long
def test_a_second_sysupgrade_at_the_same_time_is_refused(bench: Bench, device: Device) -> None:
    release = bench.release(2)
    device.deliver(release.image, release.header)
    first = device.start_command(
        "/sbin/sysupgrade /tmp/ota_type_5.img & sleep 1; /sbin/sysupgrade /tmp/ota_type_5.img; echo second=$?; wait"
    )
    assert device.expect(r"second=(\d+)\n").group(1) == "3"
    assert device.wait_for_sysupgrade(first)[0] is None
    assert device.wait_until_up() == "B"
    device.check("B", release)
