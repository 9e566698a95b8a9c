# SPDX-License-Identifier: MIT
"""The QEMU bench of these tests, and the options that say how much they try.

A normal run has the happy path, four refusals, one rollback and six power cuts. With `--cuts N` it has that many cuts, and every
test that is marked `long`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from bench import CUTS, Bench
from reference_update import Rehearsal, rehearse
from rehearsal.board import parts
from rehearsal.board.device import Device
from rehearsal.board.guest import EMULATOR
from rehearsal.build import Unavailable, Workspace, shared_workspace
from rehearsal.folders import cache_folder
from rehearsal.service import RunningService
from shell_bench import good, hub, tools  # noqa: F401 # fixtures

_figures: list[str] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("device")
    group.addoption(
        "--cuts", type=int, metavar="N", help=f"number of power cuts (default: {CUTS}); also runs every scenario"
    )
    group.addoption("--seed", type=int, default=1, metavar="N", help="seed for the points where the power is cut")
    group.addoption("--all-scenarios", action="store_true", help="run every scenario, with the default number of cuts")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: only with --cuts N or --all-scenarios")


def is_long(config: pytest.Config) -> bool:
    return bool(config.getoption("--all-scenarios", False) or config.getoption("--cuts", None) is not None)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not is_long(config):
        left_out = [item for item in items if item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "cut_number" in metafunc.fixturenames:
        cuts = metafunc.config.getoption("--cuts", None)
        metafunc.parametrize("cut_number", range(CUTS if cuts is None else cuts))


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
def bench(workspace: Workspace) -> Iterator[Bench]:
    """The bench; its folder is kept with AFERO_OTA_KEEP_BENCH=1."""
    folder = cache_folder() / "work" / "tests" / "device"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with RunningService(folder / "service") as service:
        service.share()
        bench = Bench(folder, workspace, service)
        yield bench
        _figures.extend(bench.stalls)
    if not os.environ.get("AFERO_OTA_KEEP_BENCH"):
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def rehearsal(bench: Bench) -> Rehearsal:
    """An undisturbed update; its figures are printed at the end of the run."""
    result = rehearse(bench)
    _figures.extend(result.figures)
    return result


@pytest.fixture
def device(bench: Bench, request: pytest.FixtureRequest) -> Iterator[Device]:
    """A new device with the factory's disk, running slot A."""
    device = bench.device(request.node.name.split("[")[0][5:45])
    with device:
        assert device.wait_until_up() == "A"
        yield device
    device.scrap()
