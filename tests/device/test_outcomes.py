# SPDX-License-Identifier: MIT
"""What the device tells the cloud about an update (attribute 65019): a line for every exit status and every way back.

Also that power cuts cannot take a confirmed system away.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

import tamper
from afero_ota import outcome
from afero_ota.outcome import Kind
from bench import Bench
from rehearsal.board import disk
from rehearsal.board.device import Device
from rehearsal.board.releases import Release
from shell_bench import FILES

SETTINGS = "./etc/afero-ota/sysupgrade.conf"
WORDS = {int(status): words for status, words in re.findall(r'(\d+)\) echo "(.+)"', (FILES / "outcome.sh").read_text())}
_OWNER = "$(readlink /run/afero-ota/lock | cut -d : -f 1)"


def told(device: Device) -> str:
    """The text that attrd would send."""
    return (device.read_file("/afero_nv/reboot_reason") or b"").decode()


def history(device: Device) -> list[str]:
    """The lines of the history, without their times and details."""
    lines = (device.read_file("/data/afero-ota/history") or b"").decode().splitlines()
    return [re.sub(r"^\S+ (.*?)(?: \(.*\))?$", r"\1", line) for line in lines]


# ---- exit statuses ---------------------------------------------------------------------------------------------------

SIGNER_NOT_TRUSTED = 11  # RAUC's alone, in test_rauc
# exit status: the defect of the image; whether the device can know its version; what goes wrong on the device meanwhile
# (a command before sysupgrade, and one that undoes it)
CASES: dict[int, tuple[tamper.Defect | None, bool, str, str]] = {
    2: (None, False, "rm /tmp/ota_type_5.img", ""),
    3: (
        None,
        True,
        "(/sbin/sysupgrade /tmp/ota_type_5.img >/dev/null 2>&1 &); until [ -L /run/afero-ota/lock ]; do usleep 50000; done; "
        f"kill -STOP {_OWNER}",
        f"kill -KILL {_OWNER}",
    ),
    4: (None, True, f"fw_setenv AFERO_OTA_TRYING {'f' * 64}", "fw_setenv AFERO_OTA_TRYING"),
    5: (tamper.not_an_archive, False, "", ""),
    6: (tamper.foreign_machine, True, "", ""),
    7: (tamper.too_large, True, "", ""),
    8: (tamper.older_version, True, "", ""),
    9: (
        None,
        True,
        "sha256sum /tmp/ota_type_5.img | cut -c 1-64 > /data/afero-ota/rolled-back",
        "rm /data/afero-ota/rolled-back",
    ),
    10: (None, True, "echo rauc > /etc/afero-ota/engine", "echo tar > /etc/afero-ota/engine"),
    20: (None, True, f"(until grep -q p3 /proc/mounts; do usleep 50000; done; kill -TERM {_OWNER}) & :", ""),
    21: (tamper.file_that_differs_from_the_manifest, True, "", ""),
    # once the image is being checked, the environment has been read
    22: (
        None,
        True,
        "(until [ -e /run/afero-ota/*/new ]; do usleep 50000; done; sed -i s/mmcblk0/nothing/ /etc/fw_env.config) & :",
        "sed -i s/nothing/mmcblk0/ /etc/fw_env.config",
    ),
}


@pytest.mark.long
@pytest.mark.only("busybox", "tar")  # with a read-only root, the engine cannot be changed
def test_every_exit_status_is_told_to_the_cloud_and_kept_in_the_history(bench: Bench, device: Device) -> None:
    assert {*CASES, SIGNER_NOT_TRUSTED} == set(WORDS)
    good, lines = bench.release(2), []
    for status, (defect, known, before, after) in CASES.items():
        image = bench.tampered(defect.__name__, tampering(good, defect), "") if defect else good
        device.deliver(image.image, image.header)
        device.command(before or ":")
        found, output = device.wait_for_sysupgrade(device.start_sysupgrade())
        assert found == status, output
        version = 0 if status == 8 else int(good.version_number)
        kind = Kind.REFUSED if status < 20 else Kind.FAILED
        lines.append(outcome.line(kind, version if known else None, status, WORDS[status]))
        assert told(device) == lines[-1]
        device.command(after or ":")
    assert history(device) == lines
    # and nothing of all this keeps a good image from being installed
    assert device.update(good)[0] is None
    assert device.wait_until_up() == "B"
    device.check("B", good)
    version = int(good.version_number)
    lines += [outcome.line(Kind.RESTARTED, version, detail=outcome.NOT_CONFIRMED), outcome.line(Kind.OK, version)]
    assert (told(device), history(device)) == (lines[-1], lines)


def tampering(good: Release, defect: tamper.Defect) -> Callable[[Path], None]:
    return lambda path: defect(good.image, path)


def test_refused_then_interrupted_then_ok(bench: Bench, device: Device) -> None:
    good = bench.release(2)
    damaged = bench.tampered("flipped", tampering(good, tamper.flipped_bit), "9")
    assert device.update(damaged)[0] == 5
    found = outcome.parse(told(device))
    assert found and (found.kind, found.code, found.detail) == (Kind.REFUSED, 5, "not a valid image")

    device.deliver(good.image, good.header)
    device.start_sysupgrade()
    device.expect(r"sysupgrade: .*unpacking")
    device.cut()
    device.power_on()
    assert device.wait_until_up() == "A"
    assert told(device) == outcome.line(Kind.FAILED, int(good.version_number), 20, "interrupted")

    assert device.update(good)[0] is None
    assert device.wait_until_up() == "B"
    assert told(device) == outcome.line(Kind.OK, int(good.version_number))
    assert "afero_ota.trial=1" in device.command("cat /proc/cmdline")
    assert [line.split()[2].strip(",") for line in history(device)] == ["refused", "failed", "restarted", "ok"]


# ---- ways back; a failed health check, a panic, a hang and a kernel that does not load are in test_rollback ----------


def check_way_back(device: Device, bench: Bench, why: str, starts: int) -> None:
    """The old system is back and tells why; the history has what each of the new system's starts said."""
    version = int(bench.release(2).version_number)
    device.expect(r"afero-ota: starting slot A", 300)
    assert device.wait_until_up() == "A"
    assert told(device) == outcome.line(Kind.ROLLED_BACK, version, detail=why)
    restarted = outcome.line(Kind.RESTARTED, version, detail=why)
    switched = outcome.line(Kind.RESTARTED, version, detail=outcome.NOT_CONFIRMED)
    assert history(device) == [switched, *[restarted] * starts, told(device)]
    device.check("A", bench.release(1), factory=True)


@pytest.mark.long
@pytest.mark.only("tar")  # in a bundle it is the same archive
@pytest.mark.parametrize(
    ("file", "change", "why"),
    [
        (
            "./etc/fw_env.config",
            lambda text: b"/dev/mmcblk0 0x300000 0x4000\n/dev/mmcblk0 0x310000 0x4000\n",
            "environment unusable",
        ),
        (SETTINGS, lambda text: text + b"SLOT_A=/dev/elsewhere\n", "slots unknown"),
    ],
    ids=["environment", "slots"],
)
def test_a_new_system_that_cannot_be_confirmed_goes_back_and_says_why(
    bench: Bench, device: Device, file: str, change: tamper.Content, why: str
) -> None:
    good = bench.release(2)
    bad = bench.tampered("bad", lambda path: tamper.rewrite(good.image, path, {file: change}), "")
    assert device.update(bad)[0] is None
    check_way_back(device, bench, why, 3)


@pytest.mark.long
@pytest.mark.only("busybox", "tar")  # with systemd, the timer itself is tested with the fault "stuck"
def test_a_new_system_that_the_timer_restarts_goes_back_and_says_so(bench: Bench, device: Device) -> None:
    good = bench.release(2)
    endless = tamper.member("./etc/afero-ota/health.d/endless", mode=0o755), b"#!/bin/sh\nsleep 1000\n"
    patient = {SETTINGS: lambda text: text + b"HEALTH_TIMEOUT=900\n"}
    slow = bench.tampered("slow", lambda path: tamper.rewrite(good.image, path, patient, [endless]), "")
    assert device.update(slow)[0] is None
    for _ in range(3):
        device.expect(r"BENCH READY slot=B")
        device.send("/usr/sbin/afero-ota-confirm --or-restart")
        device.expect(r"\nU-Boot 20\d\d")
    check_way_back(device, bench, outcome.NOT_CONFIRMED, 3)


@pytest.mark.long
def test_a_new_system_whose_starts_are_all_cut_goes_back_without_a_word(bench: Bench, device: Device) -> None:
    assert device.update(bench.release(2))[0] is None
    for _ in range(3):
        device.expect(r"afero-ota: starting slot B")
        device.expect(r"Starting kernel")
        device.cut()
        device.power_on()
    check_way_back(device, bench, outcome.NOT_CONFIRMED, 0)
    # it may have been good
    assert device.update(bench.release(2))[0] is None
    assert device.wait_until_up() == "B"


@pytest.mark.long
@pytest.mark.only("busybox")  # with a read-only root, nothing can damage the kernel
def test_a_confirmed_system_that_cannot_be_loaded_any_more_is_told_by_the_other_one(
    bench: Bench, device: Device
) -> None:
    assert device.update(bench.release(2))[0] is None
    assert device.wait_until_up() == "B"
    device.command("echo damaged > /boot/zImage; sync")
    device.cut()
    device.power_on()
    device.expect(r"afero-ota: starting slot A", 300)
    assert device.wait_until_up() == "A"
    assert told(device) == outcome.line(Kind.ROLLED_BACK, None, detail="slot B does not start")


def test_many_short_starts_do_not_take_a_confirmed_system_away(bench: Bench, device: Device) -> None:
    release = bench.release(2)
    assert device.update(release)[0] is None
    assert device.wait_until_up() == "B"
    before = disk.environment(device.disk)
    for _ in range(5):
        device.cut()
        device.power_on()
        device.expect(r"afero-ota: starting slot B")
        device.expect(r"Starting kernel")
    device.cut()
    device.power_on()
    assert device.wait_until_up() == "B"
    device.check("B", release)
    assert disk.environment(device.disk) == before
