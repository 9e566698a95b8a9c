# SPDX-License-Identifier: MIT
"""The service's own OpenAPI description, made from its routes and schemas (without /sim/ and /repository/)."""

from __future__ import annotations

import re
from typing import Any

from starlette.responses import Response

from .problems import json_response
from .schemas import SCHEMAS
from .web import LARGEST_PAGE, PAGE_SIZE, ROUTES, SORTABLE, Call, Route, route

_REF = "#/components/schemas/"
_NUMBER = {"type": "integer", "minimum": 0, "maximum": 200}
_LONG = {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}
_PATH = {"type": _NUMBER, "versionNumber": _LONG, "firmwareImageId": _LONG}
_QUERY: dict[str, dict[str, Any]] = {
    "page": {"type": "integer", "minimum": 0, "maximum": 999_999_999, "default": 0},
    "size": {"type": "integer", "minimum": 1, "maximum": LARGEST_PAGE, "default": PAGE_SIZE},
    "sort": {"type": "string", "enum": [name + tail for name in SORTABLE for tail in ("", ",asc", ",desc")]},
    "tags": {"type": "string"},
    "excludeFirmwareImageId": {"type": "string", "pattern": "^[0-9]{1,19}$"},
    "expansions": {"type": "string"},
}
_FORM = {
    "type": "object",
    "required": ["grant_type"],
    "properties": {
        "grant_type": {"enum": ["password", "refresh_token"]},
        "username": {"type": "string"},
        "password": {"type": "string"},
        "refresh_token": {"type": "string"},
    },
}
_BYTES = {"type": "string", "format": "binary", "minLength": 1}


@route("GET", "/openapi.json", public=True)
async def openapi(call: Call) -> Response:
    """This description."""
    return json_response(describe())


def describe() -> dict[str, Any]:
    """The OpenAPI 3.1 document."""
    paths: dict[str, Any] = {}
    for found in ROUTES:
        if found.template.startswith(("/v1/", "/oauth/")):
            paths.setdefault(found.template, {})[found.method.lower()] = _operation(found)
    shown = {name: schema for name, schema in SCHEMAS.items() if not name.startswith("Sim")}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Local Afero OTA service", "version": "1", "license": {"name": "MIT"}},
        "paths": paths,
        "components": {
            "schemas": shown,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "client": {"type": "http", "scheme": "basic"},
            },
        },
    }


def _operation(found: Route) -> dict[str, Any]:
    names = re.findall(r"\{(\w+)\}", found.template)
    text = {"type": "string", "minLength": 1}
    parameters = [{"name": name, "in": "path", "required": True, "schema": _PATH.get(name, text)} for name in names]
    parameters += [{"name": name, "in": "query", "schema": _QUERY[name]} for name in found.query]
    operation: dict[str, Any] = {
        "operationId": found.handler.__name__,
        "summary": found.summary,
        "parameters": parameters,
        "security": [{"client" if found.public else "bearer": []}],
        "responses": _responses(found),
    }
    if found.body:
        operation["requestBody"] = {"required": True, "content": _content(found.body)}
    return operation


def _content(body: str) -> dict[str, Any]:
    if body == "form":
        return {"application/x-www-form-urlencoded": {"schema": _FORM}}
    if body == "binary":
        form = {"type": "object", "required": ["file"], "properties": {"file": _BYTES}}
        return {"application/octet-stream": {"schema": _BYTES}, "multipart/form-data": {"schema": form}}
    return {"application/json": {"schema": {"$ref": _REF + body}}}


def _responses(found: Route) -> dict[str, Any]:
    success: dict[str, Any] = {"description": found.summary}
    if found.answer:
        schema: dict[str, Any] = {"$ref": _REF + found.answer.strip("[]")}
        if found.answer.startswith("["):
            schema = {"type": "array", "items": schema}
        success["content"] = {"application/json": {"schema": schema}}
    refusals = {"400": "wrong input", "401": "not logged in"}
    if found.template.startswith("/v1/") and "{" in found.template:
        refusals["404"] = "an id that is not known"
    if found.body:
        refusals |= {"413": "the body is too long", "415": "the body is of another type"}
    if found.status == 201 or found.body == "ChangedRecord":
        refusals["409"] = "exists already"
    error = {"application/json": {"schema": {"$ref": _REF + "Error"}}}
    return {
        str(found.status): success,
        **{code: {"description": text, "content": error} for code, text in sorted(refusals.items())},
        "405": {"description": "the path has no such method", "content": error},
    }
