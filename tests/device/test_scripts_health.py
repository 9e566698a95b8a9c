# SPDX-License-Identifier: MIT
"""The ready-made health checks, on the bench for the scripts; with systemd they are tested in QEMU."""

from __future__ import annotations

import pytest

from afero_ota import health
from shell_bench import Hub, needs_root

pytestmark = needs_root

# what is switched on; a command that makes it true, and one that makes it false; what is said then
CASES = {
    "process:sleep": ("sleep 100 &", "", "there is no process sleep"),
    "network:127.0.0.1": ("", "rm /bin/ping;", "no answer from 127.0.0.1"),
    "mounted:/data": ("mount -t tmpfs tmpfs /data;", "", "nothing is mounted at /data"),
    "free:/data:2M": ("mount -t tmpfs -o size=3m tmpfs /data;", "mount -t tmpfs -o size=1m tmpfs /data;", "not 2048"),
    "free:/nothing:1K": ("mkdir -p /nothing;", "rmdir /nothing;", "/nothing has 0 KiB left"),
}


@pytest.mark.parametrize("word", CASES)
def test_a_check_passes_when_what_it_asks_for_is_there_and_says_what_is_not(hub: Hub, word: str) -> None:
    there, missing, said = CASES[word]
    (check,) = health.parse(word)
    health.write(str(hub.root), [check])
    program = f"/{health.FOLDER}/{check.file_name}"
    assert hub.inside(f"{there} {program}") == (0, "")
    status, output = hub.inside(f"{missing} {program}")
    assert (status, said in output) == (1, True), output


def test_a_process_that_is_started_again_and_again_is_not_alive(hub: Hub) -> None:
    hub.put("bin/flaps", "#!/bin/sh\nwhile :; do /bin/sleep 1; done\n", 0o755)
    status, said = hub.inside("flaps & sleep 1; /usr/lib/afero-ota/health-check process sleep")
    # between two of them there is none
    assert (status, "no process sleep" in said) == (1, True), said


def test_a_new_system_that_fails_a_ready_made_check_goes_back_with_its_name(hub: Hub) -> None:
    health.write(str(hub.root), health.parse("mounted:/proc process:hubby"))
    hub.settings("HEALTH_TIMEOUT=2\n")
    hub.set_env(BOOT_A_LEFT=2, AFERO_OTA_TRYING="a" * 64)
    _, said = hub.inside("/usr/sbin/afero-ota-confirm")
    assert "health check mounted-proc passed" in said
    assert "health check process: there is no process hubby" in said
    assert (hub.root / "data/afero_nv/reboot_reason").read_text() == "ota 100 restarted, health process-hubby"
