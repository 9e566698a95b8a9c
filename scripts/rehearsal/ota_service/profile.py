# SPDX-License-Identifier: MIT
"""What a simulated fleet is like: shares, times and faults, from a YAML file (see docs/local-service.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

Range = tuple[float, float]


class ProfileError(ValueError):
    """A profile cannot be used; the message names every fault."""


@dataclass(frozen=True)
class Profile:
    """Shares are parts of 1, times seconds before --sim-speed, rates bytes a second; a range is drawn from evenly."""

    running: Mapping[str, float] = field(default_factory=lambda: {"7001": 0.7, "7002": 0.29, "900000": 0.01})
    tags: Mapping[str, float] = field(default_factory=lambda: {"canary": 0.01, "lab": 0.05})
    sites: tuple[str, ...] = ("Aachen", "Bern", "Cork", "Delft")
    other_type: float = 0.0
    offline: float = 0.05
    offline_returns: float = 0.6
    offline_seconds: Range = (60, 3600)
    updating: float = 0.005
    updating_seconds: Range = (30, 300)
    start_seconds: Range = (15, 25)
    download_rate: Range = (200_000, 2_000_000)
    install_seconds: Range = (15, 45)
    restart_seconds: Range = (8, 20)
    confirm_seconds: Range = (5, 20)
    silent: float = 0.01
    interrupted: float = 0.01
    refused: Mapping[str, float] = field(default_factory=lambda: {"6 other hardware": 0.002, "7 does not fit": 0.005})
    failed: Mapping[str, float] = field(default_factory=lambda: {"21 contents differ": 0.008})
    rolled_back: Mapping[str, float] = field(default_factory=lambda: {"health hubby": 0.008})


_RANGES = {f.name for f in fields(Profile) if f.name.endswith(("_seconds", "_rate"))}
_TABLES = {"running", "tags", "refused", "failed", "rolled_back"}
_SHARES = {f.name for f in fields(Profile)} - _RANGES - _TABLES - {"sites"}
_FATES = ("silent", "interrupted", "refused", "failed", "rolled_back")


def load(path: str | None) -> Profile:
    """The profile in a YAML file, or the default. Raises ProfileError or OSError."""
    if not path:
        return Profile()
    try:
        document = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ProfileError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(document, dict):
        raise ProfileError(f"{path} holds no mapping")
    return read(document, path)


def read(document: Mapping[str, Any], origin: str) -> Profile:
    """The profile in a mapping; a key that is left out has its default. Raises ProfileError with every fault."""
    given: dict[str, Any] = {}
    faults = []
    for key, value in document.items():
        try:
            given[key] = _value(key, value)
        except ValueError as error:
            faults.append(f"{key}: {error}")
    if not faults:
        profile = Profile(**given)
        ends = sum(sum(part.values()) if isinstance(part, Mapping) else part for part in _fates(profile))
        if ends > 1:
            faults.append(f"{', '.join(_FATES)}: the shares add up to {ends:g}, more than 1")
    if faults:
        raise ProfileError(f"{origin}: " + "; ".join(faults))
    return profile


def _fates(profile: Profile) -> list[Any]:
    return [getattr(profile, name) for name in _FATES]


def _value(key: str, value: Any) -> Any:
    if key in _SHARES:
        return _share(value)
    if key in _RANGES:
        return _range(value)
    if key in _TABLES:
        return _table(key, value)
    if key == "sites":
        return _names(value)
    raise ValueError(f"no such setting; there are {', '.join(f.name for f in fields(Profile))}")


def _share(value: Any) -> float:
    if not _is_number(value) or not 0 <= value <= 1:
        raise ValueError(f"expected a share from 0 to 1, not {value!r}")
    return float(value)


def _range(value: Any) -> Range:
    if not (isinstance(value, list) and len(value) == 2 and all(_is_number(end) for end in value)):
        raise ValueError("expected two numbers, such as [10, 20]")
    low, high = float(value[0]), float(value[1])
    if not (0 < low <= high < 1e9):
        raise ValueError(f"expected two numbers above 0, the smaller one first, not {value}")
    return low, high


def _table(key: str, value: Any) -> dict[str, float]:
    if not isinstance(value, dict):
        raise ValueError("expected a mapping of names to shares")
    table = {str(name): _share(share) for name, share in value.items()}
    if key == "running" and not (table and all(name.isdecimal() for name in table)):
        raise ValueError("expected version numbers and their shares")
    if key in ("refused", "failed") and not all(name.split(" ")[0].isdecimal() for name in table):
        raise ValueError('expected an exit status before each reason, such as "7 does not fit"')
    return table


def _names(value: Any) -> tuple[str, ...]:
    if not (isinstance(value, list) and value and all(isinstance(site, str) for site in value)):
        raise ValueError("expected a list of names")
    return tuple(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
