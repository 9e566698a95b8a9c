# SPDX-License-Identifier: MIT
"""The layer's tests for testimage, loaded and run by OE-Core; the emulated board's console takes the place of ssh."""

from __future__ import annotations

import json
import logging

import pytest

from bench import Bench
from rehearsal.board.device import Device
from rehearsal.build import Workspace
from rehearsal.folders import PROJECT


class Console:
    """What OE-Core's tests need of a target."""

    def __init__(self, device: Device):
        self.device = device
        # what the system said while it came up is no answer
        device.command("true")

    def run(self, command: str, timeout: float | None = None) -> tuple[int, str]:
        return self.device.try_command(command, timeout or 300)


def test_a_device_that_took_an_update_passes_the_layers_tests_for_testimage(
    bench: Bench, device: Device, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert device.update(bench.release(2))[0] is None
    assert device.wait_until_up() == "B"
    for folder in ("openembedded-core/meta/lib", "bitbake/lib"):
        monkeypatch.syspath_prepend(str(workspace.folder / folder))
    from oeqa.runtime.context import OERuntimeTestContext

    manifest = json.loads(bench.build.payload.with_name("hub_update.bin.manifest.json").read_text())
    facts, packages = {"MLPREFIX": "", "MACHINE": manifest["machine"]}, set(manifest["packages"])
    context = OERuntimeTestContext(facts, logging.getLogger("oeqa"), Console(device), packages, None)
    cases = PROJECT / "meta-afero-ota/lib/oeqa/runtime/cases"
    context.loadTests([str(cases)], modules=["afero_ota_device"])
    result = context.runTests()
    assert result.wasSuccessful(), [text for _, text in (*result.failures, *result.errors)]
    assert (result.testsRun, result.skipped) == (4, [])
    device.check("B", bench.release(2), user_data=False)
