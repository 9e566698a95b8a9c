# SPDX-License-Identifier: MIT
"""scripts/setup where something cannot be had: a message that says what, why and what to type. tests/bare-debian shows the rest."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rehearsal.folders import PROJECT, cache_folder

NOBODY = 65534


class Setup:
    """A copy of scripts/, with a cache folder of its own, run by a user who is not root."""

    def __init__(self, folder: Path) -> None:
        self.scripts, self.cache = folder / "scripts", folder / "cache"
        shutil.copytree(PROJECT / "scripts", self.scripts, ignore=shutil.ignore_patterns("rehearsal", "__pycache__"))
        self.cache.mkdir()
        if os.geteuid() == 0:
            os.chown(self.cache, NOBODY, NOBODY)

    def run(self, *command: str, **environment: str) -> str:
        """What the command printed on stderr; it must fail."""
        done = subprocess.run(
            [str(self.scripts / command[0]), *command[1:]],
            env={**os.environ, "AFERO_OTA_CACHE_DIR": str(self.cache), **environment},
            user=NOBODY if os.geteuid() == 0 else None,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 1, done.stderr
        assert not done.stdout and "Traceback" not in done.stderr
        return done.stderr


@pytest.fixture
def setup() -> Iterator[Setup]:
    # every user can reach this folder, which is not so for pytest's own
    folder = cache_folder() / "work" / "tests" / "setup"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    yield Setup(folder)
    shutil.rmtree(folder, ignore_errors=True)


def test_a_missing_debian_package_that_only_root_can_install(setup: Setup) -> None:
    with (setup.scripts / "requirements" / "service.apt").open("w") as stream:
        stream.write("afero-no-such-package\n")
    if os.geteuid() != 0 and shutil.which("sudo") and subprocess.run(["sudo", "-n", "true"]).returncode == 0:
        pytest.skip("this user may do everything with sudo")
    said = setup.run("setup", "service")
    assert "neither are you root nor does sudo work" in said
    assert "sudo apt-get install afero-no-such-package" in said


def test_python_packages_out_of_reach(setup: Setup) -> None:
    said = setup.run("ota-service", "--help", PIP_NO_INDEX="1", PIP_FIND_LINKS="", PIP_CONFIG_FILE="/dev/null")
    assert "pip could not install the Python packages for: service" in said
    assert "No matching distribution found" in said


def test_a_cache_folder_that_cannot_be_made(setup: Setup) -> None:
    said = setup.run("setup", "service", AFERO_OTA_CACHE_DIR="/proc/cache")
    assert "the cache folder /proc/cache cannot be made. AFERO_OTA_CACHE_DIR names another one" in said
