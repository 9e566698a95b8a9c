# SPDX-License-Identifier: MIT
"""Several machines, one cache: kas/cache.yml against a real hash equivalence server and a real web server over shared state."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import http.server
import json
import os
import socket
import sqlite3
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from rehearsal.build import Result, Workspace
from rehearsal.folders import PROJECT
from rehearsal.service import RunningService

IMAGE = "core-image-minimal"
# the user's name is not a secret
SECRETS = {"userpw": "canary-pw-51d0", "auth-string": "Y2FuYXJ5LTUxZDA6Y2FuYXJ5LXNlY3JldA=="}


@pytest.fixture(scope="module")
def service() -> Iterator[RunningService]:
    with RunningService(conf=SECRETS) as running:
        running.share()
        yield running


# the machine that filled the cache, what others need to use it, and what was fetched from it
Shared = tuple["Machine", dict[str, str], list[str]]


class Machine:
    """An empty folder in which somebody types `kas build`."""

    def __init__(self, workspace: Workspace, folder: Path, service: RunningService) -> None:
        self.workspace, self.service, self.build = workspace, service, folder / "build"
        folder.mkdir()
        os.chown(folder, workspace.user.pw_uid, workspace.user.pw_gid)
        self.sstate = self.build / "sstate-cache"

    def kas_build(self, number: int, *files: str, **env: str) -> Result:
        """A release build with a record of the cloud."""
        names = ("kas/hermetic.yml", *self.workspace.files[1:-1], "kas/release.yml", *files)
        configuration = ":".join(str(self.workspace.project / name) for name in names)
        settings = {
            "KAS_BUILD_DIR": str(self.build),
            "AFERO_OTA_CONF": str(self.service.conf),
            "AFERO_OTA_BUILD_NUMBER": str(number),
            **env,
        }
        done = self.workspace.kas("build", configuration, env=settings)
        assert done.returncode == 0, done.output
        return done

    @property
    def payload(self) -> Path:
        return self.build / "tmp" / "deploy" / "images" / "qemuarm" / f"{IMAGE}-ota" / "hub_update.bin"

    def record(self) -> dict[str, Any]:
        """The record in the payload. The manifest must agree with the payload and with the record."""
        manifest = json.loads((self.payload.parent / "hub_update.bin.manifest.json").read_text())
        assert manifest["sha256"] == hashlib.sha256(self.payload.read_bytes()).hexdigest()
        with tarfile.open(self.payload) as archive:
            stream = archive.extractfile("./etc/full-ota-record.json")
            assert stream
            record: dict[str, Any] = json.loads(stream.read())
        assert manifest["record"] == record
        return record


def released(machine: Machine) -> dict[str, Any]:
    """The index that `afero-ota release` makes of what a machine built: the SHA-256 of payload, manifest, report, SBOM and VEX file."""
    folder = machine.build / "releases"
    command = (PROJECT / "scripts" / "afero-ota", "release", "-r", folder, machine.payload)
    subprocess.run(list(map(str, command)), cwd=machine.build, check=True)
    [path] = folder.glob("*/*/index.json")
    index: dict[str, Any] = json.loads(path.read_text())
    names = {f"hub_update.bin{suffix}" for suffix in ("", ".manifest.json", ".spdx.json", ".vex.json")}
    assert names <= index["files"].keys()
    return index


@contextlib.contextmanager
def web_server(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """A web server for a folder; yields its address, and the paths of the files that it served."""
    served: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_request(self, code: object = "-", size: object = "-") -> None:
            if self.command == "GET" and code == 200:
                served.append(self.path)

        def log_message(self, *arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def hash_server(workspace: Workspace, database: Path, *options: str) -> Iterator[str]:
    """A bitbake-hashserv over a database; yields its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    address = f"127.0.0.1:{port}"
    program = str(workspace.folder / "bitbake" / "bin" / "bitbake-hashserv")
    process = subprocess.Popen([program, "--bind", address, "--database", str(database), *options])
    try:
        deadline = time.monotonic() + 30
        while True:
            assert process.poll() is None, "bitbake-hashserv ended"
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            assert time.monotonic() < deadline, "bitbake-hashserv does not answer"
            time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture(scope="module")
def shared(scarthgap: Workspace, folder: Path, service: RunningService) -> Iterator[Shared]:
    """A machine that filled the cache with build 1, and servers for others. The hash server is read-only, as for merge requests."""
    database = folder / "hashes.db"
    first = Machine(scarthgap, folder / "first", service)
    with hash_server(scarthgap, database) as address:
        first.kas_build(1, "kas/cache.yml", HASHSERV_URL=address)
    known = rows(database)
    assert known > 10, "the first build reported its hashes"
    with hash_server(scarthgap, database, "--read-only") as address, web_server(first.sstate) as (url, served):
        yield first, {"SSTATE_MIRROR_URL": url, "HASHSERV_URL": address}, served
    assert rows(database) == known, "a read-only server took a report"


def rows(database: Path) -> int:
    """How many task hashes a hash server's database holds."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        count: int = connection.execute("select count(*) from unihashes_v3").fetchone()[0]
    return count


def objects(paths: Iterable[object]) -> set[str]:
    """recipe:task of the shared objects among paths or URLs."""
    fields = [unquote(str(path)).rpartition("/")[2].split(":") for path in paths if str(path).endswith(".tar.zst")]
    return {f"{name[1]}:do_{name[7].partition('_')[2].removesuffix('.tar.zst')}" for name in fields}


def test_an_empty_folder_takes_everything_that_can_be_shared_from_the_mirror(
    shared: Shared, scarthgap: Workspace, folder: Path, service: RunningService
) -> None:
    first, cache, served = shared
    served.clear()
    second = Machine(scarthgap, folder / "second", service)
    done = second.kas_build(1, "kas/cache.yml", **cache)
    mirror = objects(first.sstate.rglob("*"))
    assert {f"{IMAGE}:do_package_ota", "hello-data:do_package_write_deb"} <= mirror
    assert done.tasks & mirror == set(), "these were built although the mirror has them"
    restored = {task.removesuffix("_setscene") for task in done.tasks if task.endswith("_setscene")}
    assert {f"{IMAGE}:do_package_ota", "hello-data:do_package_write_deb"} <= restored
    assert restored <= objects(served)
    assert released(second) == released(first)
    assert second.record() == first.record()


def test_a_build_with_another_number_shares_everything_but_record_and_payload(
    shared: Shared, scarthgap: Workspace, folder: Path, service: RunningService
) -> None:
    first, cache, served = shared
    served.clear()
    third = Machine(scarthgap, folder / "third", service)
    done = third.kas_build(2, "kas/cache.yml", **cache)
    mirror = objects(first.sstate.rglob("*"))
    # the record is in the image, and the image in its SBOM
    own = {f"{IMAGE}:{task}" for task in ("do_create_rootfs_spdx", "do_create_image_sbom_spdx", "do_package_ota")}
    assert {f"{IMAGE}:do_package_ota"} <= done.tasks & mirror <= own
    assert "hello-data:do_package_write_deb" in objects(served)
    assert (first.record()["version"], third.record()["version"]) == ("1.0.1", "1.0.2")
    assert third.record()["versionNumber"] != first.record()["versionNumber"]


def test_nothing_secret_is_in_what_machines_share(shared: Shared, folder: Path) -> None:
    first, _, _ = shared
    files = [*(path for path in first.sstate.rglob("*") if path.is_file()), *folder.glob("hashes.db*")]
    assert len(files) > 20
    for file in files:
        try:
            content = file.read_bytes()
        except FileNotFoundError:
            assert file.name.startswith("hashes.db-"), file  # the running server's own, which come and go
            continue
        if content.startswith(b"\x28\xb5\x2f\xfd"):
            content = subprocess.run(["zstdcat", str(file)], stdout=subprocess.PIPE, check=True).stdout
        for secret in SECRETS.values():
            assert secret.encode() not in content, file


def test_builds_in_different_folders_without_a_cache_give_the_same_payload_and_sbom(
    shared: Shared, scarthgap: Workspace, folder: Path, service: RunningService
) -> None:
    """The whole image is made once more, in a folder whose path differs in length, too."""
    first, _, _ = shared
    again = Machine(scarthgap, folder / "another-path", service)
    done = again.kas_build(1)
    assert {f"{IMAGE}:do_rootfs", f"{IMAGE}:do_package_ota"} <= done.tasks
    assert released(again) == released(first)


def test_the_newer_release_shares_the_same_and_remakes_the_same_image(
    wrynose: Workspace, folder: Path, service: RunningService
) -> None:
    first, second = (Machine(wrynose, folder / f"wrynose-{name}", service) for name in ("a", "another-path"))
    first.kas_build(3)
    with web_server(first.sstate) as (url, _):
        done = second.kas_build(3, "kas/cache.yml", SSTATE_MIRROR_URL=url)
    assert done.tasks & {f"{IMAGE}:do_package_ota", f"{IMAGE}:do_package_ota_setscene"} == {
        f"{IMAGE}:do_package_ota_setscene"
    }
    assert released(second) == released(first)
    # OE-Core does not share root file systems and their archives
    assert f"{IMAGE}:do_image_tar" in done.tasks
    [archive] = second.payload.parent.parent.glob(f"{IMAGE}-*-release.tar.gz")
    assert archive.read_bytes() == first.payload.read_bytes()
