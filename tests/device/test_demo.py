# SPDX-License-Identifier: MIT
"""scripts/demo --boot: from the factory's disk to version 2, and what it prints."""

from __future__ import annotations

import re
import shutil
import sys

import pytest

from rehearsal import demo
from rehearsal.build import Workspace
from rehearsal.folders import cache_folder


def test_the_demo_updates_an_emulated_board(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # pytest's own folder cannot be read by the build user
    folder = cache_folder() / "work" / "tests" / "demo"
    shutil.rmtree(folder, ignore_errors=True)
    monkeypatch.setattr(sys, "argv", ["demo", "--boot", "--keep", str(folder)])
    status = demo.main()
    out, err = capsys.readouterr()
    assert status == 0, err
    shutil.rmtree(folder)
    console = [line.partition("|")[2].strip() for line in err.splitlines() if line.startswith("   board |")]
    order = ("U-Boot", "starting slot A", "slot A confirmed", "checking", "DONE", "starting slot B", "slot B confirmed")
    assert re.search("(?s)" + ".*".join(map(re.escape, order)), "\n".join(console)), err
    assert "slot A -> B" in out
    before, after = (int(number) for number in re.findall(r"attribute 2005: (\d+) -> (\d+)", out)[0])
    assert 0 < before < after
    assert "\x1b" not in out + err
