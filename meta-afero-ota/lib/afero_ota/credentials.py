# SPDX-License-Identifier: MIT
"""The secrets that log in or sign: their sources, the commands that print them, and values that are redacted when shown."""

from __future__ import annotations

import base64
import binascii
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import checks
from .errors import ConfigError, Fault, Missing

# secret -> environment variable; the key in the file is the secret's own name
SECRETS = {
    "username": "AFERO_OTA_USERNAME",
    "userpw": "AFERO_OTA_USERPW",
    "auth-string": "AFERO_OTA_AUTH_STRING",
    "refresh-token": "AFERO_OTA_REFRESH_TOKEN",
    "access-token": "AFERO_OTA_ACCESS_TOKEN",
    "sign-pin": "AFERO_OTA_SIGN_PIN",
}
_WANTED = {
    **dict.fromkeys(SECRETS, "what Afero's Profile Editor shows"),
    **dict.fromkeys(("refresh-token", "access-token"), "the token that the login gave"),
    "sign-pin": "the PIN of the token, or the passphrase of the key, that signs bundles",
}
COMMAND_SUFFIX = "-command"  # `userpw-command` in the file is a shell command that prints userpw


class Secret:
    """A secret value, revealed only on request: as text, in a log or in a traceback it is ``***``."""

    def __init__(self, name: str, value: str | None = None, command: str | None = None):
        self._name, self._value, self._command = name, value, command
        self._printed = False  # whether the value came from the command

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    @property
    def is_set(self) -> bool:
        """Whether there is a value, or a command that prints it."""
        return self._value is not None or self._command is not None

    def reveal(self, again: bool = False) -> str:
        """The value; runs the command that the file names, if there is one. Raises ConfigError when that fails.

        again: run the command once more, for a value that has expired.
        """
        if self._value is None or (again and self._printed):
            if self._command is None:
                raise ConfigError([missing(self._name)])
            self._value, self._printed = _run(self._name, self._command), True
        return self._value


@dataclass(frozen=True)
class Credentials:
    """The login: e-mail address, password, base64 of ``client id:client secret``, or a token instead of a password.

    sign_pin: no part of the login; what opens the key that signs bundles.
    """

    username: Secret
    userpw: Secret
    auth_string: Secret
    refresh_token: Secret = Secret("refresh-token")
    access_token: Secret = Secret("access-token")
    sign_pin: Secret = Secret("sign-pin")


def find(
    document: Mapping[str, Any],
    path: str | None,
    environ: Mapping[str, str],
    faults: list[Fault],
) -> Credentials:
    """The credentials from a configuration file's content and from the environment, which overrides it.

    path: the file, for messages. Adds what is wrong to `faults` without quoting a value.
    """
    found: list[Secret] = []

    def read(name: str, place: str, value: Any) -> str:
        try:
            text = checks.text(value)
            return _basic(text) if name == "auth-string" and text else text
        except ValueError as error:
            faults.append(
                Fault(place, str(error), f"set {name} to {_WANTED.get(name, 'a shell command that prints it')}")
            )
            return ""

    for name, variable in SECRETS.items():
        key = name + COMMAND_SUFFIX
        if environ.get(variable):
            value = read(name, f"environment variable {variable}", environ[variable])
        else:
            value = read(name, f"{name} in {path}", document.get(name))
        command = read(key, f"{key} in {path}", document.get(key))
        found.append(Secret(name, value or None, command or None))
    return Credentials(*found)


def missing(name: str) -> Missing:
    """The fault of a secret that is needed and not set."""
    return Missing(
        name, "not set", f'write in the configuration file: "{name}": "…", or export {SECRETS[name]} before the command'
    )


def _basic(text: str) -> str:
    text = text[len("Basic ") :] if text.startswith("Basic ") else text
    try:
        if b":" in base64.b64decode(text, validate=True):
            return text
    except (binascii.Error, ValueError):
        pass
    raise ValueError("is not the base64 form of `client id:client secret`")


def _run(name: str, command: str) -> str:
    key = name + COMMAND_SUFFIX
    try:
        done = subprocess.run(
            command, shell=True, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, timeout=60, check=True
        )
        value = done.stdout.decode().rstrip("\r\n")
    except subprocess.CalledProcessError as error:
        raise _failed(key, command, f"exit status {error.returncode}") from None
    except (subprocess.SubprocessError, OSError, UnicodeDecodeError) as error:
        raise _failed(key, command, type(error).__name__) from None
    if not value:
        raise ConfigError([Fault(key, f"printed nothing: {command}", "it must print the secret on one line")])
    try:
        return _basic(value) if name == "auth-string" else value
    except ValueError as error:
        raise ConfigError(
            [Fault(key, f"what it printed {error}: {command}", "it must print the secret only")]
        ) from None


def _failed(key: str, command: str, reason: str) -> ConfigError:
    return ConfigError([Fault(key, f"failed ({reason}): {command}", "run it in a shell and correct it")])
