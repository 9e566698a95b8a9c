# SPDX-License-Identifier: MIT
"""What the CVE reports beside a payload say: the manifest's `vex` and `cve`, files of OE-Core's classes."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from ..errors import ConfigError, Fault

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_KINDS, _FORMAT = ("vex", "cve"), "cve-check JSON"
_RANK = ("Patched", "Ignored")  # everything else is worse


def read(folder: str, manifest: Mapping[str, Any]) -> dict[str, str]:
    """CVE id to its status (Unpatched, Ignored, Patched, …), the worst one where packages differ; {} without a report.

    Raises ConfigError for a report that is named and cannot be read.
    """
    found: dict[str, str] = {}
    for kind in _KINDS:
        said = manifest.get(kind)
        if isinstance(said, dict) and said.get("format") == _FORMAT:
            for name, status in _issues(os.path.join(folder, os.path.basename(str(said.get("file"))))):
                found[name] = max(found.get(name, status), status, key=_rank)
    return found


def _issues(path: str) -> list[tuple[str, str]]:
    try:
        with open(path, encoding="utf-8") as stream:
            document = json.load(stream)
        return [
            (str(issue["id"]), str(issue["status"])) for package in document["package"] for issue in package["issue"]
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        problem = f"the CVE report cannot be read: {error}"
        raise ConfigError([Fault(path, problem, "take it from a backup, or package the image again")]) from None


def _rank(status: str) -> int:
    return _RANK.index(status) if status in _RANK else len(_RANK)
