# SPDX-License-Identifier: MIT
"""What an update takes on the emulated board, in each type of payload: the installation beside its necessary parts."""

from __future__ import annotations

import subprocess
from pathlib import Path

from rehearsal import demo
from rehearsal import hub as hubs
from rehearsal.board import disk, parts
from rehearsal.board.costs import Costs, Installation
from rehearsal.board.device import Device
from rehearsal.board.guest import ConsoleError
from rehearsal.board.releases import BuildError, Owner, Release, ReleaseBuild
from rehearsal.build import Unavailable, Workspace
from rehearsal.service import RunningService

from .builds import build_place
from .race import Bench, CannotRunError, Contestant, Row, Sample, Table

# with a kernel's modules the image has an ordinary size; zstd is for the payload of that type
_IMAGE = 'DEVICE_EXTRA = "debian-modules zstd"\n'
_TYPES = ("tar.gz", "tar.xz", "tar.zst")
_KEY = (
    "openssl req -x509 -newkey rsa:3072 -nodes -keyout key.pem -out cert.pem -days 30 -subj /CN=benchmark "
    "-addext basicConstraints=critical,CA:FALSE -addext keyUsage=critical,digitalSignature "
    "-addext extendedKeyUsage=critical,codeSigning"
)


def device(bench: Bench) -> list[Table]:
    """Updates of an emulated board, in each type of payload and as RAUC's bundle."""
    try:
        demo.install_emulator()
        parts.u_boot()
        parts.debian_packages()
        with build_place() as (workspace, place), RunningService(place / "service") as service:
            service.share()
            return _race(bench, _updates(place, workspace, service))
    except (Unavailable, BuildError, ConsoleError, hubs.UpdateError) as error:
        raise CannotRunError(str(error)) from None


class _Board:
    """A board whose slot A runs the factory's release, switched off; and a release to update it with."""

    def __init__(self, factory: Path, service: RunningService, release: Release):
        self._factory, self._key, self._release = factory, hubs.service_key(service.url), release

    def update(self) -> tuple[float, Costs]:
        """Seconds from power on to the confirmed system, and what the update costs. Raises ConsoleError."""
        board = Device(disk.copy_sparse(self._factory, self._factory.with_name("board.img")), parts.u_boot(), self._key)
        with board:
            board.wait_until_up()
            boot = board.time_of(r"BENCH READY")[0]
            board.deliver(self._release.image, self._release.header)
            installation = Installation(board)
            board.expect(r"\nU-Boot 20\d\d", 600)
            board.wait_until_up()
            board.check("B", self._release, user_data=False)
            costs = installation.costs(self._release, inactive="A")
        board.scrap()
        return boot, costs


def _updates(place: Path, workspace: Workspace, service: RunningService) -> dict[str, _Board]:
    """Both engines' boards and the updates for them, all of the same image, from BitBake through the local OTA service."""
    boards = {}
    tar = ReleaseBuild(place / "tar", workspace, service)
    factory = _factory(tar, service, 1, place / "tar.img")
    for number, kind in enumerate(_TYPES, 2):
        more = f'{_IMAGE}AFERO_OTA_IMAGE_FSTYPE = "{kind}"\n'
        boards[kind] = _Board(factory, service, tar.delivered(number, place / f"hub-{number}", more))
    rauc = ReleaseBuild(place / "rauc", workspace, service, owner=_owner(place))
    factory = _factory(rauc, service, 5, place / "rauc.img")
    boards["RAUC's bundle"] = _Board(factory, service, rauc.delivered(6, place / "hub-6", _IMAGE))
    return boards


def _factory(build: ReleaseBuild, service: RunningService, number: int, target: Path) -> Path:
    """A disk after its first start."""
    build.configure(number, "none", _IMAGE)
    build.bitbake()
    board = Device(build.factory_disk(target), parts.u_boot(), hubs.service_key(service.url))
    with board:
        board.wait_until_up()
        board.command("sync")
    return target


def _owner(folder: Path) -> Owner:
    subprocess.run(_KEY.split(), cwd=folder, check=True, capture_output=True)
    key, cert = folder / "key.pem", folder / "cert.pem"
    key.chmod(0o644)  # the build user signs with it, and it signs nothing else
    return Owner(key, cert, keyring=cert)


def _race(bench: Bench, boards: dict[str, _Board]) -> list[Table]:
    measured: dict[str, list[Costs]] = {kind: [] for kind in boards}
    boots = Row("first release")

    def contestant(kind: str) -> Contestant:
        def run(_: int) -> Sample:
            boot, costs = boards[kind].update()
            boots.samples.append(Sample(boot))
            measured[kind].append(costs)
            return Sample(costs.seconds, costs.memory)

        return Contestant(kind, run)

    title = "Installing an image on the emulated board, by the emulator's processor time"
    whole = bench.race(Table("device", title, "tar.gz"), [contestant(kind) for kind in boards])
    ratios = [Row(kind, [Sample(costs.ratio) for costs in all_costs]) for kind, all_costs in measured.items()]
    in_parts = Table("device-parts", "The same in terms of its necessary parts", "", unit="times", rows=ratios)
    in_parts.aim("at most 1.5 times, as tar.gz", "tar.gz", 1.5)
    in_parts.notes += [f"{kind}, {line}" for kind, all_costs in measured.items() for line in all_costs[0].lines()]
    power = Table("power-on", "Emulated board: from power on to a confirmed system", "", rows=[boots])
    return [whole, in_parts, power]
