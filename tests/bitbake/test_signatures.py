# SPDX-License-Identifier: MIT
"""What runs again after a change of the library or of a variable, by the signatures of an image for two slots."""

from __future__ import annotations

import ast
import base64
import contextlib
import json
import os
import re
import shutil
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rehearsal.build import Build, Result, Workspace
from rehearsal.folders import PROJECT

IMAGE = "core-image-minimal"
CONF = f"""
IMAGE_CLASSES:append:pn-{IMAGE} = " afero-ota"
AFERO_OTA_AB = "1"
# the hermetic build has no kernel, only a file to stand for one
AFERO_OTA_BOOT_PACKAGES = ""
AFERO_OTA_BOOT_KERNEL = "/etc/hello"
# the disk image is of no interest here
IMAGE_FSTYPES:remove = "wic"
"""
RECORD, PACKAGE = "do_create_ota_record", "do_package_ota"
BUILDS = {"do_rootfs", "do_image", "do_image_tar", "do_image_complete", PACKAGE}
WATCHED = BUILDS | {RECORD}


def succeeds(build: Build, *arguments: str, env: dict[str, str] | None = None) -> Result:
    done = build.bitbake(*(arguments or (IMAGE,)), env=env)
    assert done.returncode == 0, done.output
    # what BitBake says when the library that parsed a recipe is not the one that runs its tasks
    assert "basehash" not in done.output, done.output
    return done


def signatures(build: Build, *images: str) -> dict[str, dict[str, str]]:
    """Task to signature, for each image; nothing is built."""
    shutil.rmtree(build.tmpdir / "stamps", ignore_errors=True)
    succeeds(build, "-S", "none", *images)
    found: dict[str, dict[str, str]] = {name: {} for name in images}
    for path in build.tmpdir.glob("stamps/*/*/*.sigdata.*"):
        if path.parent.name in found:
            task, _, signature = path.name[path.name.index("do_") :].partition(".sigdata.")
            found[path.parent.name][task] = signature
    return found


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    """The tasks that run again, of those that make the payload."""
    assert before.keys() >= BUILDS
    return {task for task in WATCHED if before.get(task) != after.get(task)}


@contextlib.contextmanager
def edited(build: Build, name: str, old: str, new: str) -> Iterator[None]:
    """The workspace's copy of a library file with one text replaced."""
    path = build.workspace.project / "meta-afero-ota" / "lib" / "afero_ota" / name
    text = path.read_text()
    assert old in text, f"{name} has no {old!r} any more"
    try:
        rewrite(path, text.replace(old, new))
        yield
    finally:
        rewrite(path, text)


def rewrite(path: Path, text: str) -> None:
    """Write a file and give it a time that it never had; BitBake looks at whole seconds only."""
    later = max(time.time(), path.stat().st_mtime) + 2
    path.write_text(text)
    os.utime(path, (later, later))


@pytest.fixture(scope="module")
def known(folder: Path) -> dict[str, tuple[Build, dict[str, str]]]:
    return {}


@pytest.fixture
def unchanged(
    any_release: Workspace, folder: Path, known: dict[str, tuple[Build, dict[str, str]]]
) -> tuple[Build, dict[str, str]]:
    """A build folder, and the signatures of its image."""
    name = any_release.release
    if name not in known:
        build = any_release.build(folder / name, CONF)
        known[name] = (build, signatures(build, IMAGE)[IMAGE])
    return known[name]


@pytest.mark.parametrize(
    ("name", "old", "new", "rerun"),
    [
        # private functions
        ("slot.py", "noatime,nofail", "relatime,nofail", BUILDS),
        ("record.py", "def _text(", "def _text( ", BUILDS),
        ("report/__init__.py", "facts.dumps(found)", "facts.dumps((found))", {PACKAGE}),
        ("report/image_markdown.py", '"---"', '":--"', {PACKAGE}),
        ("report/page.css", "--page: #f6f7f9", "--page: #f6f7fa", {PACKAGE}),
        ("report/packages.py", "ensure_ascii=False", "ensure_ascii=True", BUILDS),
        ("payload.py", "_BLOCK = 1 << 20", "_BLOCK = 1 << 19", {PACKAGE}),
        ("text.py", "unicode_escape", "unicode-escape", {PACKAGE}),
        ("sbom.py", "def _text(", "def _text( ", {PACKAGE}),
        # functions that tasks call by their full name
        ("tasks/__init__.py", "OTA payload of", "The payload of", {PACKAGE}),
        ("tasks/__init__.py", "the finished root file system.", "the final root file system.", BUILDS),
        # what only talks to the cloud or to people
        ("tasks/__init__.py", "names no device", "has no device", set()),
        ("tasks/configuration.py", "def no_file", "def  no_file", set()),
        ("transport.py", "SPDX", "spdx", set()),
        ("cli/__init__.py", "SPDX", "spdx", set()),
    ],
    ids=lambda value: value if isinstance(value, str) and value.endswith(".py") else "",
)
def test_a_change_of_the_library_reruns_the_tasks_that_use_it(
    unchanged: tuple[Build, dict[str, str]], name: str, old: str, new: str, rerun: set[str]
) -> None:
    build, before = unchanged
    with edited(build, name, old, new):
        assert changed(before, signatures(build, IMAGE)[IMAGE]) == rerun


@pytest.mark.parametrize("name", ["afero-ota.bbclass", "afero-ota-ab.bbclass"])
def test_the_checksums_of_a_task_include_what_its_modules_import(name: str) -> None:
    layer = PROJECT / "meta-afero-ota"
    lines = (layer / "classes-recipe" / name).read_text().replace("\\\n", " ").splitlines()
    tasks = [line for line in lines if re.match(r"do_\w+\[file-checksums\]", line)]
    assert tasks
    for task in tasks:
        listed = set(re.findall(r"\$\{AFERO_OTA_LIBRARY\}/([\w/]+)\.py:True", task))
        assert listed, task
        needed = set().union(*(imported(layer / "lib" / "afero_ota", module) for module in listed))
        # the text of an error is in no image
        assert needed - {"errors"} <= listed, task


def imported(library: Path, module: str) -> set[str]:
    """The modules of the library that a module (such as ``text`` or ``report/__init__``) imports when it runs."""
    tree = ast.parse((library / f"{module}.py").read_text())
    found = set()
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.level:
            folder = "/".join(module.split("/")[: -node.level])
            names = [node.module] if node.module else [alias.name for alias in node.names]
            found |= {f"{folder}/{name}".lstrip("/") for name in names}
    return found


def test_a_server_that_stays_in_memory_runs_the_changed_library(any_release: Workspace, folder: Path) -> None:
    build = any_release.build(folder / f"server-{any_release.release}", CONF)
    stays = {"BB_SERVER_TIMEOUT": "600"}
    try:
        assert f"OTA payload of {IMAGE}" in succeeds(build, env=stays).output
        with contextlib.ExitStack() as edits:
            edits.enter_context(edited(build, "tasks/__init__.py", "OTA payload of", "The payload of"))
            edits.enter_context(edited(build, "slot.py", "noatime,nofail", "relatime,nofail"))
            done = succeeds(build, env=stays)
            assert "Reconnecting to bitbake server" in done.output
            assert f"The payload of {IMAGE}" in done.output
            with tarfile.open(build.deploy / f"{IMAGE}-ota" / "hub_update.bin") as archive:
                table = archive.extractfile("./etc/fstab")
                assert table and b"relatime,nofail" in table.read()
            assert succeeds(build, env=stays).tasks == set()
    finally:
        build.bitbake("-m")


OFFLINE = ""
CLOUD = """
AFERO_OTA_CONF = "{conf}"
AFERO_OTA_BUILD_NUMBER = "1"
"""
GIVEN = 'AFERO_OTA_RECORD = "{record}"'
# an image for each: what is in its recipe, the line that is added to it, and the tasks that have another signature then
VARIABLES = {
    "name": (OFFLINE, 'AFERO_OTA_NAME = "Gateway"', BUILDS),
    "description": (OFFLINE, 'AFERO_OTA_DESCRIPTION = "The first one"', BUILDS),
    "version": (OFFLINE, 'AFERO_OTA_VERSION = "7"', BUILDS),
    "build-number": (OFFLINE, 'AFERO_OTA_BUILD_NUMBER = "7"', BUILDS),
    "debug-build": (OFFLINE, 'AFERO_OTA_DEBUG_BUILD = "1"', BUILDS),
    "tags": (OFFLINE, 'AFERO_OTA_TAGS = "beta"', BUILDS),
    "compatible": (OFFLINE, 'AFERO_OTA_COMPATIBLE = "hub"', BUILDS),
    "disk": (OFFLINE, 'AFERO_OTA_DISK = "/dev/mmcblk1"', BUILDS),
    "data-paths": (OFFLINE, 'AFERO_OTA_DATA_PATHS = "/afero_nv /srv"', BUILDS),
    "keep": (OFFLINE, 'AFERO_OTA_KEEP = "/etc/hostname"', BUILDS),
    "boot-kernel": (OFFLINE, 'AFERO_OTA_BOOT_KERNEL = "/boot/Image"', BUILDS),
    "boot-fdt": (OFFLINE, 'AFERO_OTA_BOOT_FDT = "/boot/hub.dtb"', BUILDS),
    "boot-initramfs": (OFFLINE, 'AFERO_OTA_BOOT_INITRAMFS = "/boot/initrd"', BUILDS),
    "boot-packages": (OFFLINE, 'AFERO_OTA_BOOT_PACKAGES = "hello-data"', BUILDS),
    "one-slot": (OFFLINE, 'AFERO_OTA_AB = "0"', BUILDS),
    "size-limit": (OFFLINE, 'AFERO_OTA_SIZE_LIMIT = "64M"', {PACKAGE}),
    "slot-size": (OFFLINE, 'AFERO_OTA_SLOT_SIZE = "1G"', {PACKAGE}),
    "report-since": (OFFLINE, 'AFERO_OTA_REPORT_SINCE = "{record}"', {PACKAGE}),
    "report-since-nothing": (OFFLINE, 'AFERO_OTA_REPORT_SINCE = "/nowhere.report.json"', set()),
    "image-file": (OFFLINE, 'AFERO_OTA_IMAGE_FILE = "gateway.img"', {PACKAGE}),
    "partner-offline": (OFFLINE, 'AFERO_OTA_PARTNER_ID = "0b1c"', set()),
    "service-offline": (OFFLINE, 'AFERO_OTA_SERVICE_URL = "https://example.com"', set()),
    "conf-offline": (CLOUD + 'AFERO_OTA_RECORD = "offline"', 'AFERO_OTA_CONF = "{same_conf}"', set()),
    "partner": (CLOUD, 'AFERO_OTA_PARTNER_ID = "0b1c"', BUILDS | {RECORD}),
    "service": (CLOUD, 'AFERO_OTA_SERVICE_URL = "https://example.com"', BUILDS | {RECORD}),
    "another-number": (CLOUD, 'AFERO_OTA_BUILD_NUMBER = "2"', BUILDS | {RECORD}),
    "device-type": (CLOUD, 'AFERO_OTA_DEVICE_TYPE_ID = "9f3e"', set()),
    "devices": (CLOUD, 'AFERO_OTA_DEVICES = "@hubs.txt"', set()),
    "journal": (CLOUD, 'AFERO_OTA_JOURNAL = "/srv/journal.jsonl"', set()),
    "conf-path": (CLOUD, 'AFERO_OTA_CONF = "{same_conf}"', set()),
    "record-path": (GIVEN, 'AFERO_OTA_RECORD = "{same_record}"', set()),
    "another-record": (GIVEN, 'AFERO_OTA_RECORD = "{another_record}"', BUILDS),
}


def test_a_variable_is_in_the_signatures_of_the_tasks_that_it_decides(any_release: Workspace, folder: Path) -> None:
    build = any_release.build(folder / f"variables-{any_release.release}", CONF)
    build.local_conf += f'BBFILES += "{build.folder}/images/*.bb"\n'
    files = input_files(build.folder / "inputs")
    write_images(build, {name: base for name, (base, _, _) in VARIABLES.items()}, files)
    before = signatures(build, *VARIABLES)
    write_images(build, {name: f"{base}\n{line}" for name, (base, line, _) in VARIABLES.items()}, files)
    after = signatures(build, *VARIABLES)
    found = {name: changed(before[name], after[name]) for name in VARIABLES}
    assert found == {name: tasks for name, (_, _, tasks) in VARIABLES.items()}


def input_files(folder: Path) -> dict[str, str]:
    """Paths of a configuration file and a record file, each with a copy elsewhere, and of another record."""
    conf = {
        "name": "Gateway",
        "version": "1.0",
        "partnerId": "partner",
        "deviceTypeId": "type",
        "username": "somebody@example.com",
        "userpw": "not told",
        "auth-string": base64.b64encode(b"client:secret").decode(),
    }
    record = {"type": 5, "id": "1", "name": "Gateway", "version": "1.0.7", "versionNumber": "7112"}
    contents = {
        "conf": conf,
        "same_conf": conf,
        "record": record,
        "same_record": record,
        "another_record": {**record, "versionNumber": "7113"},
    }
    paths = {name: folder / name / "input.json" for name in contents}
    for name, path in paths.items():
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(contents[name]))
    return {name: str(path) for name, path in paths.items()}


def write_images(build: Build, texts: dict[str, str], files: dict[str, str]) -> None:
    """An image recipe for each name, which ends in the text."""
    folder = build.folder / "images"
    folder.mkdir(exist_ok=True)
    included = build.workspace.project / "scripts/rehearsal/meta-hermetic/recipes-image/hermetic-image.inc"
    for name, text in texts.items():
        for file, path in files.items():
            text = text.replace(f"{{{file}}}", path)
        recipe = f'SUMMARY = "An image"\nrequire {included}\ninherit afero-ota\n{text}\n'
        (folder / f"{name}.bb").write_text(recipe)
