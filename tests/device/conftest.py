# SPDX-License-Identifier: MIT
"""The QEMU bench of these tests, and the options that say how much they try.

Devices run one of two images, busybox with a writable root, or systemd with a read-only one and a merged /usr; and they have one of
two engines, tar or rauc. Such a pair is a bench, and tests are the same for all: bench.BENCHES. A test of a normal run takes the first
bench that it may run on; the rollback takes both images, and the power cuts three benches. With `--cuts N` every test runs on every
bench, also those marked `long`, with that many cuts on each. `--image` and `--engine` name the only ones to be used.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from bench import BENCHES, CUTS, LONG_CUTS, Bench
from reference_update import Rehearsal, rehearse
from rehearsal.board import parts
from rehearsal.board.device import Device
from rehearsal.board.guest import EMULATOR
from rehearsal.board.releases import ENGINES, SYSTEMS
from rehearsal.build import Unavailable, Workspace, shared_workspace
from rehearsal.folders import cache_folder
from rehearsal.service import RunningService
from shell_bench import good, hub, tools  # noqa: F401 # fixtures

_figures: list[str] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("device")
    group.addoption(
        "--cuts",
        type=int,
        metavar="N",
        help=f"number of power cuts on each bench (default: {CUTS}); also runs every scenario",
    )
    group.addoption("--image", choices=sorted(SYSTEMS), help="run the tests of updates on this image only")
    group.addoption("--seed", type=int, default=1, metavar="N", help="seed for the points where the power is cut")
    group.addoption("--engine", choices=ENGINES, help="run the tests of updates with this engine only")
    group.addoption(
        "--all-scenarios", action="store_true", help=f"run every scenario, with {LONG_CUTS} cuts on each bench"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: only with --cuts N or --all-scenarios")
    config.addinivalue_line(
        "markers", "normally(benches): what a normal run has it on, instead of the first that it may run on"
    )
    config.addinivalue_line("markers", "only(name): with this image or engine, since the other has nothing of the kind")


def is_long(config: pytest.Config) -> bool:
    return bool(config.getoption("--all-scenarios", False) or config.getoption("--cuts", None) is not None)


def chosen_benches(config: pytest.Config) -> list[str]:
    """The benches that the options leave."""
    wanted = {config.getoption(option, None) for option in ("--image", "--engine")} - {None}
    return [bench for bench in BENCHES if wanted <= set(bench.split("-"))]


def bench_of(item: pytest.Item) -> str:
    """The bench that a test runs on; "" for a test of something else."""
    return str(item.callspec.params.get("bench", "")) if hasattr(item, "callspec") else ""


def is_wanted(config: pytest.Config, item: pytest.Item) -> bool:
    """Whether this run has the test, on this bench."""
    only = {name for marker in item.iter_markers("only") for name in marker.args}
    possible = [bench for bench in chosen_benches(config) if only <= set(bench.split("-"))]
    if is_long(config):
        return bench_of(item) in ("", *possible)
    normally = item.get_closest_marker("normally")
    wanted = [bench for bench in possible if normally and bench in normally.args] or possible[:1]
    return not item.get_closest_marker("long") and bench_of(item) in ("", *wanted)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = [item for item in items if not is_wanted(config, item)]
    config.hook.pytest_deselected(items=left_out)
    # one bench after the other, since each is made once
    order = ("", *BENCHES)
    items[:] = sorted((item for item in items if item not in left_out), key=lambda item: order.index(bench_of(item)))


def cuts_of(config: pytest.Config, bench: str) -> int:
    """The number of power cuts on a bench."""
    cuts = config.getoption("--cuts", None)
    if cuts is not None:
        return int(cuts)
    return LONG_CUTS if is_long(config) else CUTS[bench]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "bench" not in metafunc.fixturenames:
        return
    benches = chosen_benches(metafunc.config)
    if "cut_number" in metafunc.fixturenames:
        cuts = [(bench, number) for bench in benches for number in range(cuts_of(metafunc.config, bench))]
        metafunc.parametrize(("bench", "cut_number"), cuts, indirect=["bench"], scope="session")
    else:
        metafunc.parametrize("bench", benches, indirect=True, scope="session")


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
    """The bench of one image and engine; its folder is kept with AFERO_OTA_KEEP_BENCH=1."""
    name = str(request.param)
    folder = cache_folder() / "work" / "tests" / f"device-{name}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with RunningService(folder / "service") as service:
        service.share()
        bench = Bench(folder, workspace, service, *name.split("-"))
        yield bench
        _figures.extend(f"{name}: {stall}" for stall in bench.stalls)
    if not os.environ.get("AFERO_OTA_KEEP_BENCH"):
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def cuts(bench: Bench, request: pytest.FixtureRequest) -> int:
    """The number of power cuts on this bench."""
    return cuts_of(request.config, bench.name)


@pytest.fixture(scope="session")
def rehearsal(bench: Bench) -> Rehearsal:
    """An undisturbed update; its figures are printed at the end of the run."""
    result = rehearse(bench)
    _figures.extend(f"{bench.name}: {figure}" for figure in result.figures)
    return result


@pytest.fixture
def device(bench: Bench, request: pytest.FixtureRequest) -> Iterator[Device]:
    """A new device with the factory's disk, running slot A."""
    device = bench.device(request.node.name.split("[")[0][5:45])
    with device:
        assert device.wait_until_up() == "A"
        yield device
    device.scrap()
