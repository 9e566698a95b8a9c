# SPDX-License-Identifier: MIT
"""What the Yocto Project asks of a layer."""

from __future__ import annotations

from pathlib import Path

from rehearsal.build import Workspace


def test_yocto_check_layer_passes(any_release: Workspace, folder: Path) -> None:
    """Documents, compatibility, parsing, and that adding the layer changes no signature."""
    build = any_release.build(folder / any_release.release, files=("tests/bitbake/without-layer.yml",))
    layers = build.folder / "conf" / "bblayers.conf"
    lines = layers.read_text().splitlines(keepends=True)
    without = [line for line in lines if not line.rstrip(' \\"\n').endswith("/meta-afero-ota/meta-afero-ota")]
    assert len(without) == len(lines) - 1
    layers.write_text("".join(without))
    scripts = any_release.folder / "openembedded-core" / "scripts"
    done = build.tool(
        str(scripts / "yocto-check-layer"),
        str(any_release.project / "meta-afero-ota"),
        env={"BUILDDIR": str(build.folder)},
    )
    assert done.returncode == 0, done.output
    assert "meta-afero-ota ... PASS" in done.output, done.output
