# SPDX-License-Identifier: MIT
"""The project's folder, and the two folders that everything in it shares, as scripts/folders names them."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


@functools.cache
def _shared() -> tuple[Path, Path]:
    done = subprocess.run([PROJECT / "scripts" / "folders"], stdout=subprocess.PIPE, text=True, check=True)
    cache, references = done.stdout.splitlines()
    return Path(cache), Path(references)


def cache_folder() -> Path:
    """Where virtual environment, checkouts, U-Boot and builds are kept."""
    return _shared()[0]


def reference_folder() -> Path:
    """Where kas's reference clones are."""
    return _shared()[1]
