# SPDX-License-Identifier: MIT
"""The refresh token between two runs: a file that only its owner can read, and a lock around its use.

A service that rotates refresh tokens (RFC 9700, 4.14.2) accepts each once, and takes a second use for theft. So one process at a
time uses the token, and its successor is on the disk before anything else happens.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Callable

from ..answers import as_object
from ..errors import ConfigError, Fault
from ..files import write_text

_AGAIN = "log in again: scripts/afero-ota login"


@dataclass(frozen=True)
class Stored:
    """token_url: the only address that may see the token. replaces: digest of the configured token that it descends from."""

    refresh_token: str
    token_url: str
    replaces: str = ""

    def __repr__(self) -> str:
        return "Stored(***)"


def digest(token: str) -> str:
    """What tells one configured token from another without keeping it; "" for none."""
    return hashlib.sha256(token.encode()).hexdigest() if token else ""


def read(path: str, log: Callable[[str], None]) -> Stored | None:
    """The stored token, None when there is none. Raises ConfigError for a file that is something else."""
    try:
        with open(path, encoding="utf-8") as stream:
            if os.fstat(stream.fileno()).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                log(f"warning: {path} holds a secret and others can read it; run: chmod 600 {path}")
            document = as_object(json.load(stream))
        return Stored(str(document["refreshToken"]), str(document["tokenUrl"]), str(document.get("replaces") or ""))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError):
        raise ConfigError([Fault(path, "is not a file of afero-ota login", f"delete it and {_AGAIN}")]) from None
    except OSError as error:
        raise _unusable(path, error) from None


def write(path: str, stored: Stored) -> None:
    """Replace the file, flushed to the disk. Raises ConfigError."""
    fields = {"refreshToken": stored.refresh_token, "tokenUrl": stored.token_url, "replaces": stored.replaces}
    try:
        write_text(path, json.dumps(fields, indent=4) + "\n", mode=0o600)
    except OSError as error:
        raise _unusable(path, error) from None


@contextlib.contextmanager
def locked(path: str, log: Callable[[str], None]) -> Iterator[None]:
    """Keep other processes from using the token in the meantime; waits for the one that does. Raises ConfigError."""
    try:
        # a file of its own, since the token's is replaced
        handle = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unusable(path, error) from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log(f"another process is renewing the token in {path}; waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _unusable(path: str, error: OSError) -> ConfigError:
    remedy = "make its folder writable for the user that runs this, or name another file with the key tokenFile"
    return ConfigError([Fault(path, f"cannot keep the refresh token: {error.strerror}", remedy)])
