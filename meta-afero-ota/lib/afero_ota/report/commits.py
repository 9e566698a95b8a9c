# SPDX-License-Identifier: MIT
"""What the history of the layers says of the time between two images."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_MOST = 50  # of one layer


def between(
    folders: Mapping[str, str], before: Mapping[str, str], after: Mapping[str, str]
) -> dict[str, tuple[str, ...]]:
    """Layer to the subjects of its commits between two images, newest first; a layer whose history is not there is left out.

    folders: layer to its folder. before, after: layer to `branch:revision`, as in a manifest.
    """
    found = {}
    for name, folder in sorted(folders.items()):
        old, new = _revision(before.get(name, "")), _revision(after.get(name, ""))
        if old and new and old != new:
            subjects = _subjects(folder, old, new)
            if subjects:
                found[name] = subjects
    return found


def _revision(text: str) -> str:
    found = re.search(r":([0-9a-f]{7,64})\b", text)
    return found[1] if found else ""


def _subjects(folder: str, old: str, new: str) -> tuple[str, ...]:
    command = ["git", "-C", folder, "log", "--format=%s", f"--max-count={_MOST}", f"{old}..{new}", "--", "."]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, errors="replace")
    return tuple(done.stdout.splitlines()) if done.returncode == 0 else ()
