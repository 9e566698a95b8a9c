# SPDX-License-Identifier: MIT
"""Firmware types, the pool of records, and tags (docs/API-OTAEndpoints.md)."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from .problems import Problem, invalid
from .web import PARTNER, Call, route

TYPES, POOL = PARTNER + "/types", PARTNER + "/pool"
RECORDS = POOL + "/types/{type}"
RECORD = RECORDS + "/versionNumbers/{versionNumber}"
LIST = ("tags", "page", "size", "sort")


def _own(call: Call, doc: dict[str, Any]) -> dict[str, Any]:
    return {**doc, "partnerId": call.account.partner_id}


def wanted_type(call: Call) -> dict[str, Any]:
    doc = call.store.type(call.number("type", 200))
    if doc is None:
        raise Problem(404, f"there is no firmware type {call.path['type']}")
    return doc


@route("POST", TYPES, status=201, answer="FirmwareType", body="NewFirmwareType")
async def create_type(call: Call) -> Response:
    """Create a firmware type."""
    body = await call.json()
    if call.store.type(int(body["type"])):
        raise Problem(409, f"firmware type {body['type']} exists already")
    return call.answer(_own(call, call.store.add_type(int(body["type"]), body["name"], body.get("description"))))


@route("GET", TYPES, answer="[FirmwareType]")
async def list_types(call: Call) -> Response:
    """All firmware types."""
    return call.answer([_own(call, doc) for doc in call.store.types()])


@route("GET", TYPES + "/{type}", answer="[FirmwareType]")
async def get_type(call: Call) -> Response:
    """One firmware type, in a list as documented."""
    return call.answer([_own(call, wanted_type(call))])


@route("PUT", TYPES + "/{type}", status=204, body="ChangedFirmwareType")
async def change_type(call: Call) -> Response:
    """Rename a firmware type."""
    body, doc = await call.json(), wanted_type(call)
    doc.pop("description", None)
    call.store.save_type({**doc, **_optional(body, "description"), "name": body["name"]})
    return call.answer()


@route("POST", POOL, status=201, answer="Record", body="NewRecord")
async def create_record(call: Call) -> Response:
    """Create a record; it has no url until one is PUT."""
    body = await call.json()
    associations = body.get("associations", {})
    for partner, device_types in associations.items():
        if partner != call.account.partner_id or not set(device_types) <= call.service.device_types():
            raise invalid("associations", "must name device types of this partner", associations)
    doc = {name: body[name] for name in ("name", "version")}
    doc |= {"type": int(body["type"]), "url": "", "tags": list(dict.fromkeys(body.get("tags", [])))}
    doc |= _optional(body, "description", "associations")
    record = call.store.add_record(_own(call, doc))
    if record is None:
        raise Problem(409, f"a record with type {doc['type']}, this name and this version exists already")
    for device_type in dict.fromkeys(associations.get(call.account.partner_id, ())):
        call.store.add_image(device_type, record)
    return call.answer(record)


@route("GET", POOL, answer="RecordPage", query=LIST)
async def list_pool(call: Call) -> Response:
    """The records of all types."""
    return call.page(call.store.records(lag=lag(call)))


@route("GET", RECORDS, answer="RecordPage", query=LIST)
async def list_records(call: Call) -> Response:
    """The records of one type."""
    return call.page(call.store.records(call.number("type", 200), lag(call)))


@route("GET", RECORDS + "/names/{name}/versions/{version}/exists", answer="Flag", query=("excludeFirmwareImageId",))
async def exists(call: Call) -> Response:
    """Whether type, name and version are taken."""
    but = call.request.query_params.get("excludeFirmwareImageId")
    if but is not None and not (but.isascii() and but.isdecimal() and len(but) < 20):
        raise invalid("excludeFirmwareImageId", "must be a number", but)
    number = call.number("type", 200)
    found = [
        record
        for record in call.store.records(number, lag(call))
        if (record["name"], record["version"]) == (call.path["name"], call.path["version"]) and record["id"] != but
    ]
    return call.answer({"value": bool(found)})


def lag(call: Call) -> int:
    """Milliseconds that the lists are behind; a fault sets it."""
    return int(call.request.scope.get("ota.lag", 0))


def wanted_record(call: Call) -> dict[str, Any]:
    record = call.store.record(call.number("type", 200), call.number("versionNumber"))
    if record is None:
        raise Problem(404, f"the pool has no versionNumber {call.path['versionNumber']} of type {call.path['type']}")
    return record


@route("GET", RECORD + "/associations", answer="[Association]")
async def associations(call: Call) -> Response:
    """The device types that a record is associated with."""
    record = wanted_record(call)
    found = [
        image
        for image in call.store.images(number_of_type=record["type"])
        if image["versionNumber"] == record["versionNumber"]
    ]
    return call.answer(
        [
            {
                "name": "Local partner",
                "partnerId": call.account.partner_id,
                "email": call.account.username,
                "deviceTypeId": image["deviceTypeId"],
                "deviceTypeName": "Local device type",
                "firmwareImageId": image["id"],
            }
            for image in found
        ]
    )


@route("PUT", RECORD, status=204, body="ChangedRecord")
async def change_record(call: Call) -> Response:
    """Replace name, description, version, url and tags of a record; nothing else can be changed."""
    body, record = await call.json(), wanted_record(call)
    record.pop("description", None)
    record |= {name: body[name] for name in ("name", "version", "url")}
    record |= {"tags": list(dict.fromkeys(body.get("tags", []))), **_optional(body, "description")}
    if not call.store.save_record(record):
        raise Problem(409, "another record has this name and version")
    return call.answer()


@route("GET", PARTNER + "/tags", answer="[Tag]")
async def tags(call: Call) -> Response:
    """All tags in use."""
    return call.answer(sorted({tag for record in call.store.records() for tag in record["tags"]}))


def _optional(body: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: body[name] for name in names if body.get(name)}
