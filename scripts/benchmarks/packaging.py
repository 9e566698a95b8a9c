# SPDX-License-Identifier: MIT
"""Making the file that is uploaded: ours, and what the peers' manuals say."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from .process import measure
from .race import OURS, Bench, Contestant, Sample, Table

_RAUC_MANIFEST = """[update]
compatible=gateway
version=1.0

[bundle]
format=verity

[image.rootfs]
filename=image.img
"""
_SW_DESCRIPTION = """software =
{
    version = "1.0";
    images: ( { filename = "image.bin"; device = "/dev/mmcblk0p2"; } );
}
"""


def write_image(path: Path, size: int) -> None:
    """A file that does not compress, like an image that is compressed already."""
    with path.open("wb") as stream:
        for start in range(0, size, 1 << 20):
            stream.write(os.urandom(min(1 << 20, size - start)))


def package(bench: Bench) -> list[Table]:
    """What each tool takes to make its update file from one image."""
    folder = bench.new_folder("package")
    write_image(folder / "image.bin", bench.size)
    _prepare_peers(folder)
    commands = {
        "afero-ota package": [OURS, "package", "image.bin", "-o", "out"],
        "sha256sum": ["sha256sum", "image.bin"],
        "cp + sha256sum": ["sh", "-c", "cp image.bin out && sha256sum out"],
        "mender-artifact": [
            "mender-artifact",
            "--compression",
            "none",
            "write",
            "rootfs-image",
            "-t",
            "gateway",
            "-n",
            "v1",
            "-f",
            "image.bin",
            "-o",
            "out",
        ],
        "rauc bundle": ["rauc", "bundle", "--cert=cert.pem", "--key=key.pem", "content", "out"],
        "swugenerator": ["swugenerator", "-s", "sw-description", "-a", ".", "-o", "out", "create"],
    }

    def contestant(name: str) -> Contestant:
        def run(_: int) -> Sample:
            (folder / "out").unlink(missing_ok=True)
            return measure(commands[name], folder)

        return Contestant(name, run)

    table = Table("package", f"Packaging an image of {bench.size >> 20} MiB", "sha256sum")
    table.notes.append(
        "afero-ota hashes the image and shares its blocks (reflink or hard link), where the file system can. mender-artifact runs "
        "without compression, since the image is compressed already; rauc compresses, as its manual's example does."
    )
    bench.race(table, [contestant(name) for name in commands])
    peers = [row for row in table.rows if row.values and row.name not in ("afero-ota package", "sha256sum")]
    fastest = min((min(row.values) for row in peers), default=0.0)
    table.aim("faster than every peer", "afero-ota package", fastest)
    return [table]


def _prepare_peers(folder: Path) -> None:
    (folder / "content").mkdir()
    (folder / "content" / "manifest.raucm").write_text(_RAUC_MANIFEST)
    os.link(folder / "image.bin", folder / "content" / "image.img")
    (folder / "sw-description").write_text(_SW_DESCRIPTION)
    command = "openssl req -x509 -newkey rsa:4096 -nodes -keyout key.pem -out cert.pem -subj /CN=benchmark -days 30"
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
