# SPDX-License-Identifier: MIT
"""Everything the service refuses, in Afero's error envelope; and the checks of request bodies."""

from __future__ import annotations

import re
import time
from typing import Any

from starlette.responses import JSONResponse

WORDS = {
    400: "badRequest",
    401: "unauthorized",
    403: "forbidden",
    404: "notFound",
    405: "methodNotAllowed",
    409: "alreadyExists",
    413: "payloadTooLarge",
    415: "unsupportedMediaType",
    422: "badRequest",
}


class Problem(Exception):
    """Ends a request with a status and the envelope."""

    def __init__(self, status: int, description: str, error: str = "", fields: list[dict[str, Any]] | None = None):
        super().__init__(description)
        self.status, self.description, self.fields = status, description, fields
        self.error = error or WORDS.get(status, "error")

    def response(self, headers: dict[str, str] | None = None) -> JSONResponse:
        body: dict[str, Any] = {
            "timestamp": int(time.time() * 1000),
            "status": self.status,
            "error": self.error,
            "error_description": self.description,
            "service_name": "ClientApi",
            "region": "local",
        }
        if self.fields:
            body["fieldErrors"] = self.fields
        return JSONResponse(body, self.status, headers)


class Fields:
    """Takes the fields of a JSON object one by one and collects what is wrong with them."""

    def __init__(self, body: Any):
        if not isinstance(body, dict):
            raise Problem(400, "the body must be a JSON object")
        self.body = body
        self.errors: list[dict[str, Any]] = []

    def wrong(self, field: str, description: str) -> None:
        rejected = self.body.get(field)
        self.errors.append(
            {"error": "invalid", "error_description": description, "field": field, "rejectedValue": rejected}
        )

    def text(self, field: str, limit: int = 10_000, required: bool = True, empty: bool = False) -> str | None:
        value = self.body.get(field)
        if value is None:
            if required:
                self.wrong(field, "must not be null")
            return None
        if not isinstance(value, str):
            self.wrong(field, "must be a string")
        elif not value and not empty:
            self.wrong(field, "must not be empty")
        elif len(value) > limit:
            self.wrong(field, f"length must be between 0 and {limit}")
        elif re.search("[\ud800-\udfff\0]", value):
            self.wrong(field, "must be well-formed text")
        else:
            return value
        return None

    def tags(self) -> list[str]:
        value = self.body.get("tags")
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(tag, str) and 0 < len(tag) <= 35 for tag in value):
            self.wrong("tags", "must be a list of strings of 1 to 35 characters")
            return []
        return list(dict.fromkeys(value))

    def number(self, field: str, low: int, high: int) -> int:
        value = self.body.get(field)
        # the documentation types `type` as a string in one place
        if isinstance(value, str) and value.isdecimal() and value.isascii():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.wrong(field, f"must be a number from {low} to {high}")
            return 0
        return value

    def done(self) -> None:
        if self.errors:
            raise Problem(400, "validation failed", "validationFailure", self.errors)
