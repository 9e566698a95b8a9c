# SPDX-License-Identifier: MIT
"""What the Python commands in this folder start from: the library made importable, and what it needs installed on first use.

`scripts/run` executes this file with the name of a module, whose function `main` is the command. The replacements of Afero's tools,
which people also start as `python3 FILE`, import it and call `prepare`.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
LIBRARY = HERE.parent / "meta-afero-ota" / "lib"
_SECOND_START = "AFERO_OTA_BOOTSTRAPPED"


def prepare(*groups: str, modules: tuple[str, ...] = ("requests", "yaml")) -> None:
    """Make the library importable; when a module is missing, have scripts/run install the groups and start again."""
    sys.path.insert(0, str(LIBRARY))
    missing = [module for module in modules if not importlib.util.find_spec(module)]
    second_start = os.environ.pop(_SECOND_START, "")
    if not missing:
        return
    if second_start:
        sys.exit(f"{sys.argv[0]}: Python modules are missing even after scripts/setup: {', '.join(missing)}")
    os.environ[_SECOND_START] = "1"
    os.execv(HERE / "run", ["run", " ".join(groups), *sys.argv])


def run(module: str, *arguments: str) -> int:
    """Run the function `main` of a module of the library or of this folder with these command line arguments."""
    sys.path.insert(0, str(LIBRARY))
    sys.argv[:] = [module, *arguments]
    status: int = importlib.import_module(module).main()
    return status


if __name__ == "__main__":
    sys.exit(run(*sys.argv[1:]))
