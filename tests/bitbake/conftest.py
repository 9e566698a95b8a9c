# SPDX-License-Identifier: MIT
"""What the tests of builds share: the sources of each release, and fresh folders for build folders."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from rehearsal import build
from rehearsal.build import RELEASES, Unavailable, Workspace
from rehearsal.folders import cache_folder

_missing: dict[str, str] = {}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--dry-run", action="store_true", help="also dry-run the image of every board, several minutes each"
    )


def open_workspace(release: str) -> Workspace:
    """The workspace of a release; skips the test, with the reason, where BitBake cannot be had."""
    if release not in _missing:
        try:
            return build.shared_workspace(release)
        except Unavailable as reason:
            _missing[release] = f"NO BITBAKE HERE, its tests do not run: {reason}"
    pytest.skip(_missing[release])


@pytest.fixture(scope="session", params=sorted(RELEASES))
def any_release(request: pytest.FixtureRequest) -> Workspace:
    release: str = request.param
    return open_workspace(release)


@pytest.fixture(scope="session")
def scarthgap() -> Workspace:
    return open_workspace("scarthgap")


@pytest.fixture(scope="session")
def wrynose() -> Workspace:
    return open_workspace("wrynose")


@pytest.fixture(scope="module")
def folder(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A fresh folder for build folders, with a short path that the build user can reach."""
    path = cache_folder() / "work" / "tests" / request.module.__name__.rpartition(".")[2]
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    yield path
    shutil.rmtree(path, ignore_errors=True)
