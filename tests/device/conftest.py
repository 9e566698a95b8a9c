# SPDX-License-Identifier: MIT
"""The QEMU bench of these tests, and the options that say how much they try.

Devices run one of two images: busybox with a writable root, or systemd with a read-only one and a merged /usr. Tests are the same
for both. A normal run has the happy path, four refusals, one rollback and six power cuts with busybox; the rollback, marked `both`,
and two cuts also with systemd. With `--cuts N` every test runs on both, also those marked `long`, with that many cuts on each.
`--image` names the only one to be used.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator

import pytest

from bench import CUTS, LONG_CUTS, Bench
from reference_update import Rehearsal, rehearse
from rehearsal.board import parts
from rehearsal.board.device import Device
from rehearsal.board.guest import EMULATOR
from rehearsal.board.releases import SYSTEMS
from rehearsal.build import Unavailable, Workspace, shared_workspace
from rehearsal.folders import cache_folder
from rehearsal.service import RunningService
from shell_bench import good, hub, tools  # noqa: F401 # fixtures

DEFAULT_IMAGE = next(iter(SYSTEMS))
IMAGES = ("", *SYSTEMS)
_figures: list[str] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("device")
    group.addoption(
        "--cuts",
        type=int,
        metavar="N",
        help=f"number of power cuts on each image (default: {CUTS}); also runs every scenario",
    )
    group.addoption("--image", choices=sorted(SYSTEMS), help="run the tests of updates on this image only")
    group.addoption("--seed", type=int, default=1, metavar="N", help="seed for the points where the power is cut")
    group.addoption("--engine", choices=("tar", "rauc"), default="tar", help="what installs images (default: tar)")
    group.addoption(
        "--all-scenarios", action="store_true", help=f"run every scenario, with {LONG_CUTS} cuts on each image"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: only with --cuts N or --all-scenarios")
    config.addinivalue_line("markers", "both: on both images in a normal run, too")
    config.addinivalue_line("markers", "only(image): on this image, since the other has nothing of the kind")


def is_long(config: pytest.Config) -> bool:
    return bool(config.getoption("--all-scenarios", False) or config.getoption("--cuts", None) is not None)


def image_of(item: pytest.Item) -> str:
    """The image that a test runs on; "" for a test of something else."""
    return (
        str(item.callspec.params.get("bench", ""))
        if isinstance(item, pytest.Function) and hasattr(item, "callspec")
        else ""
    )


def is_wanted(config: pytest.Config, item: pytest.Item) -> bool:
    """Whether this run has the test, on this image."""
    image, only = image_of(item), item.get_closest_marker("only")
    if image and only and image not in only.args:
        return False
    if is_long(config):
        return True
    default = config.getoption("--image", None) or DEFAULT_IMAGE
    return not item.get_closest_marker("long") and bool(image in ("", default) or item.get_closest_marker("both"))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = [item for item in items if not is_wanted(config, item)]
    config.hook.pytest_deselected(items=left_out)
    # one image after the other: each has a bench, which is made once
    items[:] = sorted((item for item in items if item not in left_out), key=lambda item: IMAGES.index(image_of(item)))


def cuts_of(config: pytest.Config, image: str) -> int:
    """The number of power cuts on an image."""
    cuts = config.getoption("--cuts", None)
    if cuts is not None:
        return int(cuts)
    return LONG_CUTS if is_long(config) else CUTS[image]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "bench" not in metafunc.fixturenames:
        return
    only = metafunc.config.getoption("--image", None)
    images = [only] if only else list(SYSTEMS)
    if "cut_number" in metafunc.fixturenames:
        cuts = [(image, number) for image in images for number in range(cuts_of(metafunc.config, image))]
        metafunc.parametrize(("bench", "cut_number"), cuts, indirect=["bench"], scope="session")
    else:
        metafunc.parametrize("bench", images, indirect=True, scope="session")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in _figures:
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def figures() -> list[str]:
    """Lines that are printed at the end of the run."""
    return _figures


@pytest.fixture(scope="session")
def seed(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--seed", 1))


@pytest.fixture(scope="session")
def workspace() -> Workspace:
    """Sources of a release; where QEMU, BitBake or Debian's packages cannot be had, tests are skipped with the reason."""
    try:
        if not shutil.which(EMULATOR):
            raise Unavailable(f"no {EMULATOR}")
        parts.debian_packages()
        parts.u_boot()
        return shared_workspace()
    except Unavailable as reason:
        pytest.skip(f"no emulated device here: {reason}")


@pytest.fixture(scope="session")
def bench(workspace: Workspace, request: pytest.FixtureRequest) -> Iterator[Bench]:
    """The bench of one image, with the engine of this run; its folder is kept with AFERO_OTA_KEEP_BENCH=1."""
    with opened_bench(workspace, request.param, request.config.getoption("--engine", "tar")) as bench:
        yield bench


@pytest.fixture(scope="session")
def rauc_bench(workspace: Workspace) -> Iterator[Bench]:
    """A bench with the RAUC engine in every run."""
    with opened_bench(workspace, "busybox", "rauc", "rauc") as bench:
        yield bench


@contextlib.contextmanager
def opened_bench(workspace: Workspace, system: str, engine: str, name: str = "") -> Iterator[Bench]:
    folder = cache_folder() / "work" / "tests" / f"device-{name or system}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with RunningService(folder / "service") as service:
        service.share()
        bench = Bench(folder, workspace, service, system, engine)
        yield bench
        _figures.extend(f"{name or system}: {stall}" for stall in bench.stalls)
    if not os.environ.get("AFERO_OTA_KEEP_BENCH"):
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def cuts(bench: Bench, request: pytest.FixtureRequest) -> int:
    """The number of power cuts on this image."""
    return cuts_of(request.config, bench.system)


@pytest.fixture(scope="session")
def rehearsal(bench: Bench) -> Rehearsal:
    """An undisturbed update; its figures are printed at the end of the run."""
    result = rehearse(bench)
    _figures.extend(f"{bench.system}: {figure}" for figure in result.figures)
    return result


@pytest.fixture
def device(bench: Bench, request: pytest.FixtureRequest) -> Iterator[Device]:
    """A new device with the factory's disk, running slot A."""
    device = bench.device(request.node.name.split("[")[0][5:45])
    with device:
        assert device.wait_until_up() == "A"
        yield device
    device.scrap()
