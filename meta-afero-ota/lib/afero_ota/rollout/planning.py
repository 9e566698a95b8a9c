# SPDX-License-Identifier: MIT
"""A plan from what the cloud has now, and whether the cloud still is as a plan says."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .. import manifest
from .. import plan as plans
from ..errors import ConfigError, Fault, RefusedError
from ..plan import Image, Plan, Rules, Target, Wave
from ..record import OtaRecord, content_tag
from ..service import OtaService, account_ids, running_version
from . import direct, images, selection
from .selection import Filters, Selection


@dataclass(frozen=True)
class Request:
    """What a plan is to be. canaries, sizes: see `selection.waves`; own: rules of single waves, by name."""

    filters: Filters
    canaries: Sequence[str] = ()
    sizes: Sequence[str] = ()
    rules: Rules = field(default_factory=Rules)
    own: Mapping[str, Rules] = field(default_factory=dict)
    said: Mapping[str, Any] = field(
        default_factory=dict
    )  # the selection in the user's words, for those who review the plan


def read(path: str, partner_id: str = "") -> Plan:
    """The plan in a file. Raises ConfigError."""
    try:
        with open(path, encoding="utf-8") as stream:
            content = stream.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        remedy = "make one: afero-ota plan -o plan.yml"
        raise ConfigError([Fault(path, f"the plan cannot be read: {reason}", remedy)], where="the plan") from None
    return plans.load(content, path, partner_id)


def read_for(path: str, record: OtaRecord, partner_id: str) -> Plan:
    """The plan in a file, which must be for this record. Raises ConfigError, and RefusedError for another version's plan."""
    plan = read(path, partner_id)
    if str(plan.image.version_number) != record.version_number:
        raise RefusedError(
            f"{path} is for versionNumber {plan.image.version_number}, and this build is {record.version_number}; make a "
            "plan for it: afero-ota plan"
        )
    return plan


def planned(image: Mapping[str, Any], payload: str = "") -> Image:
    """What a plan says of an association. payload: where its file may be; its manifest knows SHA-256 and size."""
    number, sha256, size = images.version_number(image), "", 0
    if payload and os.path.exists(manifest.path_of(payload)):
        found = manifest.read(payload)
        tag = OtaRecord(image).content_tag
        own = str((found.get("record") or {}).get("versionNumber"))
        # a payload that only lies there says nothing of another image
        if own == str(number) and tag in ("", content_tag(str(found["sha256"]))):
            sha256, size = str(found["sha256"]).lower(), int(found.get("size") or 0)
    said = {key: str(image.get(key) or "") for key in ("id", "name", "version", "url")}
    return Image(**said, version_number=number, sha256=sha256, size=size)


def make(service: OtaService, image: Image, request: Request) -> tuple[Plan, Selection]:
    """A plan for the devices that fit now. Raises ConfigError, and RefusedError when no device is left."""
    account_id = direct.account(service)
    rows = service.devices(account_id, tags=True)
    candidates = (selection.candidate(row, running_version(row)) for row in rows)
    found = selection.select(
        (one for one in candidates if one is not None),
        request.filters,
        service.device_type_id,
        image.version_number,
        f"account {account_id}",
    )
    if not found.chosen:
        why = (
            "; ".join(f"{number} {reason}" for reason, number in found.left_out.items()) or "the account has no devices"
        )
        raise RefusedError(
            f"no device is left to update to versionNumber {image.version_number}: {why}. No plan was written"
        )
    waves = selection.waves(found.chosen, request.canaries, request.sizes)
    unknown = sorted(request.own.keys() - {name for name, _ in waves})
    if unknown:
        raise ConfigError(
            f"there are rules for {', '.join(unknown)}, but the plan's waves are {', '.join(name for name, _ in waves)}"
        )
    built = tuple(
        Wave(
            name,
            tuple(Target(one.device_id, one.name, _reported(one.running)) for one in devices),
            request.own.get(name, request.rules),
        )
        for name, devices in waves
    )
    plan = Plan(
        service.partner_id,
        service.device_type_id,
        account_id,
        image,
        built,
        request.rules,
        request.said,
        found.left_out,
    )
    return plan, found


def _reported(running: int | None) -> int | None:
    # a plan holds versionNumbers; what is none is as good as unknown
    return running if running is not None and running >= 0 else None


def check_cloud(service: OtaService, plan: Plan, accounts: bool = True) -> None:
    """Whether the cloud still has what was planned. accounts: also look whose devices this login may push.

    Raises RefusedError with every difference, or ConfigError for a plan of another device type or account.
    """
    if plan.device_type_id != service.device_type_id:
        raise ConfigError(
            f"the plan is for device type {plan.device_type_id}, and the configuration's is {service.device_type_id}; "
            "use the plan's own configuration"
        )
    if accounts and plan.account_id not in (mine := account_ids(service.me())):
        raise ConfigError(
            f"the plan is for devices of account {plan.account_id}, and this login has {', '.join(mine) or 'none'}; use the "
            "login that the plan was made with"
        )
    image = service.image(str(plan.image.version_number))
    changes = [f"versionNumber {plan.image.version_number} is gone"] if image is None else _changes(plan.image, image)
    if changes:
        raise RefusedError(
            f"the cloud changed since the plan was made: {'; '.join(changes)}. Nothing more is pushed; make the plan again"
        )


def _changes(image: Image, found: Mapping[str, Any]) -> list[str]:
    now = planned(found)
    pairs = {
        "id": (image.id, now.id),
        "name": (image.name, now.name),
        "version": (image.version, now.version),
        "versionNumber": (image.version_number, now.version_number),
        "url": (image.url or now.url, now.url),
    }
    changes = [f"{key} is {new!r}, was {old!r}" for key, (old, new) in pairs.items() if old != new]
    tag = OtaRecord(found).content_tag
    if not now.url:
        changes.append("the image has no file any more")
    if image.sha256 and tag and tag != content_tag(image.sha256):
        changes.append(f"its content is {tag}…, was {content_tag(image.sha256)}…")
    return changes
