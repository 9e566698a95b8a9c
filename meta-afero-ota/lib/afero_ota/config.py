# SPDX-License-Identifier: MIT
"""The configuration: a file, settings that override it, and secrets from the file, the environment or a command.

The file is Afero's own ``partner-ota-conf.json`` (same keys), or the same keys as YAML. Nothing here touches the network.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Callable

from . import checks, credentials
from . import login as logins
from .credentials import COMMAND_SUFFIX, SECRETS
from .errors import ConfigError, Fault, Missing, missing_module

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
    "service_url": ("serviceUrl", "SERVICE_URL", checks.SERVICE_URL),
    "image_file": ("imageFiles", "IMAGE_FILE", checks.IMAGE_FILE),
}

RECORD_NEEDS = ("name", "version", "build_number")
LOGIN_NEEDS = ("login",)  # one complete way to log in
PUBLISH_NEEDS = ("partner_id", "device_type_id", *LOGIN_NEEDS)

_KNOWN_KEYS = {key for key, _, _ in FIELDS.values()} | set(SECRETS) | {f"{name}{COMMAND_SUFFIX}" for name in SECRETS}
_KNOWN_KEYS |= {*logins.settings.KEYS, "Comments", "url"}  # the latter are in Afero's sample file, without effect

_CHECKS: dict[str, Callable[[Any], Any]] = {
    "name": checks.name,
    "description": checks.description,
    "version": checks.word,
    "build_number": checks.build_number,
    "debug_build": checks.yes_or_no,
    "tags": checks.tags,
    "partner_id": checks.word,
    "device_type_id": checks.word,
    "service_url": checks.service_url,
    "image_file": checks.image_file,
}

Spell = Callable[[str], "tuple[str, str]"]  # field -> what users call it, and the remedy: the line that sets it


@dataclass(frozen=True)
class Config:
    """The validated configuration. Text fields that are not set are empty; ``warnings`` are for people."""

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
    credentials: credentials.Credentials
    login: logins.settings.Login = logins.settings.Login()
    warnings: tuple[str, ...] = field(default=())


def load(
    path: str | None,
    settings: Mapping[str, Any],
    environ: Mapping[str, str],
    needs: Collection[str] = (),
    spell: Spell | None = None,
    no_file: Fault | None = None,
) -> Config:
    """Read, merge and check the configuration.

    path: the partner-ota-conf file, JSON or (.yml, .yaml) YAML; None for none.
    settings: field name (see FIELDS) to value; a value that is not empty overrides the file.
    environ: where the secrets are looked up; they override the file.
    needs: fields that must be set, and "login" for a complete way to log in.
    spell: how the caller's users write a field; `spell_file` unless given.
    no_file: what to report without a path, instead of one fault for each field that is not set.
    Raises ConfigError with every fault and every warning.
    """
    faults: list[Fault] = []
    warnings: list[str] = []
    document = _read_file(path, faults, warnings) if path else {}
    if faults:
        needs = ()  # the missing fields may be in the file
    values = _merge(document, path, settings, needs, spell or spell_file, faults)
    found = credentials.find(document, path, environ, faults)
    login = logins.settings.read(document, path, faults)
    if "login" in needs:
        faults += logins.settings.missing(login, found, faults)
    if no_file and not path and any(isinstance(fault, Missing) for fault in faults):
        faults = [no_file, *(fault for fault in faults if not isinstance(fault, Missing))]
    if faults:
        raise ConfigError(faults, warnings)
    return Config(credentials=found, login=login, warnings=tuple(warnings), **values)


def _merge(
    document: Mapping[str, Any],
    path: str | None,
    settings: Mapping[str, Any],
    needs: Collection[str],
    spell: Spell,
    faults: list[Fault],
) -> dict[str, Any]:
    """The checked value of every field; a field with a fault has the value of one that is not set."""
    values: dict[str, Any] = {}
    for name, check in _CHECKS.items():
        key = FIELDS[name][0]
        shown, remedy = spell(name)
        given, place = settings.get(name), shown
        if given in (None, "", [], ()):
            given, place = document.get(key), f"{key} in {path}"
        try:
            values[name] = check(given)
        except ValueError as error:
            faults.append(Fault(place, str(error), remedy))
            values[name] = check(None)
        else:
            if name in needs and not values[name]:
                faults.append(Missing(shown, "not set", remedy))
    return values


def spell_file(name: str) -> tuple[str, str]:
    """The key of a field in the configuration file, and the line that sets it."""
    key, _, example = FIELDS[name]
    value: Any = {"image_file": {"A": example}, "tags": example.split(), "build_number": 42, "debug_build": False}.get(
        name, example
    )
    return key, f'write in the configuration file: "{key}": {json.dumps(value)}'


def spell_variable(name: str) -> tuple[str, str]:
    """The BitBake variable of a field, and the line that sets it."""
    _, suffix, example = FIELDS[name]
    return f"AFERO_OTA_{suffix}", f'write: AFERO_OTA_{suffix} = "{example}"'


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
        faults.append(Fault(path, f"cannot be parsed: {_one_line(error)}", "correct the file at that place"))
        return {}
    if not isinstance(document, dict):
        faults.append(
            Fault(
                path,
                f"holds {checks.kind(document)}, expected a mapping of keys to values",
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
