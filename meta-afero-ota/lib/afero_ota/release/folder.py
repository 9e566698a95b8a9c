# SPDX-License-Identifier: MIT
"""How a folder with an index is written, whole or not at all, and how it is verified."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import ConfigError, Fault, OtaError, RefusedError
from ..files import write_text
from ..sbom import compare

INDEX = "index.json"
FORMAT = 1
_BLOCK = 1 << 20
_PARTIAL = ".partial"
_REMEDY = "take the folder from a backup; nothing in a release changes after it was written"


def write(target: str, sources: Mapping[str, str], texts: Mapping[str, str], facts: Mapping[str, Any]) -> bool:
    """Write a folder with copies of files, and its index; returns False when it is there already and holds these files.

    sources: path in the folder to file. texts: path in the folder to content. facts: what else the index says. The folder appears
    by rename. Raises ConfigError for a source that cannot be read, or a folder that was tampered with, RefusedError when the folder is
    there with another content, OtaError when it cannot be written.
    """
    parent, name = os.path.split(target)
    partial = os.path.join(parent, f".{name}{_PARTIAL}")
    try:
        os.makedirs(parent, exist_ok=True)
        with _locked(parent):
            # what a killed run left behind
            shutil.rmtree(partial, ignore_errors=True)
            try:
                index = _fill(partial, sources, texts, facts)
                if os.path.lexists(target):
                    _compare(target, index)
                    return False
                os.rename(partial, target)
                _flush(parent)
                return True
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise OtaError(f"{target} cannot be written: {error.strerror} ({error.filename or parent})") from None


def _fill(
    folder: str, sources: Mapping[str, str], texts: Mapping[str, str], facts: Mapping[str, Any]
) -> dict[str, Any]:
    files: dict[str, dict[str, Any]] = {}
    for path, source in sources.items():
        files[path] = _copy(source, os.path.join(folder, path))
    for path, content in texts.items():
        write_text(os.path.join(folder, path), content, 0o444)
        raw = content.encode()
        files[path] = {"sha256": hashlib.sha256(raw).hexdigest(), "size": len(raw)}
    index = {"format": FORMAT, **facts, "files": files}
    write_text(
        os.path.join(folder, INDEX), json.dumps(index, sort_keys=True, indent=1, ensure_ascii=False) + "\n", 0o444
    )
    for path, _, _ in os.walk(folder):
        _flush(path)
    return index


def _copy(source: str, target: str) -> dict[str, Any]:
    os.makedirs(os.path.dirname(target), exist_ok=True)
    digest, size = hashlib.sha256(), 0
    try:
        stream = open(source, "rb")  # noqa: SIM115 closed below
    except OSError as error:
        raise ConfigError([Fault(source, f"cannot be read: {error.strerror}", "name a file that is there")]) from None
    with stream, open(target, "xb") as copy:
        while block := stream.read(_BLOCK):
            digest.update(block)
            size += copy.write(block)
        copy.flush()
        os.fchmod(copy.fileno(), 0o444)
        os.fsync(copy.fileno())
    return {"sha256": digest.hexdigest(), "size": size}


def _compare(target: str, index: Mapping[str, Any]) -> None:
    there = verify(target)
    before, after = there["files"], index["files"]
    # what was kept then and is not at hand now is no contradiction
    changed = [path for path in sorted(after) if before.get(path) != after[path]]
    if not changed and {**there, "files": {}} == {**index, "files": {}}:
        return
    lines = [f"{path}: {_sha256(before.get(path))} there, {_sha256(after.get(path))} now" for path in changed]
    raise RefusedError(
        f"{target} is there with another content. A release never changes: build with a new build number.\n  "
        + "\n  ".join(lines or [f"{INDEX} says something else of the same files"])
    )


def sha256_of(index: Mapping[str, Any], path: str) -> str:
    """What an index says of a file, "no such file" when it names none."""
    return _sha256(index["files"].get(path))


def _sha256(facts: Mapping[str, Any] | None) -> str:
    return str(facts["sha256"]) if facts else "no such file"


def read_index(folder: str) -> dict[str, Any]:
    """The index of a folder. Raises ConfigError when there is none."""
    path = os.path.join(folder, INDEX)
    try:
        with open(path, encoding="utf-8") as stream:
            index = json.load(stream)
    except OSError as error:
        raise ConfigError([Fault(path, f"cannot be read: {error.strerror}", _REMEDY)]) from None
    except ValueError as error:
        raise ConfigError([Fault(path, f"is not JSON ({error})", _REMEDY)]) from None
    files = index.get("files") if isinstance(index, dict) else None
    if not isinstance(files, dict) or not all(isinstance(one, dict) and "sha256" in one for one in files.values()):
        raise ConfigError([Fault(path, "is not the index of a release", _REMEDY)])
    if index.get("format") != FORMAT:
        remedy = "read it with a newer version of this project"
        raise ConfigError([Fault(path, f"has format {index.get('format')!r}, expected {FORMAT}", remedy)])
    return dict(index)


def verify(folder: str) -> dict[str, Any]:
    """The index of a folder whose files all are as it says. Raises ConfigError with both hashes of each that is not."""
    index = read_index(folder)
    faults = [compare(os.path.join(folder, path), str(facts["sha256"])) for path, facts in index["files"].items()]
    found = [fault for fault in faults if fault]
    found += [
        Fault(os.path.join(folder, path), f"is not in {INDEX}", "remove it; nothing is added to a release by hand")
        for path in _paths(folder)
        if path not in index["files"]
    ]
    if found:
        raise ConfigError(found, where=f"the release {folder}")
    return index


def read_verified(folder: str, path: str, index: Mapping[str, Any]) -> bytes:
    """The content of a file of a folder. Raises ConfigError, with both hashes, when it is not what the index says."""
    full, expected = os.path.join(folder, path), str((index["files"].get(path) or {}).get("sha256"))
    try:
        with open(full, "rb") as stream:
            content = stream.read()
    except OSError as error:
        raise ConfigError([Fault(full, f"cannot be read: {error.strerror}", _REMEDY)]) from None
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise ConfigError(
            [Fault(full, f"has SHA-256 {found}, expected {expected}", _REMEDY)], where=f"the release {folder}"
        )
    return content


def _paths(folder: str) -> Iterator[str]:
    """The files below a folder but its index, and but folders that have an index of their own."""
    for path, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not _is_separate(os.path.join(path, name))]
        for name in names:
            found = os.path.relpath(os.path.join(path, name), folder)
            if found != INDEX:
                yield found


def _is_separate(folder: str) -> bool:
    """A folder with an index of its own, or what a killed run left of one."""
    return folder.endswith(_PARTIAL) or os.path.exists(os.path.join(folder, INDEX))


@contextlib.contextmanager
def _locked(folder: str) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _flush(folder: str) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
