# SPDX-License-Identifier: MIT
"""What the Python commands in this folder share: find the library, and bring what it needs on first use."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
LIBRARY = HERE.parent / "meta-afero-ota" / "lib"


def prepare(*groups: str, modules: tuple[str, ...] = ("requests", "yaml")) -> None:
    """Make the library importable; when a module is missing, install the groups (scripts/setup) and start again there."""
    sys.path.insert(0, str(LIBRARY))
    if all(importlib.util.find_spec(module) for module in modules):
        return
    if os.environ.get("AFERO_OTA_BOOTSTRAPPED"):
        missing = ", ".join(module for module in modules if not importlib.util.find_spec(module))
        sys.exit(f"{sys.argv[0]}: Python modules are missing even after scripts/setup: {missing}")
    done = subprocess.run([HERE / "setup", *groups], stdout=subprocess.PIPE, text=True)
    if done.returncode or not done.stdout.strip():
        sys.exit(done.returncode or 1)
    python = os.path.join(done.stdout.strip().splitlines()[-1], "python3")
    os.environ["AFERO_OTA_BOOTSTRAPPED"] = "1"
    os.execv(python, [python, *sys.argv])
