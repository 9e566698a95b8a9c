# SPDX-License-Identifier: MIT
"""The SBOM of a payload, in real builds with what kas/release.yml inherits from OE-Core."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from spdx_python_model import v3_0_1 as spdx

from rehearsal.build import Build, Workspace

IMAGE = "core-image-minimal"
TOPICS = ("kas/release.yml", "kas/offline.yml")
CLASS = f'IMAGE_CLASSES:append:pn-{IMAGE} = " afero-ota"\n'
SBOM, VEX = "hub_update.bin.spdx.json", "hub_update.bin.vex.json"


def made(workspace: Workspace, folder: Path, more: str = "", files: tuple[str, ...] = TOPICS) -> Build:
    build = workspace.build(folder, CLASS + more, files=files)
    done = build.bitbake(IMAGE)
    assert done.returncode == 0, done.output
    return build


def beside(build: Build, name: str = "hub_update.bin") -> bytes:
    return (build.deploy / f"{IMAGE}-ota" / name).read_bytes()


def manifest(build: Build) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(beside(build, "hub_update.bin.manifest.json"))
    return document


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(scope="module")
def builds() -> dict[str, Build]:
    return {}


def made_once(workspace: Workspace, folder: Path, builds: dict[str, Build]) -> Build:
    if workspace.release not in builds:
        builds[workspace.release] = made(workspace, folder / workspace.release)
    return builds[workspace.release]


@pytest.fixture
def build(any_release: Workspace, folder: Path, builds: dict[str, Build]) -> Build:
    """One build folder for each release, with the image built once."""
    return made_once(any_release, folder, builds)


def test_the_sbom_lists_the_payload_and_the_manifest_names_the_sbom(build: Build) -> None:
    said = manifest(build)["sbom"]
    content = beside(build, SBOM)
    assert (said["file"], said["format"], said["reproducible"]) == (SBOM, "SPDX-3.0.1", True)
    assert (said["sha256"], said["size"]) == (sha256(content), len(content))
    files = [node for node in json.loads(content)["@graph"] if node["type"] == "software_File"]
    hashes = {file["verifiedUsing"][0]["hashValue"]: file["name"] for file in files}
    assert hashes[sha256(beside(build))] == f"{IMAGE}-qemuarm.rootfs-release.tar.gz"
    assert f"| SBOM | {SBOM}, SPDX-3.0.1 |" in beside(build, "hub_update.bin.report.md").decode()


def test_the_sbom_is_valid_by_the_model_of_the_spdx_project(build: Build) -> None:
    found = spdx.SHACLObjectSet()
    with (build.deploy / f"{IMAGE}-ota" / SBOM).open("rb") as stream:
        spdx.JSONLDDeserializer().read(stream, found)
    assert found.link() == set(), "every reference leads to an element of the document"
    names = {package.name for package in found.foreach_type(spdx.software_Package)}
    assert names == {IMAGE, "hello-data"}
    # raises for an element without what the model requires of it
    spdx.JSONLDSerializer().write(found, io.BytesIO())


def test_the_vex_file_is_kept_beside_the_payload(build: Build) -> None:
    said, content = manifest(build)["vex"], beside(build, VEX)
    assert (said["file"], said["sha256"], said["size"]) == (VEX, sha256(content), len(content))
    assert [package["name"] for package in json.loads(content)["package"]] == ["hello-data"]


def test_an_sbom_of_another_image_is_refused(scarthgap: Workspace, folder: Path, builds: dict[str, Build]) -> None:
    build = made_once(scarthgap, folder, builds)
    [path] = [path for path in build.deploy.glob(f"{IMAGE}-*.spdx.json") if not path.is_symlink()]
    right = path.read_text()
    path.write_text(right.replace(sha256(beside(build)), "0" * 64))
    try:
        done = build.bitbake("-f", "-c", "package_ota", IMAGE)
        assert done.returncode != 0
        [archive] = [path for path in build.deploy.glob(f"{IMAGE}-*.tar.gz") if not path.is_symlink()]
        assert f"in the SBOM has the payload's SHA-256 {sha256(archive.read_bytes())}" in done.output
        assert "Traceback" not in done.output
    finally:
        path.write_text(right)
        assert build.bitbake("-f", "-c", "package_ota", IMAGE).returncode == 0


def test_documents_in_the_older_format_are_kept_and_called_not_reproducible(scarthgap: Workspace, folder: Path) -> None:
    build = made(scarthgap, folder / "older", 'INHERIT:append = " create-spdx-2.2"\n', ("kas/offline.yml",))
    said, content = manifest(build)["sbom"], beside(build, "hub_update.bin.spdx.tar.zst")
    assert (said["format"], said["reproducible"]) == ("SPDX-2.2", False)
    assert said["sha256"] == sha256(content)
    assert "not reproducible" in beside(build, "hub_update.bin.report.md").decode()


def test_a_release_is_kept_on_request_with_the_provenance_of_this_payload_and_never_by_a_build(
    scarthgap: Workspace, folder: Path, builds: dict[str, Build]
) -> None:
    build = made_once(scarthgap, folder, builds)
    assert not (build.folder / "releases").exists()
    (build.folder / "local.yml").write_text("header: {version: 20}\n")
    attestation = build.folder / "attestation" / "kas-build.provenance.json"
    attestation.parent.mkdir(exist_ok=True)
    before = build.local_conf
    try:
        build.local_conf += 'AFERO_OTA_RELEASE_FILES = "local.yml ../kas/*.yml"\n'
        attestation.write_text(json.dumps({"subject": [{"digest": {"sha256": "0" * 64}}]}))
        assert "is of another build" in released(build)
        attestation.write_text(json.dumps({"subject": [{"digest": {"sha256": sha256(beside(build))}}]}))
        build.local_conf += 'AFERO_OTA_RELEASES = "kept/with-provenance"\n'
        released(build)
        assert "is kept already" in released(build)
        build.local_conf += 'AFERO_OTA_RELEASE_FILES = "nowhere.yml"\n'
        done = build.bitbake("-c", "release_ota", IMAGE)
        assert done.returncode != 0 and "nowhere.yml: no such file" in done.output
    finally:
        build.local_conf = before
    [first] = (build.folder / "releases" / IMAGE).iterdir()
    index = json.loads((first / "index.json").read_text())
    assert index["files"]["hub_update.bin"]["sha256"] == sha256(beside(build))
    assert {SBOM, VEX, "hub_update.bin.manifest.json", "cves.json", "configuration/local.yml"} <= index["files"].keys()
    [second] = (build.folder / "kept" / "with-provenance" / IMAGE).iterdir()
    assert (second / "configuration" / attestation.name).read_bytes() == attestation.read_bytes()


def released(build: Build) -> str:
    done = build.bitbake("-c", "release_ota", IMAGE)
    assert done.returncode == 0, done.output
    return done.output
