# SPDX-License-Identifier: MIT
"""What the scripts tell the cloud: one line for every exit status and every way back, read by the client's own decoder."""

from __future__ import annotations

import gzip
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import keys
from afero_ota import outcome, slot
from afero_ota.outcome import Kind
from shell_bench import (
    CONFIRMED,
    FILES,
    GUARD,
    ON_TRIAL,
    Hub,
    archive_of,
    bundle,
    changed,
    confirm,
    hold_the_lock,
    image_of,
    make_tree,
    needs_root,
    owned_by,
)

pytestmark = needs_root
Prepare = Callable[[Hub, bytes, Path], "bytes | None"]


def reason(hub: Hub) -> outcome.Outcome:
    """What attrd would send."""
    text = (hub.root / "data/afero_nv/reboot_reason").read_bytes()
    assert len(text) <= outcome.LINE_LIMIT and b"\n" not in text, text
    found = outcome.parse(text.decode())
    assert found
    return found


def history(hub: Hub) -> list[str]:
    return (hub.root / "data/afero-ota/history").read_text().splitlines()


def not_confirmed(hub: Hub, good: bytes, folder: Path) -> bytes:
    hub.set_env(AFERO_OTA_TRYING="f" * 64)
    return good


def for_other_hardware(hub: Hub, good: bytes, folder: Path) -> bytes:
    return image_of(folder, compatible="toaster")


def too_large(hub: Hub, good: bytes, folder: Path) -> bytes:
    make_tree(folder / "large")
    with (folder / "large/usr/lib/large").open("wb") as stream:
        stream.truncate(44 << 20)
    slot.write_contents(str(folder / "large"))
    archive_of(folder / "large", folder / "large.tar")
    return gzip.compress((folder / "large.tar").read_bytes(), 1)


def rolled_back_before(hub: Hub, good: bytes, folder: Path) -> bytes:
    hub.put("good.img", good)
    _, said = hub.inside("sha256sum /good.img")
    hub.put("data/afero-ota/rolled-back", said.split()[0] + "\n")
    return good


def kept_file_that_cannot_be_copied(hub: Hub, good: bytes, folder: Path) -> bytes:
    hub.put("etc/ssh/key", "x")
    (hub.root / "bin/cp").unlink()
    hub.put("bin/cp", '#!/bin/sh\ncase $1 in -a) exit 1 ;; esac\nexec /bin/busybox cp "$@"\n', 0o755)
    return good


def other_contents(hub: Hub, good: bytes, folder: Path) -> bytes:
    make_tree(folder / "tree")
    slot.write_contents(str(folder / "tree"))
    (folder / "tree/usr/lib/name with blanks").write_text("y")
    archive_of(folder / "tree", folder / "content.tar")
    return (folder / "content.tar").read_bytes()


def no_environment(hub: Hub, good: bytes, folder: Path) -> bytes:
    hub.put("usr/bin/fw_setenv", "#!/bin/sh\nexit 1\n", 0o755)
    return good


def not_signed(hub: Hub, good: bytes, folder: Path) -> bytes:
    owned_by(hub, keys.make(folder, "release"))
    return good


def signed_by_somebody(hub: Hub, good: bytes, folder: Path) -> bytes:
    owned_by(hub, keys.make(folder, "release"))
    return bundle(folder, good, keys.make(folder, "somebody"))


def at_work(hub: Hub, good: bytes, folder: Path) -> bytes:
    hold_the_lock(hub)
    return good


STATUSES: dict[int, tuple[Kind, str, int | None, Prepare]] = {
    2: (Kind.REFUSED, "no image file", None, lambda hub, good, folder: None),
    3: (Kind.REFUSED, "another update at work", 101, at_work),
    4: (Kind.REFUSED, "device not ready", 101, not_confirmed),
    5: (Kind.REFUSED, "not a valid image", None, lambda hub, good, folder: os.urandom(9000)),
    6: (Kind.REFUSED, "other hardware", 101, for_other_hardware),
    7: (Kind.REFUSED, "does not fit", 101, too_large),
    8: (Kind.REFUSED, "older than running", 99, lambda hub, good, folder: image_of(folder, number="99")),
    9: (Kind.REFUSED, "rolled back before", 101, rolled_back_before),
    10: (Kind.REFUSED, "not signed", 101, not_signed),
    11: (Kind.REFUSED, "signer not trusted", 101, signed_by_somebody),
    20: (Kind.FAILED, "slot not written", 101, kept_file_that_cannot_be_copied),
    21: (Kind.FAILED, "contents differ", 101, other_contents),
    22: (Kind.FAILED, "environment not written", 101, no_environment),
}


def test_every_exit_status_in_the_manual_has_a_line(hub: Hub) -> None:
    manual = (hub.root / "sbin/sysupgrade").read_text().split("# Exit status:")[1].split("TAG=")[0]
    assert {int(status) for status in re.findall(r"(?m)^# +(\d+)  ", manual)} == {0, *STATUSES}


@pytest.mark.parametrize("status", STATUSES)
def test_every_exit_status_is_told_to_the_cloud(hub: Hub, good: bytes, tmp_path: Path, status: int) -> None:
    kind, words, version, prepare = STATUSES[status]
    hub.put("data/afero_nv/reboot_reason", "full_ota")
    found, said = hub.upgrade(prepare(hub, good, tmp_path))
    assert found == status, said
    told = reason(hub)
    assert (told.kind, told.version_number, told.code, told.detail) == (kind, version, status, words), told
    assert outcome.line(kind, version, status, words) == told.text
    (line,) = history(hub)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ " + re.escape(told.text) + r" \(.+\)", line), line
    assert sorted(path.name for path in (hub.root / "data/afero_nv").iterdir()) == ["reboot_reason"]


def test_an_update_is_on_trial_and_then_ok(hub: Hub, good: bytes) -> None:
    status, said = hub.upgrade(good)
    assert status == 0, said
    assert reason(hub).text == outcome.line(Kind.RESTARTED, 101, detail=outcome.NOT_CONFIRMED)
    assert hub.env()["AFERO_OTA_TRYING_VERSION"] == "101"
    # the new system, in the place of the old one
    hub.set_env(BOOT_ORDER="A B", AFERO_OTA_CONFIRMED="B")
    hub.put("etc/full-ota-record.json", '{"versionNumber": "101"}')
    assert confirm(hub)[0] == 0
    assert reason(hub).text == outcome.line(Kind.OK, 101)
    assert "AFERO_OTA_TRYING_VERSION" not in hub.env()
    # said once
    hub.put("data/afero_nv/reboot_reason", "reboot")
    assert confirm(hub)[0] == 0
    assert reason(hub).text == "reboot"


def fails_its_health_check(hub: Hub) -> str:
    hub.put("etc/afero-ota/health.d/hubby", "#!/bin/sh\nexit 1\n", 0o755)
    hub.settings("HEALTH_TIMEOUT=1\n")
    return "/usr/sbin/afero-ota-confirm"


def is_not_confirmed_in_time(hub: Hub) -> str:
    return GUARD


def cannot_use_the_environment(hub: Hub) -> str:
    (hub.root / "usr/bin/fw_setenv").rename(hub.root / "usr/bin/fw_setenv.away")
    return "/usr/sbin/afero-ota-confirm"


def does_not_know_its_slots(hub: Hub) -> str:
    hub.put(
        "usr/lib/afero-ota/settings.sh", (hub.root / "usr/lib/afero-ota/settings.sh").read_text() + "SLOT_A=/dev/x\n"
    )
    return "/usr/sbin/afero-ota-confirm"


WAYS_BACK = [
    (does_not_know_its_slots, "slots unknown"),
    (fails_its_health_check, "health hubby"),
    (is_not_confirmed_in_time, "not confirmed"),
    (cannot_use_the_environment, "environment unusable"),
]


@pytest.mark.parametrize(("fault", "why"), WAYS_BACK, ids=[why for _, why in WAYS_BACK])
def test_every_way_back_is_told_by_both_systems(hub: Hub, fault: Callable[[Hub], str], why: str) -> None:
    """The bench has one root: first it plays the new system, then the old one."""
    new = "c" * 64
    hub.set_env(AFERO_OTA_TRYING=new, AFERO_OTA_TRYING_VERSION=7112, AFERO_OTA_CONFIRMED="B", BOOT_A_LEFT=0)
    hub.put("etc/full-ota-record.json", '{"versionNumber": "7112"}')
    hub.put("etc/afero-ota/complete", new + "\n")
    hub.put("var/log/messages", "a line of the log\n" * 5000)
    hub.put("cmdline", ON_TRIAL)
    hub.inside(fault(hub))
    assert (hub.root / "rebooted").exists()
    assert reason(hub).text == outcome.line(Kind.RESTARTED, 7112, detail=why)
    log = (hub.root / "data/afero-ota/failed-boot.log").read_text()
    assert (
        "a line of the log" in log
        and f"slot A: {why}" in log
        and "afero-ota-confirm: slot A" in log
        and len(log) <= 16384
    )
    # the old one
    shutil.copy(FILES / "settings.sh", hub.root / "usr/lib/afero-ota/settings.sh")
    if (hub.root / "usr/bin/fw_setenv.away").exists():
        (hub.root / "usr/bin/fw_setenv.away").rename(hub.root / "usr/bin/fw_setenv")
    hub.put("cmdline", CONFIRMED)
    hub.set_env(BOOT_ORDER="B A", BOOT_A_LEFT=3, BOOT_B_LEFT=0, AFERO_OTA_CONFIRMED="A")
    assert confirm(hub)[0] == 0
    told = reason(hub)
    assert (told.text, told.failed) == (outcome.line(Kind.ROLLED_BACK, 7112, detail=why), True)
    assert (hub.root / "data/afero-ota/rolled-back").read_text() == new + "\n"
    assert hub.env()["AFERO_OTA_REFUSED"] == new


def goes_back_without_a_word(hub: Hub) -> str:
    hub.set_env(BOOT_ORDER="B A", BOOT_B_LEFT=0, AFERO_OTA_TRYING="d" * 64, AFERO_OTA_TRYING_VERSION=7112)
    status, said = confirm(hub)
    assert status == 0, said
    assert reason(hub).text == outcome.line(Kind.ROLLED_BACK, 7112, detail=outcome.NOT_CONFIRMED)
    return hub.env().get("AFERO_OTA_REFUSED", "")


def test_an_image_that_went_back_without_a_word_gets_a_second_chance_and_no_third(hub: Hub) -> None:
    """It may have been good, and the power was cut three times."""
    assert goes_back_without_a_word(hub) == ""
    assert not (hub.root / "data/afero-ota/rolled-back").exists()
    assert goes_back_without_a_word(hub) == "d" * 64
    assert (hub.root / "data/afero-ota/rolled-back").read_text() == "d" * 64 + "\n"


def test_a_confirmed_system_that_cannot_be_loaded_is_reported(hub: Hub) -> None:
    hub.set_env(BOOT_ORDER="B A", BOOT_B_LEFT=0, BOOT_A_LEFT=2)
    assert confirm(hub)[0] == 0
    assert reason(hub).text == outcome.line(Kind.ROLLED_BACK, None, detail="slot B does not start")


@pytest.mark.parametrize("known", [True, False], ids=["version known", "before the version was known"])
def test_an_update_that_a_power_cut_ended_is_told_at_the_next_start(hub: Hub, known: bool) -> None:
    hub.put("data/afero_nv/reboot_reason", "full_ota")
    if known:
        hub.put("data/afero-ota/installing", "7112\n")
    assert confirm(hub)[0] == 0
    assert reason(hub).text == outcome.line(Kind.FAILED, 7112 if known else None, 20, "interrupted")
    assert confirm(hub)[0] == 0
    assert len(history(hub)) == 1


def test_the_history_has_the_last_twenty(hub: Hub) -> None:
    hub.put("data/afero-ota/history", "".join(f"{number}\n" for number in range(30)))
    assert hub.upgrade(b"")[0] == 5
    lines = history(hub)
    assert lines[:-1] == [str(number) for number in range(11, 30)]
    assert "refused 5" in lines[-1]


@pytest.mark.parametrize("name", ["a" * 200, "\x1b[31mred", "ümlaut"])
def test_a_line_is_never_longer_than_attrd_can_take(hub: Hub, name: str) -> None:
    hub.put(f"etc/afero-ota/health.d/{name}", "#!/bin/sh\nexit 1\n", 0o755)
    hub.settings("HEALTH_TIMEOUT=1\n")
    hub.put("etc/full-ota-record.json", '{"versionNumber": "9223372036854775807"}')
    hub.set_env(AFERO_OTA_TRYING="a" * 64)
    confirm(hub)
    told = reason(hub)
    assert (told.kind, told.version_number) == (Kind.RESTARTED, 9223372036854775807)
    assert told.text.isprintable() and told.text.isascii()


def test_an_update_goes_through_where_nothing_can_be_reported(hub: Hub, good: bytes) -> None:
    mounts = "mount -t tmpfs -o size=4k tmpfs data && dd if=/dev/zero of=data/full bs=4k count=2 2>/dev/null; true"
    status, said = hub.upgrade(good, before=mounts)
    assert status == 0, said
    (hub.root / "afero_nv").unlink()
    hub.set_env(BOOT_ORDER="A B", AFERO_OTA_TRYING="")
    status, said = hub.upgrade(changed(good, {"./etc/afero-ota/compatible": lambda text: b"toaster\n"}), before=mounts)
    assert status == 6, said


# ---- settings --------------------------------------------------------------------------------------------------------

SETTINGS = [
    ("HEALTH_TIMEUOT=5", "'HEALTH_TIMEUOT' is no setting"),
    ("TRIES = 5", "'TRIES = 5' is no setting"),
    ("TRIES=10", "TRIES='10' is no whole number from 1 to 9, so 3 is used"),
    ("TRIES=three", "TRIES='three' is no whole number"),
    ("HEALTH_TIMEOUT=-1", "HEALTH_TIMEOUT='-1' is no whole number"),
    ("FREE_IMAGE=yes", "FREE_IMAGE='yes' is no whole number from 0 to 1"),
    ("DATA_DIR=data", "DATA_DIR='data' is no absolute path, so /data is used"),
    ("REBOOT=rebot", "REBOOT='rebot' is no program, so reboot is used"),
    ("ALLOW_LOCAL=true", "ALLOW_LOCAL='true' is no whole number from 0 to 1"),
    ("MKFS_OPTIONS=-E nodiscard", "nodiscard: not found"),
    ("exit 1", "it ends the shell that reads it, so none of it is used"),
    ("TRIES=${OOPS?}", "it ends the shell that reads it, so none of it is used"),
    ('MKFS_OPTIONS="-E x', "it cannot be read as a shell script, so none of it is used"),
]


@pytest.mark.parametrize(("line", "fault"), SETTINGS, ids=[line for line, _ in SETTINGS])
def test_a_setting_that_cannot_be_used_is_said_and_stops_nothing(hub: Hub, line: str, fault: str) -> None:
    hub.settings(line + "\n")
    status, said = confirm(hub)
    complaint = rf"sysupgrade\.conf: .*{re.escape(fault)}"
    assert re.search(complaint, said), said
    # the bench's slots are known from this file only
    assert status == (1 if "none of it is used" in fault else 0), said
    _, said = hub.upgrade(b"x")
    assert re.search(complaint, said), said


def test_the_settings_that_the_file_explains_are_those_that_exist(hub: Hub) -> None:
    explained = re.findall(r"(?m)^#([A-Z_]+)=", (hub.root / "etc/afero-ota/sysupgrade.conf").read_text())
    hub.settings("".join(f"{name}=${name}\n" for name in explained))
    status, said = confirm(hub)
    assert (status, "is no setting" in said) == (0, False), said
    listed = re.search(r'(?m)^SETTINGS="(.*)"$', (hub.root / "usr/lib/afero-ota/settings.sh").read_text())
    assert listed and sorted(listed[1].split()) == sorted(explained)
