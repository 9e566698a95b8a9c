# SPDX-License-Identifier: MIT
"""What the user says: a configuration file, settings that beat it, and secrets from file, environment or a command.

The file is Afero's own ``partner-ota-conf.json`` (same keys), or the same keys as YAML. Nothing here touches the network.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import stat
import subprocess
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Callable
from urllib.parse import urlsplit

from .errors import ConfigError, Fault

SERVICE_URL = "https://api.afero.io"  # docs/CloudAPIs.md
IMAGE_FILE = "hub_update.bin"  # the name in Afero's sample configuration
NAME_LIMIT, TAG_LIMIT, DESCRIPTION_LIMIT = 35, 35, 500  # characters, docs/API-OTAEndpoints.md

# field -> (key in the file, suffix of the BitBake variable, an example for messages)
FIELDS = {
    "name": ("name", "NAME", "Gateway"),
    "description": ("description", "DESCRIPTION", "Full image of the gateway"),
    "version": ("version", "VERSION", "1.0"),
    "build_number": ("buildNumber", "BUILD_NUMBER", "42"),
    "debug_build": ("debugBuild", "DEBUG_BUILD", "0"),
    "tags": ("tags", "TAGS", "gateway nightly"),
    "partner_id": ("partnerId", "PARTNER_ID", "the partner id that Afero gave you"),
    "device_type_id": ("deviceTypeId", "DEVICE_TYPE_ID", "the device type id of the profile"),
    "service_url": ("serviceUrl", "SERVICE_URL", SERVICE_URL),
    "image_file": ("imageFiles", "IMAGE_FILE", IMAGE_FILE),
}
# secret -> environment variable; the key in the file is the secret's own name
SECRETS = {
    "username": "AFERO_OTA_USERNAME",
    "userpw": "AFERO_OTA_USERPW",
    "auth-string": "AFERO_OTA_AUTH_STRING",
}

RECORD_NEEDS = ("name", "version", "build_number")
LOGIN_NEEDS = tuple(SECRETS)
PUBLISH_NEEDS = ("partner_id", "device_type_id", *LOGIN_NEEDS)

_KNOWN_KEYS = {key for key, _, _ in FIELDS.values()} | set(SECRETS) | {f"{name}-command" for name in SECRETS}
_KNOWN_KEYS |= {"Comments", "url"}  # in Afero's sample file, without effect
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_TRUE, _FALSE = {"1", "true", "yes", "on", "y"}, {"", "0", "false", "no", "off", "n"}

Spell = Callable[[str], str]  # field -> the line a user should write to set it


class Secret:
    """A value that shows itself only when asked: as text, in a log or in a traceback it is ``***``."""

    def __init__(self, name: str, value: str | None = None, command: str | None = None):
        self._name, self._value, self._command = name, value, command

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def reveal(self) -> str:
        """The value; runs the command the file names when there is one. Raises ConfigError when that fails."""
        if self._value is None:
            if self._command is None:
                raise ConfigError([_missing_secret(self._name)])
            self._value = _run_secret_command(self._name, self._command)
        return self._value


@dataclass(frozen=True)
class Credentials:
    """What logs in: e-mail, password, and base64 of ``client id:client secret``."""

    username: Secret
    userpw: Secret
    auth_string: Secret


@dataclass(frozen=True)
class Config:
    """The validated configuration. Text fields that nobody set are empty; ``warnings`` are for people."""

    name: str
    description: str
    version: str
    build_number: str
    debug_build: bool
    tags: tuple[str, ...]
    partner_id: str
    device_type_id: str
    service_url: str
    image_file: str
    credentials: Credentials
    warnings: tuple[str, ...] = field(default=())


def load(
    path: str | None,
    settings: Mapping[str, Any],
    environ: Mapping[str, str],
    needs: Collection[str] = (),
    spell: Spell | None = None,
) -> Config:
    """Read, merge and check the configuration.

    path: the partner-ota-conf file, JSON or (.yml, .yaml) YAML; None for none.
    settings: field name (see FIELDS) to value; what is there and not empty beats the file.
    environ: where the three secrets are looked up; they beat the file.
    needs: fields and secrets that must be set.
    spell: how the caller's users write a field, for the remedies.
    Raises ConfigError with every fault found.
    """
    spell = spell or spell_file
    faults: list[Fault] = []
    warnings: list[str] = []
    document = _read_file(path, faults, warnings) if path else {}
    if faults:
        needs = ()  # what is missing may well be in the file
    values: dict[str, Any] = {}
    for name, check in _CHECKS.items():
        key = FIELDS[name][0]
        given = settings.get(name)
        source = f"{key} in {path}"
        if given not in (None, "", [], ()):
            source = "the setting"
        else:
            given = document.get(key)
        try:
            values[name] = check(given)
        except ValueError as error:
            faults.append(Fault(name if source == "the setting" else source, str(error), spell(name)))
            values[name] = check(None)
        else:
            if name in needs and not values[name]:
                faults.append(Fault(name, "not set", spell(name)))
    credentials = _credentials(document, path, environ, needs, faults)
    if faults:
        raise ConfigError(faults)
    return Config(credentials=credentials, warnings=tuple(warnings), **values)


def spell_file(name: str) -> str:
    """The line of a JSON configuration file that sets a field."""
    key, _, example = FIELDS[name]
    value: Any = {"image_file": {"A": example}, "tags": example.split(), "build_number": 42, "debug_build": False}.get(
        name, example
    )
    return f'write in the configuration file: "{key}": {json.dumps(value)}'


def spell_variable(name: str) -> str:
    """The line of a BitBake configuration that sets a field."""
    _, suffix, example = FIELDS[name]
    return f'write: AFERO_OTA_{suffix} = "{example}"'


def check_record_fields(name: str, version: str) -> list[Fault]:
    """The faults of a record's name and version that come from elsewhere than a configuration (a record file)."""
    faults = []
    for field_name, value in (("name", name), ("version", version)):
        try:
            _CHECKS[field_name](value)
        except ValueError as error:
            faults.append(Fault(field_name, str(error), "make the record again"))
    return faults


def check_service_url(value: Any) -> str:
    """A base URL without trailing slash; https, or http to this machine. Raises ValueError with the reason."""
    url = _text(value) or SERVICE_URL
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError as error:
        raise ValueError(f"{url!r} is not a URL ({error})") from None
    if not host or any(c.isspace() for c in url):
        raise ValueError(f"{url!r} is not a URL such as {SERVICE_URL}")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("has a user name, a query or a fragment; only scheme, host, port and path are allowed")
    loopback = host == "localhost" or host == "::1" or re.fullmatch(r"127(\.\d{1,3}){3}", host)
    if parts.scheme != "https" and not (parts.scheme == "http" and loopback):
        raise ValueError(f"{url!r}: https is required (http only to a loopback address such as 127.0.0.1)")
    return url.rstrip("/")


def is_set(text: Any) -> bool:
    """Whether a yes/no setting says yes. Raises ValueError when it says neither."""
    if isinstance(text, bool):
        return text
    word = "" if text is None else str(text).strip().lower()
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise ValueError(f"{text!r} is neither yes nor no (1, true, yes or 0, false, no)")


def _text(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"is {_kind(value)}, expected text: put it in quotes")
    if _CONTROL.search(value):
        raise ValueError("contains a line break or another control character")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("contains half a character (a lone surrogate)") from None
    return value.strip()


def _limited(limit: int) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        text = _text(value)
        if len(text) > limit:
            raise ValueError(f"{len(text)} characters, at most {limit} are allowed: {text[:limit]!r}…")
        return text

    return check


def _description(value: Any) -> str:
    # a description may have line breaks in a YAML file; the service gets one line
    return _limited(DESCRIPTION_LIMIT)(" ".join(value.split()) if isinstance(value, str) else value)


def _word(value: Any) -> str:
    text = _text(value)
    if any(c.isspace() for c in text):
        raise ValueError(f"{text!r} contains a space")
    return text


def _build_number(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    text = _text(value)
    if text and not re.fullmatch(r"[0-9]{1,18}", text):
        raise ValueError(f"{text!r} is not a number of up to 18 digits")
    return text


def _tags(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        value = value.split()
    if value is None:
        return ()
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"is {_kind(value)}, expected a list of texts")
    tags = []
    for item in value:
        tag = _limited(TAG_LIMIT)(item)
        if not tag or "," in tag:
            raise ValueError(f"the tag {tag!r} is empty or contains a comma (the service separates tags by commas)")
        tags.append(tag)
    return tuple(dict.fromkeys(tags))


def _image_file(value: Any) -> str:
    if isinstance(value, Mapping):
        # Afero's tool looked for "a", its documentation says "A"
        slots = {str(slot).upper(): name for slot, name in value.items()}
        if value and "A" not in slots:
            raise ValueError(f'has no slot "A" (found: {", ".join(map(repr, sorted(slots)))})')
        value = slots.get("A")
    text = _text(value)
    if text and text.endswith("/"):
        raise ValueError(f"{text!r} names a folder, expected a file such as {IMAGE_FILE}")
    return text or IMAGE_FILE


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "name": _limited(NAME_LIMIT),
    "description": _description,
    "version": _word,
    "build_number": _build_number,
    "debug_build": is_set,
    "tags": _tags,
    "partner_id": _word,
    "device_type_id": _word,
    "service_url": check_service_url,
    "image_file": _image_file,
}


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, (int, float)):
        return f"the number {value}"
    return {"dict": "a mapping", "list": "a list", "tuple": "a list"}.get(
        type(value).__name__, f"a {type(value).__name__}"
    )


def _read_file(path: str, faults: list[Fault], warnings: list[str]) -> Mapping[str, Any]:
    try:
        with open(path, "rb") as stream:
            raw = stream.read()
            mode = os.fstat(stream.fileno()).st_mode
    except OSError as error:
        faults.append(
            Fault(
                path,
                f"cannot be read: {error.strerror}",
                "name an existing file (AFERO_OTA_CONF or --conf), or make one: scripts/afero-ota init",
            )
        )
        return {}
    try:
        text = raw.decode("utf-8-sig")
        document = _parse_yaml(text) if path.endswith((".yml", ".yaml")) else json.loads(text)
    except UnicodeDecodeError as error:
        faults.append(Fault(path, f"is not UTF-8 text (byte {error.start})", "save it as UTF-8"))
        return {}
    except (ValueError, RecursionError) as error:
        faults.append(Fault(path, f"cannot be parsed: {_one_line(error)}", "mend the file at that place"))
        return {}
    if not isinstance(document, dict):
        faults.append(
            Fault(
                path,
                f"holds {_kind(document)}, expected a mapping of keys to values",
                "start from: scripts/afero-ota init",
            )
        )
        return {}
    for key in document:
        if key not in _KNOWN_KEYS:
            warnings.append(f"{path}: the key {key!r} is not known and has no effect{_guess(str(key), _KNOWN_KEYS)}")
    if mode & (stat.S_IRGRP | stat.S_IROTH) and any(document.get(name) for name in SECRETS):
        warnings.append(f"{path} holds secrets and others can read it; run: chmod 600 {path}")
    return document


def _parse_yaml(text: str) -> Any:
    try:
        import yaml
    except ImportError:
        raise ConfigError(missing_module("yaml", "python3-yaml", "PyYAML")) from None
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


def missing_module(module: str, debian: str, pypi: str) -> str:
    """The message for a Python package that is not there, naming the interpreter and the lines that install it."""
    import sys

    return (
        f"the Python that runs this ({sys.executable or 'python3'}) has no {module}; "
        f"install it: apt-get install {debian}  or  {sys.executable or 'python3'} -m pip install {pypi}"
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def _guess(word: str, known: Iterable[str]) -> str:
    import difflib

    close = difflib.get_close_matches(word, list(known), 1)
    return f"; did you mean {close[0]!r}?" if close else ""


def unknown_names(names: Iterable[str], known: Collection[str]) -> list[Fault]:
    """A fault for each name that is not known, with the closest known one."""
    return [
        Fault(name, f"no such variable{_guess(name, known)}", "correct or remove the line that sets it")
        for name in sorted(set(names) - set(known))
    ]


def _missing_secret(name: str) -> Fault:
    return Fault(
        name, "not set", f'write in the configuration file: "{name}": "…", or export {SECRETS[name]} before the command'
    )


def _credentials(
    document: Mapping[str, Any],
    path: str | None,
    environ: Mapping[str, str],
    needs: Collection[str],
    faults: list[Fault],
) -> Credentials:
    found = {}
    for name, variable in SECRETS.items():
        value, command, place = (
            environ.get(variable),
            document.get(f"{name}-command"),
            f"environment variable {variable}",
        )
        if not value:
            value, place = document.get(name), f"{name} in {path}"
        try:
            text = _text(value)
            if name == "auth-string" and text:
                text = _basic(text)
            command = _text(command) or None
        except ValueError as error:
            # none of these messages quotes the value
            faults.append(Fault(place, str(error), f"set {name} to what Afero's Profile Editor shows"))
        else:
            if name in needs and not text and not command:
                faults.append(_missing_secret(name))
            found[name] = Secret(name, text or None, command)
    empty = Secret("secret")
    return Credentials(found.get("username", empty), found.get("userpw", empty), found.get("auth-string", empty))


def _basic(text: str) -> str:
    text = text[len("Basic ") :] if text.startswith("Basic ") else text
    try:
        if b":" in base64.b64decode(text, validate=True):
            return text
    except (binascii.Error, ValueError):
        pass
    raise ValueError("is not the base64 form of `client id:client secret`")


def _run_secret_command(name: str, command: str) -> str:
    try:
        done = subprocess.run(
            command, shell=True, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, timeout=60, check=True
        )
        value = done.stdout.decode().rstrip("\r\n")
    except (subprocess.SubprocessError, OSError, UnicodeDecodeError) as error:
        reason = (
            f"exit status {error.returncode}"
            if isinstance(error, subprocess.CalledProcessError)
            else type(error).__name__
        )
        raise ConfigError(
            [Fault(f"{name}-command", f"failed ({reason}): {command}", "run it in a shell and mend it")]
        ) from None
    if not value:
        raise ConfigError(
            [Fault(f"{name}-command", f"printed nothing: {command}", "it must print the secret on one line")]
        )
    return _basic(value) if name == "auth-string" else value
