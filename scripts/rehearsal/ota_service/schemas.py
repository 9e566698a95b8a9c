# SPDX-License-Identifier: MIT
"""The shapes of bodies, as JSON Schema: the service checks requests with them and publishes them in its OpenAPI description.

Field names, types and limits: Afero's docs/API-OTAEndpoints.md, API-DeviceEndpoints.md, API-UserEndpoints.md.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from .problems import Problem, field_error

BIGGEST = 2**63 - 1  # versionNumber is a signed 64-bit attribute

_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}
_DIGITS = {"type": "string", "pattern": "^[0-9]{1,19}$"}
_NAME = {"type": "string", "minLength": 1, "maxLength": 35}
_DESCRIPTION = {"type": "string", "maxLength": 500}
_TAGS = {"type": "array", "items": {"type": "string", "minLength": 1, "maxLength": 35}}
_VERSION = {"type": "string", "minLength": 1}
_TYPE = {"type": "integer", "minimum": 1, "maximum": 200}
_TYPE_OR_TEXT = {"anyOf": [_TYPE, {"type": "string", "pattern": "^[0-9]{1,3}$"}]}
_ASSOCIATIONS = {"type": "object", "additionalProperties": {"type": "array", "items": _TEXT}}


def _object(required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": required.split(), "properties": properties}


def _page(of: str) -> dict[str, Any]:
    counts = {name: _COUNT for name in ("number", "size", "totalPages", "numberOfElements", "totalElements")}
    content = {"type": "array", "items": {"$ref": f"#/components/schemas/{of}"}}
    return _object(" ".join((*counts, "content", "sort")), **counts, content=content, sort=_TEXT)


_STAMPS = {"createdTimestamp": _COUNT, "updatedTimestamp": _COUNT}
_RECORD = {
    "id": _DIGITS,
    "name": _NAME,
    "description": _DESCRIPTION,
    "type": _TYPE,
    "version": _VERSION,
    "versionNumber": _DIGITS,
    "url": _TEXT,
    "tags": _TAGS,
    "associations": _ASSOCIATIONS,
    "partnerId": _TEXT,
    **_STAMPS,
}
_RECORD_HAS = "id name type version versionNumber url tags partnerId createdTimestamp updatedTimestamp"

SCHEMAS: dict[str, dict[str, Any]] = {
    "FirmwareType": _object(
        "id name type partnerId createdTimestamp updatedTimestamp versionAttributeId",
        id=_DIGITS,
        name=_NAME,
        description=_DESCRIPTION,
        type=_TYPE,
        partnerId=_TEXT,
        versionAttributeId=_COUNT,
        **_STAMPS,
    ),
    "NewFirmwareType": _object("name type", name=_NAME, description=_DESCRIPTION, type=_TYPE),
    "ChangedFirmwareType": _object("name", name=_NAME, description=_DESCRIPTION),
    "Record": _object(_RECORD_HAS, **_RECORD),
    "NewRecord": _object(
        "name type version url",
        name=_NAME,
        description=_DESCRIPTION,
        type=_TYPE,
        version=_VERSION,
        url=_TEXT,
        tags=_TAGS,
        associations=_ASSOCIATIONS,
    ),
    "ChangedRecord": _object(
        "name version url", name=_NAME, description=_DESCRIPTION, version=_VERSION, url=_TEXT, tags=_TAGS
    ),
    "RecordPage": _page("Record"),
    # the documentation types `type` as a string here
    "NewImage": _object(
        "name type version versionNumber url",
        name=_NAME,
        description=_DESCRIPTION,
        type=_TYPE_OR_TEXT,
        version=_VERSION,
        versionNumber=_DIGITS,
        url=_TEXT,
        tags=_TAGS,
    ),
    "Image": _object(_RECORD_HAS + " deviceTypeId", **_RECORD, deviceTypeId=_TEXT),
    "ImagePage": _page("Image"),
    "Association": _object(
        "name partnerId email deviceTypeId deviceTypeName firmwareImageId",
        name=_TEXT,
        partnerId=_TEXT,
        email=_TEXT,
        deviceTypeId=_TEXT,
        deviceTypeName=_TEXT,
        firmwareImageId=_DIGITS,
    ),
    "Value": _object("value", value={"type": "string", "minLength": 1}),
    "Sha256": _object("value", value={"type": "string", "pattern": "^[0-9a-f]{64}$"}),
    "Flag": _object("value", value={"type": "boolean"}),
    "Tag": _TEXT,
    "Token": _object(
        "access_token token_type expires_in scope refresh_token",
        access_token=_TEXT,
        token_type={"const": "bearer"},
        expires_in=_COUNT,
        scope=_TEXT,
        refresh_token=_TEXT,
    ),
    "Me": _object("accountAccess partnerAccess", accountAccess={"type": "array"}, partnerAccess={"type": "array"}),
    "Device": _object(
        "deviceId deviceTypeId partnerId friendlyName developerDevice updating",
        deviceId=_TEXT,
        deviceTypeId=_TEXT,
        partnerId=_TEXT,
        friendlyName=_TEXT,
        developerDevice={"type": "boolean"},
        updating={"type": "boolean"},
        deviceState={"type": "object"},
        attributes={
            "type": "array",
            "items": _object("id data updatedTimestamp", id=_COUNT, data=_TEXT, updatedTimestamp=_COUNT),
        },
    ),
    "Error": _object(
        "timestamp status error error_description service_name region trace",
        timestamp=_COUNT,
        status={"type": "integer", "minimum": 400, "maximum": 499},
        error=_TEXT,
        error_description=_TEXT,
        service_name=_TEXT,
        region=_TEXT,
        trace=_TEXT,
        fieldErrors={
            "type": "array",
            "items": _object(
                "error error_description field rejectedValue", error=_TEXT, error_description=_TEXT, field=_TEXT
            ),
        },
    ),
}


def check(data: Any, name: str) -> dict[str, Any]:
    """The body, once it has the shape `name`. Raises Problem with every field that is wrong."""
    errors = list(_validator(name).iter_errors(data))
    if not isinstance(data, dict):
        raise Problem(400, "the body must be a JSON object")
    if errors:
        fields = [fault for error in errors for fault in _field_errors(error, data)]
        raise Problem(400, "validation failed", "validationFailure", fields)
    return data


@cache
def _validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(SCHEMAS[name])


def _field_errors(error: ValidationError, data: dict[str, Any]) -> list[dict[str, Any]]:
    limit: Any = error.validator_value
    if error.validator == "required" and not error.absolute_path:
        return [field_error(name, "must not be null") for name in limit if name not in data]
    field = str(error.absolute_path[0]) if error.absolute_path else ""
    description = {
        "type": f"must be of type {limit}",
        "maxLength": f"length must be between 0 and {limit}",
        "minLength": "must not be empty",
        "minimum": f"must be at least {limit}",
        "maximum": f"must be at most {limit}",
    }.get(str(error.validator), "has a wrong value")
    return [field_error(field, description, data.get(field))]
