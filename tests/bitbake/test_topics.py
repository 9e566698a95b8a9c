# SPDX-License-Identifier: MIT
"""What each topic file does to a build, and that the one named last takes precedence."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rehearsal.build import Workspace
from rehearsal.service import RunningService

IMAGE = "core-image-minimal"


@pytest.fixture(scope="module")
def conf() -> Iterator[str]:
    with RunningService() as running:
        running.share()
        yield str(running.conf)


def parsed(workspace: Workspace, folder: Path, *topics: str, **env: str) -> tuple[str, dict[str, str]]:
    """`bitbake -e` through kas: output, and plain variables."""
    files = ("kas/hermetic.yml", *workspace.files[1:-1], *topics)
    build = folder / workspace.release
    build.mkdir(exist_ok=True)
    os.chown(build, workspace.user.pw_uid, workspace.user.pw_gid)
    configuration = ":".join(str(workspace.project / file) for file in files)
    shell = ("shell", configuration, "-c", f"bitbake -e {IMAGE}")
    done = workspace.kas(*shell, env={"KAS_BUILD_DIR": str(build), **env})
    return done.output, dict(re.findall(r'^([A-Z_]+)="(.*)"$', done.output, re.MULTILINE))


def record(variables: dict[str, str]) -> dict[str, Any]:
    request: dict[str, dict[str, Any]] = json.loads(variables["AFERO_OTA_REQUEST"].replace('\\"', '"'))
    return request["record"]


def test_the_environment_decides_what_is_built_and_tags_the_record(any_release: Workspace, folder: Path) -> None:
    settings = {"AFERO_OTA_BUILD_NUMBER": "7", "BUILD_TARGET": "bench", "BUILD_PROFILE": "night"}
    output, variables = parsed(any_release, folder, **settings)
    assert "AFERO_OTA_REQUEST" in variables, output[-2000:]
    assert record(variables)["tags"] == ["type:development", "target:bench", "profile:night"]
    assert record(variables)["version"].endswith(".7")


def test_a_debug_build_is_marked_and_lets_root_in(any_release: Workspace, folder: Path) -> None:
    _, variables = parsed(any_release, folder, "kas/debug.yml")
    assert record(variables)["version"].endswith("d")
    assert record(variables)["tags"] == ["type:debug"]
    assert {"allow-root-login", "empty-root-password"} <= set(variables["IMAGE_FEATURES"].split())


def test_a_release_without_an_account_says_what_is_missing(scarthgap: Workspace, folder: Path) -> None:
    output, _ = parsed(scarthgap, folder, "kas/release.yml")
    assert "AFERO_OTA_CONF: not set, but a record of the cloud needs an account" in output


def test_the_topic_named_last_takes_precedence(scarthgap: Workspace, folder: Path, conf: str) -> None:
    account = {"AFERO_OTA_CONF": conf, "AFERO_OTA_BUILD_NUMBER": "7"}
    _, debug = parsed(scarthgap, folder, "kas/release.yml", "kas/debug.yml", **account)
    assert (debug["AFERO_OTA_RECORD"], record(debug)["version"]) == ("cloud", "1.0.7d")
    _, release = parsed(scarthgap, folder, "kas/debug.yml", "kas/release.yml", **account)
    assert (release["AFERO_OTA_RECORD"], record(release)["version"]) == ("cloud", "1.0.7")
    assert "allow-root-login" not in release["IMAGE_FEATURES"].split()
    _, offline = parsed(scarthgap, folder, "kas/release.yml", "kas/offline.yml", **account)
    assert offline["AFERO_OTA_RECORD"] == "offline"
