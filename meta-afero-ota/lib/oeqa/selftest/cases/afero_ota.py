# SPDX-License-Identifier: MIT
"""oe-selftest -r afero_ota: the class in a build folder of yours, without an account and without network."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tarfile
from typing import Any

from oeqa.selftest.case import OESelftestTestCase
from oeqa.utils.commands import bitbake, get_bb_var

IMAGE = "core-image-minimal"
CONF = f"""
IMAGE_CLASSES:append:pn-{IMAGE} = " afero-ota"
AFERO_OTA_IMAGE_FSTYPE:forcevariable = "tar.gz"
AFERO_OTA_CONF:forcevariable = ""
AFERO_OTA_RECORD:forcevariable = "offline"
AFERO_OTA_NAME:forcevariable = "oe-selftest"
"""


class AferoOta(OESelftestTestCase):  # type: ignore[misc] # OE-Core's modules have no types
    """What a build promises: record, payload, nothing to do the second time, and a refusal that says why."""

    def setUp(self) -> None:
        super().setUp()
        self.write_config(CONF)

    def payload(self) -> str:
        path: str = get_bb_var("AFERO_OTA_PAYLOAD", IMAGE)
        return path

    def test_the_image_holds_its_record_and_the_manifest_describes_the_payload(self) -> None:
        bitbake(IMAGE)
        path = self.payload()
        with open(f"{path}.manifest.json", encoding="utf-8") as stream:
            manifest: dict[str, Any] = json.load(stream)
        with open(path, "rb") as payload:
            self.assertEqual(hashlib.sha256(payload.read()).hexdigest(), manifest["sha256"])
        with tarfile.open(path) as archive:
            record = json.load(archive.extractfile("./etc/full-ota-record.json") or self.fail("no file"))
        self.assertEqual(record["name"], "oe-selftest")
        self.assertEqual(record["version"], manifest["record"]["version"])

    def test_a_second_build_has_nothing_to_do(self) -> None:
        bitbake(IMAGE)
        before = os.stat(self.payload()).st_mtime_ns
        again = bitbake(IMAGE).output
        self.assertEqual(re.findall(r"Running (?:setscene )?task .*:(do_rootfs|do_package_ota\w*)\)", again), [])
        self.assertEqual(os.stat(self.payload()).st_mtime_ns, before)

    def test_a_setting_that_cannot_work_stops_the_build_before_its_first_task(self) -> None:
        self.append_config(f'AFERO_OTA_NAME:forcevariable = "{"x" * 36}"')
        done = bitbake(IMAGE, ignore_status=True)
        self.assertNotEqual(done.status, 0, done.output)
        self.assertIn("AFERO_OTA_NAME: 36 characters, at most 35", done.output)
        self.assertNotIn("Running task", done.output)

    def test_an_image_with_an_offline_record_is_not_uploaded(self) -> None:
        done = bitbake(f"-c upload_ota {IMAGE}", ignore_status=True)
        self.assertNotEqual(done.status, 0, done.output)
        self.assertIn("AFERO_OTA_CONF", done.output)
