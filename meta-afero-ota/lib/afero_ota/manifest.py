# SPDX-License-Identifier: MIT
"""The manifest of a payload: a JSON file beside it that says what it is (`hub_update.bin.manifest.json`)."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

from .errors import ConfigError, Fault
from .files import write_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from .payload import Payload

SUFFIX = ".manifest.json"
FORMAT = 1


def path_of(payload_path: str) -> str:
    """Where the manifest of a payload is: beside it, same name with `.manifest.json`."""
    return payload_path + SUFFIX


def write(payload: Payload, facts: Mapping[str, Any]) -> str:
    """Write the manifest beside the payload and return its path.

    It holds format, file, sha256, size, and the caller's facts (image, machine, distro, record, layers, …), with sorted keys.
    """
    own = {
        "format": FORMAT,
        "file": os.path.basename(payload.path),
        "sha256": payload.sha256,
        "size": payload.size,
    }
    path = path_of(payload.path)
    write_text(path, json.dumps({**own, **facts}, sort_keys=True, indent=4, ensure_ascii=False) + "\n")
    return path


def read(path: str) -> dict[str, Any]:
    """The manifest at `path`, or of the payload there. Raises ConfigError when it is missing or not a manifest."""
    path = path if path.endswith(SUFFIX) else path_of(path)
    remedy = "package the image again"
    try:
        with open(path, encoding="utf-8") as stream:
            document = json.load(stream)
    except OSError as error:
        raise ConfigError([Fault(path, f"the manifest cannot be read: {error.strerror}", remedy)]) from None
    except ValueError as error:
        raise ConfigError([Fault(path, f"is not JSON ({error})", remedy)]) from None
    if not isinstance(document, dict) or not isinstance(document.get("sha256"), str):
        raise ConfigError([Fault(path, "is not a manifest", remedy)])
    return document


def verify(payload: Payload, document: Mapping[str, Any]) -> None:
    """Compare a payload with its manifest. Raises ConfigError when it is not the file that was packaged."""
    if document.get("sha256") != payload.sha256:
        problem = f"has SHA-256 {payload.sha256}, its manifest says {document.get('sha256')}"
        raise ConfigError([Fault(payload.path, problem, "it was changed after packaging: package the image again")])


def build_time(epoch: str) -> str:
    """SOURCE_DATE_EPOCH (seconds since 1970, text) as an ISO 8601 time in UTC; "" when it is not a number."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(epoch))) if epoch.isdigit() else ""


def packages(path: str) -> dict[str, str]:
    """Names and versions of an image's packages, from BitBake's manifest of it (lines of `name architecture version`).

    Returns {} without the file.
    """
    try:
        with open(path, encoding="utf-8") as stream:
            fields = [line.split() for line in stream]
    except FileNotFoundError:
        return {}
    return {words[0]: words[2] for words in fields if len(words) == 3}
