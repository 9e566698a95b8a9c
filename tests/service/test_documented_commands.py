# SPDX-License-Identifier: MIT
"""The commands in the documentation that need no board and no account, typed as they stand there."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import pages
from rehearsal.hub import Hub
from rehearsal.service import RunningService, wait_until

DEVICE, NEXT_DEVICE = "hub-1", "hub-2"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder to work in, with the project's scripts where the documentation says."""
    (tmp_path / "scripts").symlink_to(pages.PROJECT / "scripts")
    return tmp_path


def environment(**more: str) -> dict[str, str]:
    """The environment, with the interpreter that runs the tests first: it has the modules of all commands."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **more}


def run(line: str, folder: Path, answers: str = "", **more: str) -> str:
    """Type a line in a shell; its standard output."""
    done = subprocess.run(
        ["bash", "-euc", line],
        cwd=folder,
        env=environment(**more),
        input=answers,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    return done.stdout


def hub_of(service: RunningService, name: str, folder: Path) -> Hub:
    """A registered device that installs whatever it gets."""
    root = folder / name
    (root / "etc").mkdir(parents=True)
    prefix = root / "ota_type_5"
    hub = Hub(service.url, name, root, prefix, ["true"], device_type_id=service.device_type_id)
    hub.register()
    return hub


def test_the_commands_of_the_command_line_page_lead_from_no_configuration_to_a_finished_rollout(
    own_service: RunningService, folder: Path
) -> None:
    lines = [line for line in pages.code(pages.DOCS / "command-line.md") if line.startswith("scripts/")]
    settings = {**own_service.settings, "url": own_service.url}
    keys = ("name", "description", "version", "partnerId", "deviceTypeId", "username", "userpw", "auth-string")
    answers = "".join(f"{settings[key]}\n" for key in keys)
    (folder / "image.tar.gz").write_bytes(os.urandom(1000))
    first, image_id = hub_of(own_service, DEVICE, folder), ""
    for line in lines:
        command = shlex.split(line, comments=True)[1]
        if command == "report":
            for suffix in ("", ".manifest.json"):
                (folder / f"old.bin{suffix}").write_bytes((folder / f"hub_update.bin{suffix}").read_bytes())
        if command == "plan":
            # the device that was pushed by itself takes its update; another one is there for the rollout
            assert first.poll() is True
            second = hub_of(own_service, NEXT_DEVICE, folder)
            threading.Thread(target=wait_until, args=(second.poll, 120, 0.2), daemon=True).start()
        typed = line.replace("IMAGE_ID", image_id).replace("DEVICE", DEVICE)
        said = run(typed, folder, answers if command == "init" else "", AFERO_OTA_SERVICE_URL=own_service.url)
        if command == "list":
            image_id = said.splitlines()[1].split()[0]
    assert own_service.sim.stats()["pushes"] == {DEVICE: 1, NEXT_DEVICE: 1}


def test_a_rehearsal_by_hand(folder: Path) -> None:
    section = pages.section(pages.DOCS / "rehearsing.md", "A rehearsal by hand")
    service, *lines, hub = pages.code_of(section)
    with RunningService(folder / "service") as other:  # only to have a configuration file
        settings = json.loads(other.conf.read_text())
    del settings["serviceUrl"]
    (folder / "partner-ota-conf.json").write_text(json.dumps(settings))
    command = ["bash", "-euc", f"exec {service.replace('8080', '0')}"]
    with subprocess.Popen(
        command, cwd=folder, env=environment(), stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL
    ) as process:
        try:
            assert process.stdout
            url = process.stdout.readline().split()[-1]
            # nothing was pushed to this device, so its one look for an update ends with status 3
            typed = "\n".join((*lines, f"{hub} --once || test $? = 3")).replace("http://127.0.0.1:8080", url)
            said = run(typed, folder)
            assert "log in" in said and "rehearsal-1: registered" in said
        finally:
            process.terminate()
            process.wait(30)


def test_the_command_that_installs_kas_puts_it_into_the_path() -> None:
    first, *_ = [line for line in pages.code(pages.DOCS / "kas-and-boards.md") if "scripts/setup" in line]
    assert "kas" in run(f"{first}\nkas --version", pages.PROJECT)


def test_scripts_folders_prints_the_folders_that_the_documentation_names() -> None:
    cache, references = run("scripts/folders", pages.PROJECT, AFERO_OTA_CACHE_DIR="/a", KAS_REPO_REF_DIR="/b").split()
    assert (cache, references) == ("/a", "/b")
    said = pages.section(pages.DOCS / "rehearsing.md", "Where things are kept")
    home = {"HOME": "/home/me", "XDG_CACHE_HOME": "", "AFERO_OTA_CACHE_DIR": "", "KAS_REPO_REF_DIR": ""}
    base = "/var/cache" if os.geteuid() == 0 else "~/.cache"
    for found in run("scripts/folders", pages.PROJECT, **home).split():
        assert f"`{found.replace('/home/me', '~')}`" in said and found.replace("/home/me", "~").startswith(base)
