# SPDX-License-Identifier: MIT
"""AFERO_OTA_HEALTH_CHECKS: what it may name, and the programs it becomes; tests/device/test_scripts_health.py runs them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from afero_ota import errors, health

SCRIPT = Path(__file__).resolve().parents[2] / "meta-afero-ota/recipes-core/afero-sysupgrade/files/health-check"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "bin").mkdir()
    for form in health.FORMS.values():
        (tmp_path / "bin" / form.program).symlink_to("busybox")
    return tmp_path


def test_every_check_becomes_a_program_that_is_named_after_it(root: Path) -> None:
    checks = health.parse("systemd process:hubby network:192.0.2.1 mounted:/data free:/data:10M free:/:1G")
    health.write(str(root), checks)
    programs = {path.name: path.read_text().splitlines() for path in (root / health.FOLDER).iterdir()}
    assert programs == {
        name: ["#!/bin/sh", f"exec /usr/lib/afero-ota/health-check {arguments}"]
        for name, arguments in {
            "systemd": "systemd",
            "process-hubby": "process hubby",
            "network-192.0.2.1": "network 192.0.2.1",
            "mounted-data": "mounted /data",
            "free-data": "free /data 10240",
            "free": "free / 1048576",
        }.items()
    }
    assert {path.stat().st_mode & 0o777 for path in (root / health.FOLDER).iterdir()} == {0o755}


def test_the_script_knows_the_same_names() -> None:
    assert re.findall(r"(?m)^([a-z]+)\)$", SCRIPT.read_text()) == list(health.FORMS)
    assert subprocess.run([SCRIPT, "hubby"], capture_output=True, text=True).stderr.endswith("there is no such check\n")


@pytest.mark.parametrize(
    ("word", "problem"),
    [
        ("hubby", "'hubby' is no health check"),
        ("process", "is written process:NAME, not 'process'"),
        ("process:$(reboot)", "is written process:NAME"),
        ("network:", "is written network:HOST"),
        ("mounted:data", "is written mounted:/PATH"),
        ("free:/data", "is written free:/PATH:SIZE"),
        ("free:/data:0M", "is written free:/PATH:SIZE"),
        ("free:/data:10", "is written free:/PATH:SIZE"),
        ("systemd:all", "is written systemd"),
        ("free:/data:1M free:/data:2M", "free:/data:2M comes second"),
    ],
)
def test_what_cannot_be_used_is_a_fault(word: str, problem: str) -> None:
    with pytest.raises(errors.ConfigError) as caught:
        health.parse(word)
    (fault,) = caught.value.faults
    assert fault.problem.startswith(problem)


def test_all_faults_are_reported_together_with_the_checks_that_exist() -> None:
    with pytest.raises(errors.ConfigError) as caught:
        health.parse("hubby free:/data systemd")
    assert len(caught.value.faults) == 2
    assert "these exist: systemd, process:NAME, network:HOST, mounted:/PATH, free:/PATH:SIZE" in str(caught.value)


def test_a_check_whose_program_the_image_lacks_is_a_fault(root: Path) -> None:
    (root / "bin/systemctl").unlink()
    with pytest.raises(errors.ConfigError, match="systemd needs the program systemctl"):
        health.write(str(root), health.parse("systemd process:hubby"))
    assert not (root / health.FOLDER).exists()
