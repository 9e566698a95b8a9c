# SPDX-License-Identifier: MIT
"""Which devices get an image, in what order, and in which waves. Pure functions of plain values; no network.

The order comes from a hash of seed and device id, so a device that joins or leaves the account moves no other device.
"""

from __future__ import annotations

import fnmatch
import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import ConfigError, Fault

ALREADY = "runs this version already"
NEWER = "runs a newer version; the service never downgrades"
TWICE = "named twice"
OTHER_TYPE = "is of another device type"
NOT_CHOSEN = "does not fit the filters"
BEYOND = "beyond the count or percentage"

_SIZE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(%?)")


@dataclass(frozen=True)
class Candidate:
    """One device of the account's device list. running: its versionNumber (attribute 2005), None when it shows none."""

    device_id: str
    device_type_id: str = ""
    name: str = ""
    tags: tuple[str, ...] = ()
    online: bool = False
    running: int | None = None


@dataclass(frozen=True)
class Filters:
    """What to choose by; everything that is set must fit.

    ids: these devices and no others, each of which must exist. name: shell pattern for the friendly name, in any case. tags: one
    of them is enough. online: True or False. running: one of these versionNumbers. percent, count: as many of the rest, in
    the order that the seed gives.
    """

    ids: tuple[str, ...] = ()
    name: str = ""
    tags: tuple[str, ...] = ()
    online: bool | None = None
    running: tuple[int, ...] = ()
    percent: float | None = None
    count: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Selection:
    """The devices in their order, and the ids of those that were left out, by reason."""

    chosen: tuple[Candidate, ...]
    who: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def left_out(self) -> Mapping[str, int]:
        """How many were left out for which reason."""
        return {reason: len(ids) for reason, ids in self.who.items()}


def rank(seed: int, device_id: str) -> bytes:
    """Where a device stands in the order; the same for ever for one seed and id."""
    return hashlib.sha256(f"{seed}:{device_id}".encode()).digest()


def candidate(device: Mapping[str, Any], running: int | None) -> Candidate | None:
    """A device of the cloud's device list (expansions=state,attributes,tags); None when it has no id."""
    device_id = device.get("deviceId")
    if not isinstance(device_id, str) or not device_id:
        return None
    state, tags = device.get("deviceState"), device.get("deviceTags")
    values = (tag.get("value") for tag in (tags if isinstance(tags, list) else ()) if isinstance(tag, Mapping))
    return Candidate(
        device_id,
        str(device.get("deviceTypeId") or ""),
        # half a surrogate pair is valid JSON, but no text that a file could hold
        str(device.get("friendlyName") or "").encode("utf-8", "replace").decode(),
        tuple(value for value in values if isinstance(value, str)),
        isinstance(state, Mapping) and state.get("available") is True,
        running,
    )


def select(
    candidates: Iterable[Candidate],
    filters: Filters,
    device_type_id: str,
    version_number: int,
    account: str = "the account",
) -> Selection:
    """The devices that an image is for.

    Left out are devices of another type and those that run this version or a newer one. Raises ConfigError, with every fault,
    for ids that the account does not have or that are of another type, and for filters that make no sense.
    """
    _check(filters)
    known = {one.device_id: one for one in candidates}
    who: dict[str, list[str]] = {}
    if filters.ids:
        named = _named(filters.ids, known, device_type_id, account)
        _leave_out(who, TWICE, [one for one, times in Counter(filters.ids).items() for _ in range(times - 1)])
    else:
        named = [one for one in known.values() if one.device_type_id == device_type_id]
        _leave_out(who, OTHER_TYPE, [one for one, found in known.items() if found.device_type_id != device_type_id])
    wanted = []
    for one in sorted(named, key=lambda one: rank(filters.seed, one.device_id)):
        if not _fits(one, filters):
            _leave_out(who, NOT_CHOSEN, [one.device_id])
        elif one.running is None or one.running < version_number:
            wanted.append(one)
        else:
            _leave_out(who, ALREADY if one.running == version_number else NEWER, [one.device_id])
    limit = len(wanted)
    if filters.percent is not None:
        limit = math.ceil(limit * filters.percent / 100)
    if filters.count is not None:
        limit = min(limit, filters.count)
    _leave_out(who, BEYOND, [one.device_id for one in wanted[limit:]])
    return Selection(tuple(wanted[:limit]), who)


def waves(
    chosen: Sequence[Candidate], canaries: Sequence[str] = (), sizes: Sequence[str] = ()
) -> list[tuple[str, tuple[Candidate, ...]]]:
    """Names and devices of the waves: the canaries, then one wave for each size, then the rest.

    canaries: ids of chosen devices, or one number: so many from the start of the order. sizes: numbers of devices, or
    percentages of all devices behind the canaries (``"10", "25%"``). Empty waves are left out. Raises ConfigError.
    """
    first = _canaries(chosen, canaries)
    ids = {one.device_id for one in first}
    rest = [one for one in chosen if one.device_id not in ids]
    parts = [("canary", first)]
    total, position = len(rest), 0
    for number, size in enumerate(_sizes(sizes, total), 1):
        parts.append((f"wave {number}", tuple(rest[position : position + size])))
        position += size
    parts.append(("rest" if sizes or first else "all", tuple(rest[position:])))
    return [(name, devices) for name, devices in parts if devices]


def _check(filters: Filters) -> None:
    faults = []
    if filters.percent is not None and not 0 < filters.percent <= 100:
        faults.append(Fault("percent", f"{filters.percent:g} is no share", "use a number above 0, up to 100"))
    if filters.count is not None and filters.count < 1:
        faults.append(Fault("count", f"{filters.count} devices are none", "use a number from 1"))
    if faults:
        raise ConfigError(faults, where="the selection")


def _named(ids: Iterable[str], known: Mapping[str, Candidate], device_type_id: str, account: str) -> list[Candidate]:
    faults, found = [], []
    for device_id in dict.fromkeys(ids):
        one = known.get(device_id)
        if one is None:
            faults.append(
                Fault(device_id, f"{account} has no such device", "take the id off the list, or use another account")
            )
        elif one.device_type_id != device_type_id:
            problem = f"is of device type {one.device_type_id}, and the image is for {device_type_id}"
            faults.append(Fault(device_id, problem, "take the id off the list"))
        else:
            found.append(one)
    if faults:
        raise ConfigError(faults, where="the list of devices")
    return found


def _fits(one: Candidate, filters: Filters) -> bool:
    return (
        (not filters.name or fnmatch.fnmatchcase(one.name.casefold(), filters.name.casefold()))
        and (not filters.tags or not set(filters.tags).isdisjoint(one.tags))
        and (filters.online is None or one.online is filters.online)
        and (not filters.running or one.running in filters.running)
    )


def _leave_out(who: dict[str, list[str]], reason: str, ids: Sequence[str]) -> None:
    if ids:
        who.setdefault(reason, []).extend(ids)


def _canaries(chosen: Sequence[Candidate], canaries: Sequence[str]) -> tuple[Candidate, ...]:
    by_id = {one.device_id: one for one in chosen}
    if len(canaries) == 1 and canaries[0] not in by_id and canaries[0].isdecimal():
        return tuple(chosen[: int(canaries[0])])
    missing = [one for one in dict.fromkeys(canaries) if one not in by_id]
    if missing:
        raise ConfigError(
            [
                Fault(one, "is no canary: it is not among the chosen devices", "choose a device that the image is for")
                for one in missing
            ]
        )
    return tuple(by_id[one] for one in dict.fromkeys(canaries))


def _sizes(sizes: Sequence[str], total: int) -> list[int]:
    faults, counts, percent = [], [], 0.0
    for size in sizes:
        found = _SIZE.fullmatch(size.strip())
        number = float(found[1]) if found else 0.0
        if not found or number <= 0 or (not found[2] and not number.is_integer()):
            faults.append(Fault(f"wave size {size}", "is neither a number nor a percentage", 'write "10" or "25%"'))
        elif found[2]:
            percent += number
            counts.append(math.ceil(total * number / 100))
        else:
            counts.append(int(number))
    if percent > 100:
        faults.append(
            Fault("wave sizes", f"add up to {percent:g} %", "each is a share of all devices behind the canaries")
        )
    if faults:
        raise ConfigError(faults, where="the selection")
    return counts
