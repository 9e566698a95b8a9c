# SPDX-License-Identifier: MIT
"""What the packages of an image are, from the data that BitBake keeps of every package (pkgdata)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ..errors import ConfigError, Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

SUFFIX = ".ota-packages.json"


def collect(names: Iterable[str], read: Callable[[str], Mapping[str, str]]) -> str:
    """The JSON text of packages: name to recipe, licence, size (bytes when installed) and files (absolute paths).

    names: of packages as they are installed. read: the package data of one of them, {} when there is none.
    """
    found = {name: _package(read(name)) for name in names}
    return json.dumps(found, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"


def read(path: str) -> dict[str, dict[str, Any]]:
    """What `collect` wrote. Raises ConfigError."""
    try:
        with open(path, encoding="utf-8") as stream:
            found: dict[str, dict[str, Any]] = json.load(stream)
            return found
    except (OSError, ValueError) as error:
        raise ConfigError([Fault(path, f"cannot be read: {error}", "build the image again")]) from None


def _package(data: Mapping[str, str]) -> dict[str, Any]:
    # VARIABLE or VARIABLE:package, where package is the name before renaming
    values = {key.partition(":")[0]: value for key, value in data.items()}
    try:
        size, files = int(values.get("PKGSIZE") or 0), sorted(json.loads(values.get("FILES_INFO") or "{}"))
    except ValueError:
        size, files = 0, []
    licence = " ".join((values.get("LICENSE") or "").split())
    return {"recipe": values.get("PN") or "", "licence": licence, "size": size, "files": files}
