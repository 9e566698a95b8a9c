# SPDX-License-Identifier: MIT
"""kas and bitbake-setup enable the same fragments, so both make the same image. Only releases whose BitBake has bitbake-setup."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import referencing
from referencing.jsonschema import DRAFT202012

from rehearsal.build import Result, Workspace

IMAGE = "core-image-minimal"
CONFIGURATIONS = ("beaglebone-green-wireless", "hermetic")
SOURCES = ("bitbake", "meta-yocto", "openembedded-core")
SETTINGS = ("DISTRO", "DTB_FILES", "IMAGE_CLASSES", "IMAGE_INSTALL", "MACHINE", "MACHINEOVERRIDES")


class Road:
    """A build folder, and how to run commands in its environment."""

    def __init__(self, workspace: Workspace, folder: Path, first: Result):
        self.workspace, self.folder, self.first = workspace, folder, first
        assert first.returncode == 0, first.output

    @property
    def payload(self) -> Path:
        return self.folder / "tmp/deploy/images/qemuarm" / f"{IMAGE}-ota" / "hub_update.bin"

    def task_hashes(self) -> set[str]:
        """`recipe/version.task.hash` of every task that the image needed."""
        found = (self.folder / "tmp/stamps").glob("*/*/*.do_*.sigdata.*")
        return {f"{path.parent.name}/{path.name}" for path in found}


def init(workspace: Workspace, folder: Path, name: str) -> Path:
    """`bitbake-setup init` with the sources that are here. Returns the new build folder."""
    command = [str(workspace.folder / "bitbake/bin/bitbake-setup")]
    for setting, value in (("top-dir-prefix", folder.parent), ("top-dir-name", folder.name)):
        command += ["--setting", "default", setting, str(value)]
    command += ["init", "--non-interactive"]
    for source in SOURCES:
        command += ["-L", source, str(workspace.folder / source)]
    file = workspace.project / "bitbake-setup" / f"{name}.conf.json"
    done = workspace.run([*command, str(file), name, "afero-ota/development"], folder)
    assert done.returncode == 0, done.output
    return folder / f"afero-ota-{name}-development" / "build"


def in_setup(workspace: Workspace, build: Path, command: str) -> Result:
    """Run a command in a shell as bitbake-setup's messages say."""
    return workspace.run(["bash", "-c", f". {build}/init-build-env >/dev/null && {command}"], build)


@pytest.fixture(scope="module")
def top(wrynose: Workspace, folder: Path) -> Path:
    shutil.chown(folder, wrynose.user.pw_uid, wrynose.user.pw_gid)
    return folder


@pytest.fixture(scope="module")
def by_kas(wrynose: Workspace, top: Path) -> Road:
    """`kas build`, with an attestation."""
    files = ":".join(str(wrynose.project / "kas" / f"{name}.yml") for name in ("hermetic", "wrynose"))
    build = top / "kas"
    build.mkdir()
    shutil.chown(build, wrynose.user.pw_uid, wrynose.user.pw_gid)
    return Road(wrynose, build, wrynose.kas("build", "--provenance", "true", files, env={"KAS_BUILD_DIR": str(build)}))


@pytest.fixture(scope="module")
def by_setup(wrynose: Workspace, top: Path) -> Road:
    """`bitbake-setup init` and `bitbake`."""
    build = init(wrynose, top, "hermetic")
    return Road(wrynose, build, in_setup(wrynose, build, f"bitbake {IMAGE}"))


def test_both_roads_give_equal_task_hashes_and_the_same_payload(by_kas: Road, by_setup: Road) -> None:
    hashes = by_kas.task_hashes()
    assert any(f"{IMAGE}/" in name and ".do_package_ota." in name for name in hashes)
    assert by_setup.task_hashes() == hashes
    assert by_setup.payload.read_bytes() == by_kas.payload.read_bytes()


def test_the_attestation_of_kas_names_the_payload_and_every_layer_at_its_commit(by_kas: Road) -> None:
    statement = json.loads((by_kas.folder / "attestation/kas-build.provenance.json").read_text())
    subjects = {subject["name"]: subject["digest"]["sha256"] for subject in statement["subject"]}
    assert subjects["hub_update.bin"] == hashlib.sha256(by_kas.payload.read_bytes()).hexdigest()
    assert "hub_update.bin.manifest.json" in subjects
    sources = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    commits = {source["name"]: source["digest"]["gitCommit"] for source in sources if "digest" in source}
    assert set(SOURCES) <= set(commits)
    assert all(re.fullmatch("[0-9a-f]{40}", commit) for commit in commits.values())


def test_every_fragment_is_listed_with_its_summary_and_can_be_enabled_by_name(
    by_setup: Road, wrynose: Workspace
) -> None:
    command = "bitbake-config-build list-fragments && bitbake-config-build -q enable-fragment afero-ota/ab"
    done = in_setup(wrynose, by_setup.folder, f"{command} && bitbake-getvar --value AFERO_OTA_AB")
    assert done.returncode == 0, done.output
    names = {path.stem for path in (wrynose.project / "meta-afero-ota/conf/fragments").iterdir()}
    assert names == set(re.findall(r"^afero-ota/(\S+)\t\S", done.output, re.MULTILINE))
    assert done.output.splitlines()[-1] == "1"


def test_two_slots_take_the_smaller_payload_unless_rauc_unpacks_it(by_setup: Road, wrynose: Workspace) -> None:
    show = "bitbake-getvar -q --value AFERO_OTA_IMAGE_FSTYPE"
    for fragment, fstype in (("ab", "tar.xz"), ("rauc", "tar.gz")):
        done = in_setup(
            wrynose, by_setup.folder, f"bitbake-config-build -q enable-fragment afero-ota/{fragment} && {show}"
        )
        assert (done.returncode, done.output.splitlines()[-1]) == (0, fstype), done.output


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_the_configuration_is_one_that_bitbake_setup_accepts(wrynose: Workspace, name: str) -> None:
    folder = wrynose.folder / "bitbake/setup-schema"
    schemas: dict[str, Any] = {path.name: json.loads(path.read_text()) for path in folder.glob("*.json")}
    registry: Any = referencing.Registry()
    for file, schema in schemas.items():
        registry = registry.with_resource(file, DRAFT202012.create_resource(schema))
    validator = jsonschema.Draft202012Validator(schemas["bitbake-setup.schema.json"], registry=registry)
    validator.validate(json.loads((wrynose.project / "bitbake-setup" / f"{name}.conf.json").read_text()))


def test_the_board_is_configured_alike_by_both_roads(wrynose: Workspace, top: Path) -> None:
    """Only the configuration: to parse the board's recipes takes a minute, and test_boards.py does."""
    name = "beaglebone-green-wireless"
    show = "bitbake -e | grep -E '^(" + "|".join(SETTINGS) + ")(:[a-z-]+)?='"
    files = ":".join(str(wrynose.project / "kas" / f"{file}.yml") for file in (name, "wrynose"))
    board = top / "kas-board"
    board.mkdir()
    shutil.chown(board, wrynose.user.pw_uid, wrynose.user.pw_gid)
    kas = wrynose.kas("shell", files, "-c", show, env={"KAS_BUILD_DIR": str(board)})
    setup = in_setup(wrynose, init(wrynose, top, name), show)
    settings = [sorted(re.findall(r'^[A-Z_]+=".*"$', done.output, re.MULTILINE)) for done in (kas, setup)]
    assert any("am335x-bonegreen-wireless.dtb" in line for line in settings[0]), kas.output
    assert settings[0] == settings[1]
