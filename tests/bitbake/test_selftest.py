# SPDX-License-Identifier: MIT
"""The layer's tests for oe-selftest, as a user runs them."""

from __future__ import annotations

import shutil
from pathlib import Path

from rehearsal.build import Workspace


def test_oe_selftest_runs_the_layers_tests_in_a_users_build_folder(any_release: Workspace, folder: Path) -> None:
    # its copy of the build folder is beside it
    own = folder / any_release.release
    own.mkdir()
    shutil.chown(own, any_release.user.pw_uid, any_release.user.pw_gid)
    build = any_release.build(own / "build", files=("tests/bitbake/selftest.yml",))
    core, bitbake = any_release.folder / "openembedded-core", any_release.folder / "bitbake"
    path = f"{core}/scripts:{bitbake}/bin:{any_release.environment()['PATH']}"
    # oe-selftest makes a commit in its copy of meta-selftest
    person = {f"GIT_{role}_{fact}": "tester" for role in ("AUTHOR", "COMMITTER") for fact in ("NAME", "EMAIL")}
    environment = {"BUILDDIR": str(build.folder), "PATH": path, **person}
    # -K: scarthgap's oe-selftest deletes its copy, and then asks BitBake there about the machine
    done = build.tool(str(core / "scripts/oe-selftest"), "-K", "-r", "afero_ota", env=environment)
    assert done.returncode == 0, done.output
    assert "successes=4, skipped=0, failures=0, errors=0" in done.output
