# SPDX-License-Identifier: MIT
"""Everything the service refuses, in Afero's error envelope; and JSON that holds no surprises."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

WORDS = {
    400: "badRequest",
    401: "unauthorized",
    403: "forbidden",
    404: "notFound",
    405: "methodNotAllowed",
    409: "alreadyExists",
    413: "payloadTooLarge",
    415: "unsupportedMediaType",
    416: "rangeNotSatisfiable",
}


class Problem(Exception):
    """Ends a request with a status and the envelope."""

    def __init__(
        self,
        status: int,
        description: str,
        error: str = "",
        fields: list[dict[str, Any]] | None = None,
        headers: Mapping[str, str] | None = None,
    ):
        super().__init__(description)
        self.status, self.description, self.fields, self.headers = status, description, fields, headers
        self.error = error or WORDS.get(status, "error")

    def envelope(self) -> dict[str, Any]:
        """The body of the answer."""
        body: dict[str, Any] = {
            "timestamp": int(time.time() * 1000),
            "status": self.status,
            "error": self.error,
            "error_description": self.description,
            "service_name": "ClientApi",
            "region": "local",
            # the real service's exception and its stack; Afero's tool prints what stands before the first "at"
            "trace": f"{self.error}: {self.description}\n\tat {__name__}",
        }
        if self.fields:
            body["fieldErrors"] = self.fields
        return body

    def response(self) -> Response:
        return json_response(self.envelope(), self.status, self.headers)


def invalid(field: str, description: str, rejected: Any = None) -> Problem:
    """A validation failure of one field."""
    return Problem(400, "validation failed", "validationFailure", [field_error(field, description, rejected)])


def field_error(field: str, description: str, rejected: Any = None) -> dict[str, Any]:
    return {"error": "invalid", "error_description": description, "field": field, "rejectedValue": rejected}


def json_response(data: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(json.dumps(data).encode(), status, headers, "application/json")


def parse_json(raw: bytes) -> Any:
    """What a JSON text says. Raises Problem for anything that cannot be kept and given back as it is."""
    try:
        data = json.loads(raw, parse_constant=_no_constant, parse_float=_finite)
        # a lone surrogate parses, but is no text that could be stored
        json.dumps(data, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise Problem(400, "the body is not JSON") from None
    return data


def _no_constant(word: str) -> Any:
    raise ValueError(word)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number
