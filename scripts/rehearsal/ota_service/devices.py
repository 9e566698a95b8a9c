# SPDX-License-Identifier: MIT
"""The account's devices, as an application sees them (docs/API-DeviceEndpoints.md)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from .problems import Problem
from .web import Call, route

DEVICES = "/v1/accounts/{accountId}/devices"
HUB_VERSION = 2005  # docs/AttrRegistry.md: 2000 + firmware type 5
REBOOT_REASON = 65019  # AferoCE/attrd, pkg/src/af_attr_def.h
_REASON_BUFFER = 100  # bytes that attrd has for it, NUL included


@route("GET", DEVICES, answer="[Device]", query=("expansions",))
async def list_devices(call: Call) -> Response:
    """The devices of the account."""
    return call.answer([_device(call, row) for row in call.service.devices()])


@route("GET", DEVICES + "/{deviceId}", answer="Device", query=("expansions",))
async def get_device(call: Call) -> Response:
    """One device."""
    row = call.service.device(call.path["deviceId"])
    if row is None:
        raise Problem(404, "this account has no such device")
    return call.answer(_device(call, row))


def _device(call: Call, row: Mapping[str, Any]) -> dict[str, Any]:
    expansions = set(call.request.query_params.get("expansions", "").split(","))
    device: dict[str, Any] = {
        "deviceId": row["id"],
        "deviceTypeId": row["device_type"],
        "partnerId": call.account.partner_id,
        "friendlyName": row["friendly_name"],
        "developerDevice": True,
        "updating": bool(row["updating"]),
    }
    if "state" in expansions:
        here = bool(row["available"])
        device["deviceState"] = {
            "available": here,
            "visible": here,
            "connected": here,
            "linked": here,
            "direct": here,
            "rebooted": False,
            "updatedTimestamp": row["reported"],
        }
    if "attributes" in expansions:
        data = int(row["number"]).to_bytes(8, "little", signed=True).hex()
        device["attributes"] = [
            {"id": HUB_VERSION, "data": data, "updatedTimestamp": row["reported"]},
            {"id": REBOOT_REASON, "data": _reboot_reason(row), "updatedTimestamp": row["reported"]},
        ]
    if "tags" in expansions:
        device["deviceTags"] = [
            {"deviceTagId": f"tag-{tag}", "deviceTagType": "ACCOUNT", "value": tag} for tag in row.get("tags", ())
        ]
    return device


def _reboot_reason(row: Mapping[str, Any]) -> str:
    """As attrd makes it: ctime of the file and its line; without a file an empty text (pkg/src/attrd_attr.c)."""
    if not row["reason"]:
        return b"\0".hex()
    stamp = time.asctime(time.gmtime(row["reason_time"] / 1000))
    return f"{stamp}:{row['reason']}\n".encode()[: _REASON_BUFFER - 1].hex()
