# SPDX-License-Identifier: MIT
"""The hermetic build itself: kas/hermetic.yml and the layer that goes with it."""

from __future__ import annotations

from pathlib import Path

from rehearsal.build import Workspace


def test_a_hermetic_build_prints_no_warning(any_release: Workspace, folder: Path) -> None:
    local_conf = 'IMAGE_CLASSES:append:pn-core-image-minimal = " afero-ota"\nAFERO_OTA_RECORD = "offline"\n'
    build = any_release.build(folder / any_release.release, local_conf)
    done = build.bitbake("core-image-minimal")
    assert done.returncode == 0, done.output
    warnings = [line for line in done.output.splitlines() if "WARNING" in line]
    assert warnings == []
