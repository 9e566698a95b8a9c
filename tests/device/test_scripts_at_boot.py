# SPDX-License-Identifier: MIT
"""What runs at boot, on the bench for the scripts: the confirm step and its timer, version header, data partition, watchdog."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Callable

import pytest

from shell_bench import CONFIRMED, GUARD, NAME, OLD_HEADER, ON_TRIAL, Hub, confirm, flipped, needs_root

pytestmark = needs_root


# ---- the confirm step ------------------------------------------------------------------------------------------------


def test_a_start_that_was_counted_is_confirmed_in_one_write_and_later_ones_write_nothing(hub: Hub) -> None:
    hub.set_env(BOOT_A_LEFT=2)
    hub.put("etc/afero-ota/health.d/90-never", "#!/bin/sh\nexit 1\n", 0o755)
    assert confirm(hub)[0] == 0
    assert (hub.env()["BOOT_A_LEFT"], hub.env()["AFERO_OTA_CONFIRMED"]) == ("3", "A")
    before = hub.state()[0]
    status, said = confirm(hub)
    assert (status, "slot A confirmed" in said) == (0, True), said
    assert hub.state()[0] == before


def test_a_new_system_is_confirmed_when_all_checks_pass_in_time(hub: Hub) -> None:
    hub.put("etc/afero-ota/health.d/10-later", "#!/bin/sh\necho >>/tries; [ $(wc -l </tries) -ge 3 ]\n", 0o755)
    hub.set_env(BOOT_A_LEFT=2, AFERO_OTA_TRYING="a" * 64)
    status, said = confirm(hub)
    assert status == 0, said
    env = hub.env()
    assert (env["BOOT_ORDER"], env["BOOT_A_LEFT"], "AFERO_OTA_TRYING" in env) == ("A B", "3", False)


@pytest.mark.parametrize("check", ["exit 1", "sleep 100"])
def test_a_new_system_that_fails_a_check_restarts_unconfirmed(hub: Hub, check: str) -> None:
    hub.put("etc/afero-ota/health.d/10-bad", f"#!/bin/sh\n{check}\n", 0o755)
    hub.settings("HEALTH_TIMEOUT=3\n")
    hub.set_env(BOOT_A_LEFT=2, AFERO_OTA_TRYING="a" * 64)
    before = hub.state()[0]
    _, said = confirm(hub)
    assert "health check 10-bad failed" in said
    assert (hub.root / "rebooted").exists()
    assert hub.state()[0] == before


def test_a_machine_id_that_systemd_made_in_memory_is_noted_once_for_all_later_starts(hub: Hub) -> None:
    in_memory = "cp etc/machine-id run/machine-id && mount --bind run/machine-id etc/machine-id"
    for machine_id in ("d" * 32, "e" * 32):
        hub.put("etc/machine-id", machine_id + "\n")
        hub.set_env(BOOT_A_LEFT=2)
        assert confirm(hub, in_memory)[0] == 0
        assert hub.env()["AFERO_OTA_MACHINE_ID"] == "d" * 32


def test_a_machine_id_of_the_slot_is_not_noted(hub: Hub) -> None:
    hub.put("etc/machine-id", "d" * 32 + "\n")
    hub.set_env(BOOT_A_LEFT=2)
    assert confirm(hub)[0] == 0
    assert "AFERO_OTA_MACHINE_ID" not in hub.env()


def rolled_back(hub: Hub, before: str = "") -> dict[str, str]:
    """Let the new system use up its attempts, and confirm the old one; returns U-Boot's environment after that."""
    hub.set_env(BOOT_ORDER="B A", BOOT_A_LEFT=2, BOOT_B_LEFT=0, AFERO_OTA_TRYING="b" * 64)
    status, said = confirm(hub, before)
    assert (status, "rolled back to slot A" in said) == (0, True), said
    env = hub.env()
    assert (env["BOOT_ORDER"], env["BOOT_A_LEFT"], env["BOOT_B_LEFT"]) == ("A", "3", "0")
    assert "AFERO_OTA_TRYING" not in env
    return env


def test_a_rollback_is_remembered_on_the_data_partition(hub: Hub) -> None:
    rolled_back(hub)
    rolled_back(hub)
    assert (hub.root / "data/afero-ota/rolled-back").read_text() == "b" * 64 + "\n"


@pytest.mark.parametrize("full", [False, True], ids=["data", "data full"])
def test_the_image_that_was_rolled_back_is_refused_the_next_time(hub: Hub, good: bytes, full: bool) -> None:
    status, said = hub.upgrade(good)
    assert status == 0, said
    hub.set_env(BOOT_B_LEFT=0)
    hub.put("data/afero-ota/failed", f"{hub.env()['AFERO_OTA_TRYING']} health 10-bad\n")
    mounts = (
        "mount -t tmpfs -o size=4k tmpfs data && dd if=/dev/zero of=data/full bs=4k count=2 2>/dev/null; true"
        if full
        else ""
    )
    status, said = confirm(hub, mounts)
    assert (status, "cannot be written" in said) == (0, full), said
    before = hub.state()
    status, said = hub.upgrade(good, before=mounts)
    assert (status, "did not come up" in said) == (9, True), said
    assert hub.state() == before
    # anything else is welcome
    assert hub.upgrade(gzip.compress(gzip.decompress(good), 9), before=mounts)[0] == 0


def restarts(hub: Hub, command: str) -> bool:
    """Whether the command restarts the device; its changes to the environment are undone."""
    environment = (hub.root / "env.img").read_bytes()
    hub.inside(command)
    (hub.root / "env.img").write_bytes(environment)
    shutil.rmtree(hub.root / "run/afero-ota", ignore_errors=True)
    found = (hub.root / "rebooted").exists()
    (hub.root / "rebooted").unlink(missing_ok=True)
    return found


def test_the_timer_restarts_only_a_new_system_that_is_not_confirmed(hub: Hub) -> None:
    assert not restarts(hub, GUARD)
    hub.set_env(AFERO_OTA_TRYING="a" * 64)
    assert restarts(hub, GUARD)
    # the old system, after the new one used up its tries
    hub.set_env(BOOT_ORDER="B A", BOOT_B_LEFT=0)
    assert not restarts(hub, GUARD)


def without_fw_setenv(hub: Hub) -> None:
    hub.set_env(AFERO_OTA_TRYING="a" * 64)
    (hub.root / "usr/bin/fw_setenv").unlink()


UNUSABLE: dict[str, Callable[[Hub], object]] = {
    "damaged": lambda hub: (hub.root / "env.img").write_bytes(os.urandom(0x10000)),
    "another place": lambda hub: hub.put("etc/fw_env.config", "/cmdline 0x0 0x4000\n/cmdline 0x8000 0x4000\n"),
    "another environment": lambda hub: None,
    "no fw_printenv": lambda hub: (hub.root / "usr/bin/fw_printenv").unlink(),
    "no fw_setenv": without_fw_setenv,
    "slots unknown": lambda hub: hub.settings("SLOT_A=/dev/elsewhere\n"),
}


@pytest.mark.parametrize("fault", UNUSABLE)
def test_a_new_system_that_cannot_be_confirmed_goes_back(hub: Hub, fault: str) -> None:
    UNUSABLE[fault](hub)
    hub.put("cmdline", ON_TRIAL)
    assert restarts(hub, "/usr/sbin/afero-ota-confirm")
    assert restarts(hub, GUARD)


@pytest.mark.parametrize("fault", UNUSABLE)
def test_a_confirmed_system_with_the_same_fault_keeps_running(hub: Hub, fault: str) -> None:
    hub.put("cmdline", CONFIRMED)
    UNUSABLE[fault](hub)
    if fault == "no fw_setenv":
        # the environment that it set up for a new system
        (hub.root / "env.img").write_bytes(os.urandom(0x10000))
    assert not restarts(hub, "/usr/sbin/afero-ota-confirm")
    assert not restarts(hub, GUARD)


def test_the_timer_does_not_restart_what_was_confirmed_in_this_boot(hub: Hub) -> None:
    hub.put("cmdline", ON_TRIAL)
    hub.set_env(AFERO_OTA_TRYING="a" * 64)
    assert confirm(hub)[0] == 0
    (hub.root / "env.img").write_bytes(os.urandom(0x10000))
    assert not restarts(hub, GUARD)


@pytest.mark.parametrize("listed", ["rolled-back", "environment", None])
def test_a_system_that_had_been_rolled_back_must_pass_its_checks_before_it_is_confirmed(
    hub: Hub, listed: str | None
) -> None:
    """Slot B, which was confirmed, can no longer be loaded: U-Boot has taken its confirmation away and starts A."""
    hub.put("etc/afero-ota/complete", "c" * 64 + "\n")
    hub.put("etc/afero-ota/health.d/90-bad", "#!/bin/sh\nexit 1\n", 0o755)
    hub.settings("HEALTH_TIMEOUT=1\n")
    hub.set_env(BOOT_ORDER="B A", BOOT_A_LEFT=2, BOOT_B_LEFT=0)
    if listed == "rolled-back":
        hub.put("data/afero-ota/rolled-back", "c" * 64 + "\n")
    elif listed == "environment":
        hub.set_env(AFERO_OTA_REFUSED="c" * 64)
    status, said = confirm(hub)
    assert ("health check 90-bad failed" in said, (hub.root / "rebooted").exists()) == (bool(listed),) * 2, said
    assert hub.env().get("AFERO_OTA_CONFIRMED") == (None if listed else "A")


# ---- header and data at boot -----------------------------------------------------------------------------------------


def test_headers_are_what_the_system_was_installed_with(hub: Hub) -> None:
    hub.put("etc/ota_type_9.hdr", "of an update that never was")
    hub.put(f"etc/.{NAME}.hdr.new", "of a run that was cut")
    assert hub.inside("afero-ota-header reconcile")[0] == 0
    assert hub.header() == OLD_HEADER
    assert not (hub.root / "etc/ota_type_9.hdr").exists()
    (hub.root / f"etc/{NAME}.hdr").unlink()
    assert hub.inside("afero-ota-header reconcile")[0] == 0
    assert hub.header() == OLD_HEADER
    assert sorted(path.name for path in (hub.root / "etc").iterdir() if "hdr" in path.name) == [f"{NAME}.hdr"]


def test_a_factory_system_has_no_header_and_an_update_that_fails_leaves_none(hub: Hub, good: bytes) -> None:
    (hub.root / f"etc/afero-ota/hdr/{NAME}.hdr").unlink()
    assert hub.upgrade(flipped(good))[0] == 5
    assert hub.header() is None


def test_a_read_only_system_with_a_wrong_header_says_so(hub: Hub) -> None:
    status, said = hub.inside("afero-ota-header reconcile", "mount --bind etc etc && mount -o remount,ro,bind etc")
    assert (status, "cannot be written" in said) == (1, True), said


def test_the_data_partition_gets_its_folders_and_the_factory_contents_once(hub: Hub) -> None:
    hub.put("usr/share/afero-ota/data/var/lib/hub/settings", "factory")
    mounts = "mount --bind data data"
    assert hub.inside("afero-ota-data", mounts)[0] == 0
    assert (hub.root / "data/afero_nv").is_dir()
    path = hub.root / "data/var/lib/hub/settings"
    assert path.read_text() == "factory"
    path.write_text("mine")
    assert hub.inside("afero-ota-data", mounts)[0] == 0
    assert path.read_text() == "mine"
    status, said = hub.inside("afero-ota-data")
    assert (status, "is not mounted" in said) == (1, True), said


def test_factory_contents_are_copied_as_a_whole_unless_their_name_is_taken(hub: Hub) -> None:
    hub.put("usr/share/afero-ota/data/apps/one/file", "factory")
    hub.put("usr/share/afero-ota/data/certificate", "factory")
    (hub.root / "usr/share/afero-ota/data/link").symlink_to("apps/one")
    hub.put("data/apps.new/half", "of a copy that a power cut ended")
    hub.put("data/certificate", "mine")
    for _ in range(2):
        status, said = hub.inside("afero-ota-data", "mount --bind data data")
        assert status == 0, said
        assert (hub.root / "data/apps/one/file").read_text() == "factory"
        assert (hub.root / "data/link").readlink().as_posix() == "apps/one"
        assert (hub.root / "data/certificate").read_text() == "mine"
        assert not list((hub.root / "data").rglob("*.new")) and not (hub.root / "data/apps/half").exists()
    # what was taken out of an entry does not come back
    (hub.root / "data/apps/one/file").unlink()
    assert hub.inside("afero-ota-data", "mount --bind data data") == (0, "")
    assert not (hub.root / "data/apps/one/file").exists()


def test_one_data_path_that_cannot_be_made_does_not_keep_the_others_from_being_made(hub: Hub) -> None:
    hub.put("etc/afero-ota/data-paths", "/file/below\n/afero_nv\n/var/lib/hub\n")
    hub.put("data/file", "in the way")
    status, said = hub.inside("afero-ota-data", "mount --bind data data")
    assert (status, "/data/file/below cannot be made" in said) == (1, True), said
    assert (hub.root / "data/afero_nv").is_dir() and (hub.root / "data/var/lib/hub").is_dir()


def test_the_watchdog_is_fed_where_there_is_one(hub: Hub) -> None:
    status, said = hub.inside("afero-ota-watchdog /dev/no-watchdog")
    assert (status, "a system that hangs is not restarted" in said) == (0, True), said
    ours, theirs = os.openpty()
    status, said = hub.inside(f"afero-ota-watchdog {os.ttyname(theirs)} & sleep 1; kill $!")
    assert (status, said) == (0, "")
    assert os.read(ours, 100) == b"."
    os.close(theirs)
    os.close(ours)
