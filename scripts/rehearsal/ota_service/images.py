# SPDX-License-Identifier: MIT
"""Images of a device type: associations of pool records, and pushes (docs/API-OTAEndpoints.md)."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from .pool import LIST
from .problems import Problem, field_error, invalid
from .schemas import BIGGEST
from .web import DEVICE_TYPE, Call, route

IMAGES = DEVICE_TYPE + "/firmwareImages"
IMAGE = IMAGES + "/types/{type}/versionNumbers/{versionNumber}"
# what the service itself changes after a client read the record
_OWN = {"updatedTimestamp"}


@route("POST", IMAGES, status=201, answer="Image", body="NewImage")
async def associate(call: Call) -> Response:
    """Associate a pool record, sent as the pool has it, with the device type."""
    body = await call.json()
    number_of_type, number = int(body["type"]), int(body["versionNumber"])
    record = call.store.record(number_of_type, number) if number <= BIGGEST else None
    if record is None:
        raise Problem(404, f"the pool has no versionNumber {number} of type {number_of_type}")
    given = {**body, "type": number_of_type, "versionNumber": str(number)}
    differing = [name for name in record if name in given and name not in _OWN and given[name] != record[name]]
    if differing:
        faults = [field_error(name, "differs from the pool's record", body[name]) for name in differing]
        raise Problem(400, "the body must be the pool's record, unchanged", "validationFailure", faults)
    image = call.store.add_image(call.path["deviceTypeId"], record)
    if image is None:
        raise Problem(409, f"type {number_of_type}, versionNumber {number} is associated with this device type already")
    return call.answer(image)


@route("GET", IMAGES, answer="ImagePage", query=LIST)
async def list_images(call: Call) -> Response:
    """The images of all types."""
    return call.page(call.store.images(call.path["deviceTypeId"]))


@route("GET", IMAGES + "/types/{type}", answer="ImagePage", query=LIST)
async def list_images_of_type(call: Call) -> Response:
    """The images of one type."""
    return call.page(call.store.images(call.path["deviceTypeId"], call.number("type", 200)))


def _wanted(call: Call) -> dict[str, Any]:
    number = str(call.number("versionNumber"))
    for image in call.store.images(call.path["deviceTypeId"], call.number("type", 200)):
        if image["versionNumber"] == number:
            return image
    raise Problem(404, f"versionNumber {number} of type {call.path['type']} is not associated with this device type")


@route("GET", IMAGE, answer="Image")
async def get_image(call: Call) -> Response:
    """One image."""
    return call.answer(_wanted(call))


@route("DELETE", IMAGE, status=204)
async def dissociate(call: Call) -> Response:
    """Take an image away from the device type."""
    call.store.drop_image(int(_wanted(call)["id"]))
    return call.answer()


@route("PUT", IMAGES + "/{firmwareImageId}/push", status=202, body="Value")
async def push(call: Call) -> Response:
    """Queue an image, by its own id, for one device of the account."""
    body = await call.json()
    image = call.store.image(call.number("firmwareImageId"))
    if image is None or image["deviceTypeId"] != call.path["deviceTypeId"]:
        raise Problem(404, f"this device type has no image {call.path['firmwareImageId']}")
    device = call.service.device(body["value"])
    if device is None:
        raise Problem(404, "this account has no such device")
    if device["device_type"] != image["deviceTypeId"]:
        raise invalid("value", "must be a device of this device type", body["value"])
    file = call.store.file(image["url"])
    if not file:
        raise Problem(400, "the image has no url in this repository", "noBinary")
    fleet = call.service.fleet
    member = fleet.get(device["id"]) if fleet else None
    if fleet and member:
        fleet.push(member, image["id"], int(image["versionNumber"]), file["size"])
    else:
        call.store.add_push(device["id"], int(image["id"]))
    return call.answer()
