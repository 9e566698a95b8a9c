# SPDX-License-Identifier: MIT
"""A build whose account needs more than a password: its tasks use the refresh token that `afero-ota login` kept."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import browser_login as browser
from afero_ota import config
from afero_ota.login import code, stored
from afero_ota.service import connect
from rehearsal.build import Workspace
from rehearsal.ota_service.keycloak import APP_REDIRECT
from rehearsal.service import RunningService

IMAGE = "core-image-minimal"


def kept(conf: Path) -> str:
    found = stored.read(f"{conf}.login", print)
    assert found
    return found.refresh_token


def give(folder: Path, workspace: Workspace) -> None:
    """Make configuration and token the build user's, as they are when a person builds."""
    for path in folder.glob("conf.json*"):
        os.chown(path, workspace.user.pw_uid, workspace.user.pw_gid)


def test_the_tasks_use_the_stored_token_keep_its_successor_and_show_neither(scarthgap: Workspace, folder: Path) -> None:
    with RunningService(arguments=("--login", "keycloak")) as service:
        build = scarthgap.build(folder / "login", "")
        conf = browser.conf(service, build.folder)
        build.local_conf = (
            f'IMAGE_CLASSES:append:pn-{IMAGE} = " afero-ota"\nAFERO_OTA_CONF = "{conf}"\nAFERO_OTA_BUILD_NUMBER = "1"\n'
        )
        give(build.folder, scarthgap)
        refused = build.bitbake("-c", "create_ota_record", IMAGE)
        assert refused.returncode != 0 and "run: scripts/afero-ota login" in refused.output, refused.output

        settings = config.load(str(conf), {}, {})
        flow = code.begin(settings.login, browser.CLIENT_ID, APP_REDIRECT)
        found = code.code_in(flow, browser.log_in(service, flow.url))
        connect(settings).log_in_with(found, flow.verifier, flow.redirect_uri)
        give(build.folder, scarthgap)
        before = kept(conf)

        done = build.bitbake("-c", "create_ota_record", IMAGE)
        assert done.returncode == 0, done.output
        after = kept(conf)
        assert after != before and "OTA record created" in done.output
        for token in (before, after):
            assert token not in done.output
            where = subprocess.run(["grep", "-rlaF", token, build.folder], stdout=subprocess.PIPE, text=True).stdout
            assert set(where.split()) <= {f"{conf}.login"}
