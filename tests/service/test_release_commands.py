# SPDX-License-Identifier: MIT
"""`afero-ota release` and `affected`, as a person types them, with devices of the local OTA service."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from afero_ota import errors
from rehearsal.service import RunningService

COMMAND = Path(__file__).resolve().parents[2] / "scripts" / "afero-ota"
Done = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def service() -> Iterator[RunningService]:
    with RunningService() as running:
        yield running


class Shop:
    """A folder in which somebody types commands."""

    def __init__(self, folder: Path, service: RunningService) -> None:
        self.folder, self.service = folder, service

    def run(self, *arguments: str) -> Done:
        environment = {**os.environ, "AFERO_OTA_CONF": str(self.service.conf)}
        command = [str(COMMAND), *arguments]
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True)
        assert "Traceback" not in done.stderr
        return done

    def release(self, build: str, openssl: str) -> None:
        """Upload an image with this openssl, and keep it."""
        (self.folder / "image.tar.gz").write_bytes(os.urandom(1000))
        assert self.run("record", "-n", build).returncode == 0
        assert self.run("package", "image.tar.gz").returncode == 0
        # what only a build with BitBake knows
        described = self.folder / "hub_update.bin.spdx.json"
        described.write_text(f'{{"openssl": "{openssl}"}}')
        path = self.folder / "hub_update.bin.manifest.json"
        sbom = {"file": described.name, "format": "SPDX-3.0.1", "sha256": sha256(described)}
        more = {"sbom": sbom, "packages": {"libssl3": f"{openssl}-r0"}}
        path.write_text(json.dumps({**json.loads(path.read_text()), **more}))
        assert self.run("upload").returncode == 0
        done = self.run("release")
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"releases/Gateway/1.0.{build}: kept; added journals/upload-")


@pytest.fixture(scope="module")
def shop(service: RunningService, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """With three uploaded releases, of which two have an old openssl."""
    shop = Shop(tmp_path_factory.mktemp("shop"), service)
    for build, openssl in (("1", "3.0.12"), ("2", "3.0.13"), ("3", "3.0.14")):
        shop.release(build, openssl)
    return shop


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_affected_names_releases_devices_and_what_fixes_it(shop: Shop) -> None:
    numbers = {}
    for version in ("1.0.1", "1.0.2", "1.0.3"):
        said = json.loads(shop.run("report", "--json", f"releases/Gateway/{version}/hub_update.bin").stdout)
        numbers[version] = str(said["record"]["versionNumber"])
    for device, version in (("hub-1", "1.0.1"), ("hub-2", "1.0.1"), ("hub-3", "1.0.3")):
        shop.service.sim.register(device, versionNumber=numbers[version])
    shop.service.sim.register("hub-4")
    found = json.loads(shop.run("affected", "libssl3<3.0.14", "--json").stdout)
    affected = [(one["version"], one["devices"]) for one in found["affected"]]
    assert affected == [("1.0.1", ["hub-1", "hub-2"]), ("1.0.2", [])]
    assert [(one["version"], one["devices"]) for one in found["fixes"]] == [("1.0.3", ["hub-3"])]
    assert found["unknownDevices"] == ["hub-4"]
    shown = shop.run("affected", "libssl3<3.0.14").stdout
    assert "2 of 3 releases are affected by libssl3<3.0.14; 2 devices run one of them" in shown
    assert "not among the releases, or show none: 1" in shown


def test_affected_without_devices_needs_no_account(shop: Shop) -> None:
    done = shop.run("-c", "/nowhere.json", "affected", "busybox", "--no-devices")
    assert (done.returncode, done.stdout) == (0, "none of 3 releases contains busybox\n")


@pytest.mark.parametrize("name", ["hub_update.bin", "hub_update.bin.spdx.json", "hub_update.bin.manifest.json"])
def test_every_command_that_reads_a_release_says_which_file_was_tampered_with(
    shop: Shop, tmp_path: Path, name: str
) -> None:
    there = shop.folder / "releases" / "Gateway" / "1.0.2"
    path, payload = there / name, str(there / "hub_update.bin")
    right, before = sha256(path), path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(before + b" ")
    try:
        commands = [
            ("release", "--check"),
            ("release", payload),
            ("report", payload),
            ("upload", payload),
            ("plan", "--payload", payload, "-o", str(tmp_path / "plan.yml")),
            *([("affected", "libssl3", "--no-devices")] if name.endswith(".manifest.json") else []),
        ]
        for command in commands:
            done = shop.run(*command)
            assert done.returncode == errors.ConfigError.exit_status, command
            assert f"{name}: has SHA-256 {sha256(path)}, expected {right}" in done.stderr, command
    finally:
        path.write_bytes(before)
    assert shop.run("release", "--check").stdout == "3 releases in releases: every file is as it was written\n"
