# SPDX-License-Identifier: MIT
"""For testimage: TEST_SUITES:append = " afero_ota_device". What a device says of itself, and that it refuses what it must.

Not called afero_ota, since testimage imports cases by their bare name, and that is the layer's library.
"""

from __future__ import annotations

import json

from oeqa.runtime.case import OERuntimeTestCase
from oeqa.runtime.decorator.package import OEHasPackage

CONFIRMED = "/run/afero-ota/confirmed"
REASON = "/afero_nv/reboot_reason"
BROKEN = "/tmp/afero-ota-broken"


class AferoOtaDevice(OERuntimeTestCase):  # type: ignore[misc] # OE-Core's modules have no types
    """Record, slot and header; images with the A/B update have the package afero-sysupgrade."""

    def said(self, command: str) -> str:
        """The output of a command that must succeed."""
        status, output = self.target.run(command)
        self.assertEqual(status, 0, f"{command}\n{output}")
        return str(output).strip()

    def test_the_record_is_in_etc_under_both_names(self) -> None:
        record = json.loads(self.said("cat /etc/full-ota-record.json"))
        self.assertLessEqual({"id", "name", "version", "versionNumber"}, set(record))
        self.assertEqual(self.said("readlink /etc/full_ota_record.json"), "full-ota-record.json")

    @OEHasPackage(["afero-sysupgrade"])  # type: ignore[untyped-decorator]
    def test_the_running_slot_is_confirmed(self) -> None:
        self.said(f"n=0; until [ -e {CONFIRMED} ] || [ $n = 120 ]; do n=$((n+1)); sleep 1; done; [ -e {CONFIRMED} ]")
        words = dict(word.partition("=")[::2] for word in self.said("cat /proc/cmdline").split())
        variables = dict(line.partition("=")[::2] for line in self.said("fw_printenv").splitlines())
        self.assertIn(words.get("rauc.slot"), ("A", "B"))
        self.assertEqual(variables.get("BOOT_ORDER", "").split()[:1], [words["rauc.slot"]])
        self.assertEqual(variables.get("AFERO_OTA_TRYING", ""), "")

    @OEHasPackage(["afero-sysupgrade"])  # type: ignore[untyped-decorator]
    def test_the_header_in_etc_is_that_of_the_running_system(self) -> None:
        names = self.said("ls /etc/afero-ota/hdr 2>/dev/null || true").split()
        if not names:
            self.skipTest("this system came with the factory's disk, which has no header")
        for name in names:
            kept, shown = (self.said(f"sha256sum < {path}/{name}") for path in ("/etc/afero-ota/hdr", "/etc"))
            self.assertEqual(kept, shown)

    @OEHasPackage(["afero-sysupgrade"])  # type: ignore[untyped-decorator]
    def test_sysupgrade_refuses_what_is_no_image(self) -> None:
        before = self.said("fw_printenv")
        # what the last update came to is for the cloud, and no test's business
        self.said(f"cp {REASON} {BROKEN}.reason 2>/dev/null; echo broken > {BROKEN}.img; echo header > {BROKEN}.hdr")
        status, output = self.target.run(f"/sbin/sysupgrade {BROKEN}.img")
        self.said(f"mv {BROKEN}.reason {REASON} 2>/dev/null || rm -f {REASON}; rm -f {BROKEN}.*")
        self.assertEqual(status, 5, output)
        self.assertIn("REFUSED", output)
        self.assertEqual(self.said("fw_printenv"), before)
