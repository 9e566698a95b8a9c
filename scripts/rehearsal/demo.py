# SPDX-License-Identifier: MIT
"""The whole journey of an update on this machine: image, record, payload, upload, push, device; one table at the end.

BitBake builds the bench's image, which boots; a simulated device downloads and verifies it, and compares what it would install.
With --boot, an emulated board starts from the factory disk that BitBake made, and installs version 2. Where BitBake cannot be had,
the library does the same with a small root file system.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from afero_ota import config, context, errors, journal, payload, publish, record, rollout, service
from afero_ota import manifest as manifests

from . import build as builds
from . import hub as hubs
from .board import device as devices
from .board import disk, parts
from .board.guest import ConsoleError
from .board.releases import BuildError, Release, ReleaseBuild, record_of
from .folders import PROJECT
from .progress import Progress
from .service import RunningService

DEVICE = "demo-device"


def main() -> int:
    parser = argparse.ArgumentParser(prog="demo", description="The whole journey of an update, on this machine.")
    parser.add_argument("--boot", action="store_true", help="install the update on an emulated board (QEMU)")
    parser.add_argument("--keep", metavar="FOLDER", type=Path, help="work in this folder and keep it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="afero-ota-demo-") as scratch:
        folder = (options.keep or Path(scratch)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)  # the build user works below it
        try:
            journey(folder, options.boot)
        except errors.OtaError as error:
            print(f"demo: {error}", file=sys.stderr)
            return error.exit_status
        except builds.Unavailable as error:
            print(f"demo: {error}\nscripts/demo without --boot needs less.", file=sys.stderr)
            return 1
        except (BuildError, hubs.UpdateError, ConsoleError) as error:
            print(f"demo: {error}", file=sys.stderr)
            return 1
    return 0


def journey(folder: Path, boot: bool) -> None:
    """All steps, and their table. Raises Unavailable when an emulated board is asked for and cannot be had."""
    progress = Progress()
    reason = builds.why_unavailable()
    if reason and boot:
        raise builds.Unavailable(f"no BitBake here, so there is nothing to boot: {reason}")
    if boot:
        with progress.step("emulator", "QEMU and U-Boot", "scripts/setup device"):
            install_emulator()
            parts.u_boot()
    with contextlib.ExitStack() as stack:
        with progress.step("service", "local OTA service", "scripts/ota-service") as step:
            local = stack.enter_context(RunningService(folder / "service"))
            local.share()
            step.identity = local.url
        if boot:
            on_emulated_board(folder, local, progress)
        elif reason:
            print(f"No BitBake here ({reason}): a small root file system stands in for the image.", file=sys.stderr)
            without_bitbake(folder, local, progress)
        else:
            reason = with_bitbake(folder, local, progress)
    progress.show()
    if reason:
        print(f"Left out: {reason}")


def install_emulator() -> None:
    """QEMU, and what U-Boot is built with. Raises Unavailable."""
    setup = [str(PROJECT / "scripts" / "setup"), "device"]
    if subprocess.run(setup, stdout=subprocess.DEVNULL).returncode:
        raise builds.Unavailable("scripts/setup device failed, so there is no emulated board")


# ---- the cloud's side ---------------------------------------------------------------------------------------------------


def start_build(folder: Path, local: RunningService, progress: Progress, bootable: bool = True) -> ReleaseBuild:
    """A build folder with the class in the image. Raises Unavailable."""
    with progress.step("sources", "BitBake, OE-Core, this layer", "kas checkout") as step:
        workspace = builds.shared_workspace()
        build = ReleaseBuild(folder / "build", workspace, local, bootable)
        step.identity = workspace.release
    return build


def release(build: ReleaseBuild, number: int, local: RunningService, progress: Progress) -> str:
    """What a developer does for each version: the class's tasks one after the other. Returns the versionNumber."""
    build.configure(number, DEVICE)
    with progress.step("record", "created in the cloud", f"bitbake -c create_ota_record {build.image}") as step:
        build.bitbake("-c", "create_ota_record")
        step.identity = f"{local.settings['name']} {local.settings['version']}.{number}"
    with progress.step("image", "root file system and payload", f"bitbake {build.image}") as step:
        build.bitbake()
        manifest = manifests.read(str(build.payload))
        step.size, step.identity = manifest["size"], f"sha256 {manifest['sha256'][:12]}…"
    version_number = str(manifest["record"]["versionNumber"])
    with progress.step("upload", "offered to the device type", f"bitbake -c upload_ota {build.image}") as step:
        build.bitbake("-c", "upload_ota")
        step.size, step.identity = manifest["size"], f"versionNumber {version_number}"
    with progress.step("push", "to one device", f"bitbake -c deploy_ota {build.image}") as step:
        build.bitbake("-c", "deploy_ota")
        step.identity = DEVICE
    return version_number


# ---- three journeys -----------------------------------------------------------------------------------------------------


def with_bitbake(folder: Path, local: RunningService, progress: Progress) -> str:
    """An image that BitBake built, and a simulated device. Returns what was left out, and why."""
    left_out = ""
    try:
        build = start_build(folder, local, progress)
    except builds.Unavailable as error:
        left_out = f"the image that boots, since Debian's packages for it cannot be had: {error}"
        print(f"{left_out}\nAn image of data only stands in.", file=sys.stderr)
        build = start_build(folder, local, progress, bootable=False)
    hub = simulated_hub(folder, local, build.payload, progress)
    release(build, 1, local, progress)
    receive(hub, local, progress)
    if build.bootable:
        with progress.step("compare", "download against slot A") as step:
            tree = disk.tree_of_archive(hub.prefix.with_suffix(".img"))
            different = devices.differences_from_factory(build.factory_disk(folder / "factory.img"), tree)
            if different:
                raise hubs.UpdateError("\n".join(["the disk's slot A is not the image:", *different[:10]]))
            step.identity = f"equal: {len(tree)} paths"
    return left_out


def without_bitbake(folder: Path, local: RunningService, progress: Progress) -> None:
    """The library calls that the tasks make, on a root file system made here."""
    settings = config.load(str(local.conf), {"build_number": "1"}, {}, config.PUBLISH_NEEDS)
    wanted = record.wanted(settings)

    def say(text: str) -> None:
        progress.note("library", text)

    with journal.Journal(str(folder / "journal.jsonl")) as log:
        work = context.Context(service.connect(settings), log, say)
        with progress.step("record", "created in the cloud", "create the OTA record") as step:
            made, _ = publish.ensure_record(work, wanted)
            step.identity = f"{made.name} {made.version}"
        with progress.step("image", "small root file system", "package a root file system") as step:
            root, archive = folder / "rootfs", folder / "image.tar.gz"
            (root / "etc").mkdir(parents=True, exist_ok=True)
            (root / "etc" / "hostname").write_text("hub\n")
            record.install(made, str(root))
            with tarfile.open(archive, "w:gz") as image:
                image.add(root, ".")
            packed = payload.package(str(archive), str(folder / settings.image_file))
            manifests.write(packed, {"version": made.version, "record": dict(record.as_created(made).fields)})
            step.size, step.identity = packed.size, f"sha256 {packed.sha256[:12]}…"
        hub = simulated_hub(folder, local, Path(packed.path), progress)
        with progress.step("upload", "offered to the device type", "upload the payload") as step:
            done = publish.publish_file(work, made, packed.path)
            step.size, step.identity = packed.size, f"versionNumber {made.version_number}"
        with progress.step("push", "to one device", "push the image") as step:
            [outcome] = rollout.push(work, rollout.Image(done.image_id, made.version_number), [DEVICE])
            if outcome.error:
                raise outcome.error
            step.identity = DEVICE
    receive(hub, local, progress)


def simulated_hub(folder: Path, local: RunningService, hub_update: Path, progress: Progress) -> hubs.Hub:
    """A registered device without a system; its sysupgrade installs nothing but compares the image with the payload."""
    root, prefix = folder / "device", folder / "tmp" / "ota_type_5"
    hub = hubs.Hub(local.url, DEVICE, root, prefix, ["cmp", str(hub_update)], device_type_id=local.device_type_id)
    hub.log = lambda text: progress.note("hubby", text)
    hub.register()
    return hub


def receive(hub: hubs.Hub, local: RunningService, progress: Progress) -> None:
    """The simulated device takes the update. Raises UpdateError."""
    with progress.step("device", "simulated: installs nothing", "scripts/rehearsal/hub.py") as step:
        before = cloud_version(local)
        if not hub.poll():
            raise hubs.UpdateError(f"the device did not take the update: {local.sim.pushes()[-1]['detail']}")
        image = hub.prefix.with_suffix(".img")
        inside, after = str(record_of(image)["versionNumber"]), cloud_version(local)
        if inside != after:
            raise hubs.UpdateError(f"the device reports {after}, its image says {inside}")
        step.size, step.identity = image.stat().st_size, f"attribute 2005: {before} -> {after}"


def cloud_version(local: RunningService) -> str:
    """What the cloud knows of the device: attribute 2005."""
    return str(local.sim.device(DEVICE)["versionNumber"])


def on_emulated_board(folder: Path, local: RunningService, progress: Progress) -> None:
    """Version 1 comes from the factory; version 2 through the cloud."""
    build = start_build(folder, local, progress)
    with progress.step("factory", "version 1 on an SD card", f"bitbake {build.image}") as step:
        build.configure(1, DEVICE)
        build.bitbake()
        factory_disk = build.factory_disk(folder / "board.img")
        step.size = factory_disk.stat().st_size
    board = devices.Device(factory_disk, parts.u_boot(), hubs.service_key(local.url))
    board.on_line = progress.console_line
    with board:
        hub = devices.GuestHub(local, DEVICE, folder / "hubby", board, lambda text: progress.note("hubby", text))
        with progress.step("board", "emulated, first start", "qemu-system-arm") as step:
            old_slot = board.wait_until_up()
            hub.register()
            before = cloud_version(local)
            step.identity = f"slot {old_slot}, versionNumber {before}"
        version_number = release(build, 2, local, progress)
        with progress.step("update", "sysupgrade, restart, confirm", "hubby looks for updates") as step:
            if not hub.poll():
                raise hubs.UpdateError(f"the board did not take the update: {local.sim.pushes()[-1]['detail']}")
            new_slot, after = "B" if old_slot == "A" else "A", cloud_version(local)
            step.identity = f"slot {old_slot} -> {new_slot}\nattribute 2005: {before} -> {after}"
        with progress.step("check", f"slot {new_slot} on the disk, as built") as step:
            installed = Release.downloaded(hub, version_number)
            board.check(new_slot, installed, user_data=False)
            step.size, step.identity = installed.image.stat().st_size, f"equal: {len(installed.tree)} paths"
