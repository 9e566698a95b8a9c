# SPDX-License-Identifier: MIT
"""The whole journey on this machine: image, record, payload, upload, push, device; one table at the end.

With BitBake in reach (upstream git, or kas's reference clones) it builds an image; without, the same library works on a small
root file system made on the spot. `scripts/demo --keep FOLDER` keeps what was made.
"""

from __future__ import annotations

import argparse
import sys
import tarfile
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from afero_ota import checks, config, context, errors, journal, payload, publish, record, rollout, service
from afero_ota import manifest as manifests

from . import build as builds
from . import hub as hubs
from . import service as services

IMAGE, DEVICE, BUILD_NUMBER = "core-image-minimal", "demo-device", "1"


class Steps:
    """The rows of the table; a row's time is what passed since the row before."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str, str, str]] = []
        self._last = time.monotonic()

    def done(self, step: str, what: str, size: int | None = None, identity: str = "") -> None:
        now = time.monotonic()
        self.rows.append((step, what, "" if size is None else f"{size:,}", f"{now - self._last:.1f} s", identity))
        self._last = now
        print(f"{step}: {what}", file=sys.stderr, flush=True)

    def show(self) -> None:
        table = Table(title="The journey")
        for name in ("step", "what", "size", "time", "id"):
            table.add_column(name, justify="right" if name in ("size", "time") else "left", overflow="fold")
        for row in self.rows:
            table.add_row(*row)
        Console(width=max(110, Console().width)).print(table)


def main() -> int:
    parser = argparse.ArgumentParser(prog="demo", description="The whole journey of an update, on this machine.")
    parser.add_argument("--keep", metavar="FOLDER", type=Path, help="work in this folder and keep it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="afero-ota-demo-") as scratch:
        folder = (options.keep or Path(scratch)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)  # the build user works below it
        try:
            journey(folder)
        except errors.OtaError as error:
            print(f"demo: {error}", file=sys.stderr)
            return error.exit_status
    return 0


def journey(folder: Path) -> None:
    steps = Steps()
    with services.RunningService(folder / "service") as local:
        local.share()
        steps.done("service", f"the local OTA service runs at {local.url}")
        reason = builds.why_unavailable()
        if reason:
            print(f"No BitBake here ({reason}): a small root file system stands in for the image.", file=sys.stderr)
            hub_update = without_bitbake(folder, local, steps)
        else:
            hub_update = with_bitbake(folder, local, steps)
        receive(folder, local, hub_update, steps)
    steps.show()
    if reason:
        print(f"BitBake was not used: {reason}")


def with_bitbake(folder: Path, local: services.RunningService, steps: Steps) -> Path:
    """What a user does: the class in an image, then its tasks."""
    workspace = builds.Workspace()
    local_conf = f"""
IMAGE_CLASSES:append:pn-{IMAGE} = " afero-ota"
AFERO_OTA_CONF = "{local.conf}"
AFERO_OTA_BUILD_NUMBER = "{BUILD_NUMBER}"
AFERO_OTA_DEVICES = "{DEVICE}"
"""
    build = workspace.build(folder / "build", local_conf)
    steps.done("sources", f"kas checkout: {workspace.release}")

    def bitbake(*arguments: str) -> str:
        done = build.bitbake(*arguments)
        if done.returncode:
            raise errors.OtaError(f"bitbake {' '.join(arguments)} failed:\n{done.output[-3000:]}")
        return f"bitbake {' '.join(arguments)}"

    what = bitbake("-c", "create_ota_record", IMAGE)
    steps.done("record", what, None, f"{local.sim.stats()['records']} record")
    what = bitbake(IMAGE)
    hub_update = build.deploy / f"{IMAGE}-ota" / checks.IMAGE_FILE
    manifest = manifests.read(str(hub_update))
    steps.done("image", what, manifest["size"], f"sha256 {manifest['sha256'][:16]}…")
    what = bitbake("-c", "upload_ota", IMAGE)
    steps.done("upload", what, manifest["size"], f"versionNumber {manifest['record']['versionNumber']}")
    local.sim.register(DEVICE)
    steps.done("deploy", bitbake("-c", "deploy_ota", IMAGE), None, DEVICE)
    return hub_update


def without_bitbake(folder: Path, local: services.RunningService, steps: Steps) -> Path:
    """The same library calls as the tasks make, on a root file system made here."""
    settings = config.load(str(local.conf), {"build_number": BUILD_NUMBER}, {}, config.PUBLISH_NEEDS)
    cloud, wanted = service.connect(settings), record.wanted(settings)
    with journal.Journal(str(folder / "journal.jsonl")) as log:
        work = context.Context(cloud, log, print)
        made, _ = publish.ensure_record(work, wanted)
        steps.done("record", f"{made.name} {made.version}", None, f"versionNumber {made.version_number}")
        root, archive = folder / "rootfs", folder / "image.tar.gz"
        (root / "etc").mkdir(parents=True, exist_ok=True)
        (root / "etc" / "hostname").write_text("hub\n")
        record.install(made, str(root))
        with tarfile.open(archive, "w:gz") as image:
            image.add(root, ".")
        packed = payload.package(str(archive), str(folder / settings.image_file))
        manifests.write(packed, {"version": made.version, "record": dict(record.as_created(made).fields)})
        steps.done(
            "image",
            f"a root file system made here: {settings.image_file}",
            packed.size,
            f"sha256 {packed.sha256[:16]}…",
        )
        done = publish.publish_file(work, made, packed.path)
        steps.done("upload", "uploaded and offered to the device type", packed.size, f"image {done.image_id}")
        local.sim.register(DEVICE)
        rollout.push(work, rollout.Image(done.image_id, made.version_number), [DEVICE])
        steps.done("deploy", "pushed", None, DEVICE)
    return Path(packed.path)


def receive(folder: Path, local: services.RunningService, hub_update: Path, steps: Steps) -> None:
    """The device's side: download, check, sysupgrade (here: unpack), report; then compare both ends."""
    root = folder / "device"
    root.mkdir(exist_ok=True)
    sysupgrade = ["sh", "-c", 'tar -xzf "$1" --no-same-owner -C "$SIMHUB_NEW_ROOT"', "sysupgrade"]
    hub = hubs.Hub(
        local.url, DEVICE, root, folder / "tmp" / "ota_type_5", sysupgrade, device_type_id=local.device_type_id
    )
    if not hub.poll():
        raise errors.OtaError(f"the device {DEVICE} did not take the update")
    received = (folder / "tmp" / "ota_type_5.img").read_bytes()
    if received != hub_update.read_bytes():
        raise errors.OtaError("the device received other bytes than the payload")
    inside = record.read(str(root / "etc" / record.FILE_NAME))
    reported = local.sim.device(DEVICE)["versionNumber"]
    if not reported == inside.version_number == str(hub.running_version()):
        raise errors.OtaError(f"the device reports {reported}, its image says {inside.version_number}")
    steps.done(
        "device",
        f"downloaded, verified, installed; runs {inside.name} {inside.version}",
        len(received),
        f"reports {reported}",
    )
