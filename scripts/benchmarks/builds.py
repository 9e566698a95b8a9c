# SPDX-License-Identifier: MIT
"""What the class costs a build: the hermetic build with it and without it, from nothing and with nothing to do."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rehearsal.build import WITHOUT_CLASS, Build, Unavailable, Workspace, shared_workspace

from .race import Bench, CannotRunError, Contestant, Sample, Table

IMAGE = "core-image-minimal"


@contextlib.contextmanager
def build_place() -> Iterator[tuple[Workspace, Path]]:
    """The sources of BitBake, and an empty folder where the build user can be, which is not so for every temporary folder.

    The folder is removed at the end. Raises CannotRunError where there is no BitBake.
    """
    try:
        workspace = shared_workspace()
    except Unavailable as reason:
        raise CannotRunError(str(reason)) from None
    place = workspace.folder / "benchmark"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    try:
        yield workspace, place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def build(bench: Bench) -> list[Table]:
    """Builds of one image, on the release that the project is developed on."""
    with build_place() as (workspace, place):
        builds = {
            "without the class": workspace.build(place / "without", files=(WITHOUT_CLASS,)),
            "with afero-ota.bbclass": workspace.build(place / "with"),
        }
        cold = Table("build", "Hermetic build from nothing (parsing, packages, image)", "without the class")
        bench.race(cold, [_contestant(name, made, _cold) for name, made in builds.items()])
        cold.aim("the class costs at most 5 %", "with afero-ota.bbclass", 1.05, relative=True)
        noop = Table("build-again", "The same build with nothing to do", "without the class")
        bench.race(noop, [_contestant(name, made, _timed) for name, made in builds.items()])
        noop.aim("nothing measurable (5 %)", "with afero-ota.bbclass", 1.05, relative=True)
        return [cold, noop]


def _contestant(name: str, made: Build, time_it: Callable[[Build], Sample]) -> Contestant:
    return Contestant(name, lambda _: time_it(made))


def _cold(build: Build) -> Sample:
    for folder in (build.tmpdir, build.sstate_dir, build.folder / "cache"):
        shutil.rmtree(folder, ignore_errors=True)
    return _timed(build)


def _timed(build: Build) -> Sample:
    started = time.monotonic()
    done = build.bitbake(IMAGE)
    if done.returncode:
        raise CannotRunError(f"bitbake failed: {done.output[-300:]}")
    return Sample(time.monotonic() - started)
