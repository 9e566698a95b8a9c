# SPDX-License-Identifier: MIT
"""Builds that tests share: the sources of a release once per run, a build folder per fixture that asks for one."""

from __future__ import annotations

import shutil

import pytest

from harness import RELEASES, Unavailable, Workspace, cache_folder, shared_workspace

_open: dict[str, Workspace | str] = {}


def open_workspace(release: str) -> Workspace:
    """The workspace of a release; skips the test, with the reason, where BitBake cannot be had."""
    if release not in _open:
        try:
            _open[release] = shared_workspace(release)
        except Unavailable as reason:
            _open[release] = f"NO BITBAKE HERE, its tests do not run: {reason}"
    found = _open[release]
    if isinstance(found, str):
        pytest.skip(found)
    return found


@pytest.fixture(scope="session", params=sorted(RELEASES))
def any_release(request):
    return open_workspace(request.param)


@pytest.fixture(scope="session")
def scarthgap():
    return open_workspace("scarthgap")


@pytest.fixture(scope="module")
def folder(request):
    """A fresh folder for build folders, with a short path that the build user can reach."""
    path = cache_folder() / "work" / "tests" / request.module.__name__.rpartition(".")[2]
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    yield path
    shutil.rmtree(path, ignore_errors=True)
