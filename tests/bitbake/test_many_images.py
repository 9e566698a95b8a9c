# SPDX-License-Identifier: MIT
"""Several machines, distributions and images in one call of BitBake, each with its own record, payload and device type."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from rehearsal.build import Build, Workspace
from rehearsal.service import RunningService

PRO_TYPE = "b7653907-0000-4000-8000-775b68f5f814"
CONF = """
AFERO_OTA_CONF = "{conf}"
AFERO_OTA_BUILD_NUMBER = "3"
IMAGE_CLASSES:append:pn-core-image-minimal = " afero-ota"
AFERO_OTA_NAME:other-hub = "Other hub"
BBMULTICONFIG = "other-hub merged"
"""
# image and machine of each payload, below the build folder
PAYLOADS = {
    "Gateway": "tmp/deploy/images/qemuarm/gateway-image-ota",
    "Gateway Pro": "tmp/deploy/images/qemuarm/gateway-pro-image-ota",
    "Other hub": "tmp/deploy/images/other-hub/gateway-image-ota",
    "Merged": "tmp-merged/deploy/images/qemuarm/core-image-minimal-ota",
}
TARGETS = ("gateway-image", "gateway-pro-image", "mc:other-hub:gateway-image", "mc:merged:core-image-minimal")


class Made:
    """What one call of BitBake made of all of them."""

    def __init__(self, build: Build, service: RunningService):
        self.build, self.service = build, service

    def payload(self, name: str) -> Path:
        return self.build.folder / PAYLOADS[name] / "hub_update.bin"

    def manifest(self, name: str) -> dict[str, Any]:
        manifest: dict[str, Any] = json.loads(self.payload(name).with_suffix(".bin.manifest.json").read_text())
        return manifest

    def offered(self, device_type: str) -> dict[str, str]:
        """Name and SHA-256 of what the cloud offers to a device type."""
        url = f"{self.service.url}/v1/ota/partners/{self.service.partner_id}/deviceTypes/{device_type}/firmwareImages"
        answer = requests.get(url, headers={"Authorization": f"Bearer {self.service.token()}"}, timeout=30)
        answer.raise_for_status()
        images = answer.json()["content"]
        return {
            image["name"]: hashlib.sha256(requests.get(image["url"], timeout=30).content).hexdigest()
            for image in images
        }


@pytest.fixture(scope="module")
def made(any_release: Workspace, folder: Path) -> Iterator[Made]:
    with RunningService() as service:
        service.share()
        service.sim.register("a-pro", deviceTypeId=PRO_TYPE)
        files = ("tests/bitbake/products.yml",)
        build = any_release.build(folder / any_release.release, CONF.format(conf=service.conf), files=files)
        done = build.bitbake("-c", "upload_ota", *TARGETS)
        assert done.returncode == 0, done.output
        yield Made(build, service)


def test_every_image_has_the_record_of_its_own_recipe_machine_and_configuration(made: Made) -> None:
    for name in PAYLOADS:
        with tarfile.open(made.payload(name)) as archive:
            stream = archive.extractfile("./etc/full-ota-record.json")
            assert stream
            assert json.load(stream)["name"] == name
        assert made.manifest(name)["record"]["name"] == name
    machines = {name: made.manifest(name)["machine"] for name in PAYLOADS}
    assert machines == {"Gateway": "qemuarm", "Gateway Pro": "qemuarm", "Other hub": "other-hub", "Merged": "qemuarm"}


def test_every_image_is_offered_to_its_own_device_type(made: Made) -> None:
    hashes = {name: made.manifest(name)["sha256"] for name in PAYLOADS}
    pro = {"Gateway Pro": hashes.pop("Gateway Pro")}
    assert made.offered(PRO_TYPE) == pro
    assert made.offered(made.service.device_type_id) == hashes


def test_an_image_may_have_a_name_without_the_machine(made: Made) -> None:
    assert (made.build.deploy / "gateway-pro-image.rootfs.tar.gz").exists()
    assert (made.build.deploy / "gateway-image-qemuarm.rootfs.tar.gz").exists()


def test_a_distribution_with_merged_usr_has_the_programs_where_otamgr_looks_for_them(made: Made) -> None:
    with tarfile.open(made.payload("Merged")) as archive:
        assert archive.getmember("./sbin").linkname == "usr/sbin"
        assert archive.getmember("./usr/sbin/sysupgrade").mode == 0o755
        # a path through the link would unpack as a folder over it
        assert [name for name in archive.getnames() if name.startswith(("./sbin/", "./bin/", "./lib/"))] == []


def test_a_second_call_builds_and_uploads_nothing(made: Made) -> None:
    again = made.build.bitbake("-c", "upload_ota", *TARGETS)
    assert again.returncode == 0, again.output
    assert {task.split(":")[1] for task in again.tasks} == {"do_upload_ota"}
    assert again.output.count("nothing to do, uploaded before") == len(TARGETS)
