# SPDX-License-Identifier: MIT
"""What the real cloud has no public endpoints for: the devices' side, and what tests ask. No token is needed under /sim/.

| call | body → answer |
|---|---|
| GET /sim | → `accountId`, `partnerId`, `deviceTypeId` |
| GET /sim/key | → the public key (PEM, Ed25519) that headers are signed with |
| POST /sim/devices | `deviceId`, `deviceTypeId`?, `friendlyName`?, `versionNumber`? → 201; again for the same device: 200, and what is named changes |
| GET /sim/devices, GET /sim/devices/{deviceId} | → the device(s): `deviceId`, `deviceTypeId`, `versionNumber`, `updating`, `available`, `behaviour` |
| PUT /sim/devices/{deviceId} | any of `behaviour`, `updating`, `available`, `versionNumber` → 204 |
| DELETE /sim/devices/{deviceId} | → 204 |
| GET /sim/devices/{deviceId}/update | → 200 `push`, `type`, `versionNumber`, `size` (of the image), `sha256`, `headerSize`, `url` (of header + image); 204 when there is nothing newer |
| GET /sim/devices/{deviceId}/images/{firmwareImageId} | → signed header and image, with Range, If-Range and ETag |
| POST /sim/devices/{deviceId}/report | `state` downloading, installing, done, failed or rolledBack; `versionNumber`?, `offset`?, `total`?, `detail`?, `reason`? (the line of its reboot reason, attribute 65019) → 204 |
| GET /sim/fleet | → of every device of the fleet: `deviceId`, `versionNumber`, `available`, `updating`, `fate` (what becomes of its last push), `line` (its reboot reason), `settled` (nothing more will happen by itself) and `pushes` with `image`, `versionNumber`, `time`, `whileUpdating`, `needless` |
| GET /sim/stats | → `requests` (METHOD template → count since the start), `pushes` (device → count), `records`, `associations`, `faults` (rule → times played) |
| GET /sim/pushes | → every push: `device`, `image`, `time`, `state`, `detail`, `offset`, `total` |
| GET /sim/mail | → `to`, `code`: the last one-time code of `--login keycloak`; 204 before the first |
| POST /sim/expireTokens | every access token is worthless from now on → 204 |
| PUT /sim/faults | a faults file (YAML) replaces the one in force, all counts at zero → 204 |

`versionNumber` is a string of digits. `behaviour` tells the simulated device what to do with its next updates: `normal`; `offline`
(it is never offered one); `fail` (the installation fails); `rollback` (the new system does not come up, the old one does);
`loop` (it claims success and goes on reporting the old version, so that the same image is offered again and again).
An image that is not newer than what the device reports is never offered (no downgrade).
"""

from __future__ import annotations

import sqlite3
from typing import Any

from starlette.responses import Response

from . import signing
from .delivery import deliver
from .faults import Plan, PlanError
from .problems import Problem, json_response
from .schemas import BIGGEST, SCHEMAS
from .web import Call, route

DEVICE = "/sim/devices/{deviceId}"
BEHAVIOURS = ("normal", "offline", "fail", "rollback", "loop")
_NUMBER = {"type": "string", "pattern": "^[0-9]{1,18}$"}
_ID = {"type": "string", "minLength": 1, "maxLength": 200}
SCHEMAS["SimDevice"] = {
    "type": "object",
    "required": ["deviceId"],
    "properties": {"deviceId": _ID, "deviceTypeId": _ID, "friendlyName": {"type": "string"}, "versionNumber": _NUMBER},
}
SCHEMAS["SimChange"] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "behaviour": {"enum": list(BEHAVIOURS)},
        "updating": {"type": "boolean"},
        "available": {"type": "boolean"},
        "versionNumber": _NUMBER,
    },
    "required": [],
}
SCHEMAS["SimReport"] = {
    "type": "object",
    "required": ["state"],
    "properties": {
        "state": {"enum": ["downloading", "installing", "done", "failed", "rolledBack"]},
        "versionNumber": _NUMBER,
        "offset": {"type": "integer", "minimum": 0, "maximum": BIGGEST},
        "total": {"type": "integer", "minimum": 0, "maximum": BIGGEST},
        "detail": {"type": "string", "maxLength": 2000},
        "reason": {"type": "string", "maxLength": 100},
    },
}


def _shown(row: sqlite3.Row) -> dict[str, Any]:
    return {
        "deviceId": row["id"],
        "deviceTypeId": row["device_type"],
        "friendlyName": row["friendly_name"],
        "versionNumber": str(row["number"]),
        "updating": bool(row["updating"]),
        "available": bool(row["available"]),
        "behaviour": row["behaviour"],
    }


def _wanted(call: Call) -> sqlite3.Row:
    row = call.store.device(call.path["deviceId"])
    if row is None:
        raise Problem(404, "no such device is registered")
    return row


@route("GET", "/sim", public=True)
async def whose(call: Call) -> Response:
    """Whose service this is."""
    account = call.account
    return json_response(
        {"accountId": account.account_id, "partnerId": account.partner_id, "deviceTypeId": account.device_type_id}
    )


@route("GET", "/sim/key", public=True)
async def key(call: Call) -> Response:
    """The public key of image headers."""
    return Response(signing.public_pem(call.service.key), media_type="application/x-pem-file")


@route("POST", "/sim/devices", public=True, body="SimDevice")
async def register(call: Call) -> Response:
    """Register a device, or say again who it is."""
    body = await call.json()
    old = call.store.device(body["deviceId"])
    call.store.save_device(
        body["deviceId"],
        body.get("deviceTypeId") or (old["device_type"] if old else call.account.device_type_id),
        body.get("friendlyName") or (old["friendly_name"] if old else body["deviceId"]),
        int(body.get("versionNumber") or (old["number"] if old else 0)),
    )
    return json_response(_shown(call.store.device(body["deviceId"])), 200 if old else 201)  # type: ignore[arg-type]


@route("GET", "/sim/devices", public=True)
async def list_devices(call: Call) -> Response:
    """All devices."""
    return json_response([_shown(row) for row in call.store.devices()])


@route("GET", DEVICE, public=True)
async def get_device(call: Call) -> Response:
    """One device."""
    return json_response(_shown(_wanted(call)))


@route("PUT", DEVICE, public=True, body="SimChange", status=204)
async def change_device(call: Call) -> Response:
    """Tell a device how to behave."""
    body = await call.json()
    call.store.change_device(_wanted(call)["id"], body)
    return call.answer()


@route("DELETE", DEVICE, public=True, status=204)
async def forget_device(call: Call) -> Response:
    """Take a device out of the account."""
    fleet = call.service.fleet
    if not (fleet and fleet.drop(call.path["deviceId"])):
        call.store.drop_device(_wanted(call)["id"])
    return call.answer()


@route("GET", DEVICE + "/update", public=True)
async def update(call: Call) -> Response:
    """The update that waits for a device, if there is one."""
    device = _wanted(call)
    push = call.store.pending(device["id"])
    image = call.store.image(push["image"]) if push else None
    file = call.store.file(image["url"]) if image else None
    if push is None or image is None or file is None or device["behaviour"] == "offline":
        return Response(status_code=204)
    if int(image["versionNumber"]) <= device["number"]:
        call.store.end_pushes(device["id"], "notNeeded", "not newer than what the device runs")
        return Response(status_code=204)
    host, port = call.request.scope["server"]
    return json_response(
        {
            "push": str(push["id"]),
            "type": image["type"],
            "versionNumber": image["versionNumber"],
            "size": file["size"],
            "sha256": file["sha256"],
            "headerSize": signing.SIZE,
            "url": f"http://{host}:{port}{call.request.scope['raw_path'].decode('ascii')[: -len('update')]}images/{image['id']}",
        }
    )


@route("GET", DEVICE + "/images/{firmwareImageId}", public=True)
async def download(call: Call) -> Response:
    """The signed header and the image behind it."""
    _wanted(call)
    image = call.store.image(call.number("firmwareImageId"))
    file = call.store.file(image["url"]) if image else None
    if image is None or file is None:
        raise Problem(404, "there is no such image")
    header = signing.Header(int(image["type"]), int(image["versionNumber"]), file["size"], file["sha256"])
    head = header.sign(call.service.key)
    etag = f"{image['versionNumber']}-{file['sha256']}"
    return deliver(call.request, head, call.store.repository / file["name"], file["size"], etag)


@route("POST", DEVICE + "/report", public=True, body="SimReport", status=204)
async def report(call: Call) -> Response:
    """What a device says of itself."""
    body, device = await call.json(), _wanted(call)
    state, number = body["state"], body.get("versionNumber")
    under_way = state in ("downloading", "installing")
    call.store.report(device["id"], under_way, int(number) if number is not None else None, body.get("reason"))
    if under_way:
        call.store.progress(device["id"], body.get("offset", 0), body.get("total", 0))
    elif state == "done":
        push = call.store.pending(device["id"])
        image = call.store.image(push["image"]) if push else None
        # a device that goes on reporting the old version is offered the same image again
        if image is None or (number is not None and int(number) >= int(image["versionNumber"])):
            call.store.end_pushes(device["id"], "done", body.get("detail", ""))
    else:
        call.store.end_pushes(device["id"], state, body.get("detail", ""))
    return call.answer()


@route("GET", "/sim/stats", public=True)
async def stats(call: Call) -> Response:
    """Counts, for tests."""
    pushes: dict[str, int] = {}
    for push in call.store.pushes():
        pushes[push["device"]] = pushes.get(push["device"], 0) + 1
    pushes |= {member.id: len(member.pushes) for member in call.service.fleet or () if member.pushes}
    return json_response(
        {
            "requests": dict(call.service.counts),
            "pushes": pushes,
            "records": len(call.store.records()),
            "associations": len(call.store.images()),
            "faults": call.service.plan.played(),
        }
    )


@route("GET", "/sim/fleet", public=True)
async def fleet(call: Call) -> Response:
    """The truth about the simulated fleet."""
    return json_response(
        [
            {
                "deviceId": member.id,
                "versionNumber": str(member.number),
                "available": member.available,
                "updating": member.updating,
                "fate": member.fate,
                "line": member.line,
                "settled": not member.events,
                "pushes": member.pushes,
            }
            for member in call.service.fleet or ()
        ]
    )


@route("GET", "/sim/pushes", public=True)
async def pushes(call: Call) -> Response:
    """Every push."""
    return json_response(call.store.pushes())


@route("POST", "/sim/expireTokens", public=True, status=204)
async def expire_tokens(call: Call) -> Response:
    """End every access token."""
    call.store.drop_tokens("access")
    return call.answer()


@route("PUT", "/sim/faults", public=True, status=204)
async def set_faults(call: Call) -> Response:
    """Replace the faults in force."""
    try:
        plan = Plan.parse((await call.small_body()).decode("utf-8", "replace"), "the body")
    except PlanError as error:
        raise Problem(400, str(error)) from None
    call.service.plan.replace(plan)
    return call.answer()
