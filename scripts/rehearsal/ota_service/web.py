# SPDX-License-Identifier: MIT
"""Routes, calls and answers: what lies between the HTTP server and the endpoints.

Paths are matched before percent-decoding, since a name in a path may hold an escaped slash.
"""

from __future__ import annotations

import collections
import logging
import time
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable
from urllib.parse import unquote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from . import schemas
from .problems import Problem, invalid, json_response, parse_json

if TYPE_CHECKING:
    from .service import Service

PARTNER = "/v1/ota/partners/{partnerId}"
DEVICE_TYPE = PARTNER + "/deviceTypes/{deviceTypeId}"
JSON_LIMIT = 1 << 20  # bytes of a JSON body
PAGE_SIZE, LARGEST_PAGE = 50, 10_000

log = logging.getLogger("ota_service")

Handler = Callable[["Call"], Awaitable[Response]]


@dataclass(frozen=True)
class Route:
    """One endpoint: how it is found, who may call it, and what its description says."""

    method: str
    template: str
    handler: Handler
    status: int = 200
    answer: str = ""  # a name in SCHEMAS, `[Name]` for a list of them, empty for no body
    body: str = ""  # a name in SCHEMAS, or `binary`, or `form`
    query: tuple[str, ...] = ()
    public: bool = False
    summary: str = ""
    segments: tuple[str, ...] = field(default=(), compare=False)

    def match(self, path: list[str]) -> dict[str, str] | None:
        """The path's parameters, still encoded; None when the path is another one."""
        if len(path) != len(self.segments):
            return None
        found = {}
        for own, given in zip(self.segments, path):
            if own.startswith("{"):
                if not given:
                    return None
                found[own[1:-1]] = given
            elif own != given:
                return None
        return found


ROUTES: list[Route] = []


def route(method: str, template: str, **facts: Any) -> Callable[[Handler], Handler]:
    """Registers a handler; `facts` are the further fields of Route."""

    def register(handler: Handler) -> Handler:
        summary = (handler.__doc__ or "").strip().splitlines()[0].rstrip(".")
        ROUTES.append(Route(method, template, handler, summary=summary, segments=tuple(template.split("/")), **facts))
        return handler

    return register


class Call:
    """One request on its way through an endpoint."""

    def __init__(self, service: Service, request: Request, found: Route, path: dict[str, str]):
        self.service, self.request, self.route, self.path = service, request, found, path
        self.store, self.account = service.store, service.account

    def number(self, name: str, biggest: int = schemas.BIGGEST) -> int:
        """A path parameter that is a number: Problem 400 when it is none, 404 when nothing can have it."""
        text = self.path[name]
        digits = text[1:] if text.startswith("-") else text
        if not (digits.isascii() and digits.isdecimal()):
            raise invalid(name, "must be a number", text)
        if len(text) > 19 or not 0 <= int(text) <= biggest:
            raise Problem(404, f"there is no {name} {text[:80]}")
        return int(text)

    def query_number(self, name: str, default: int, low: int, high: int) -> int:
        text = self.request.query_params.get(name)
        if text is None:
            return default
        if not (text.isascii() and text.isdecimal() and len(text) < 10 and low <= int(text) <= high):
            raise invalid(name, f"must be a number from {low} to {high}", text)
        return int(text)

    async def json(self) -> dict[str, Any]:
        """The body, checked against the route's schema."""
        kind = self.request.headers.get("content-type", "application/json").split(";")[0].strip().lower()
        if kind != "application/json":
            raise Problem(415, f"the body must be application/json, not {kind[:80]}")
        return schemas.check(parse_json(await self.small_body()), self.route.body)

    async def small_body(self) -> bytes:
        raw = bytearray()
        async for block in self.request.stream():
            raw += block
            if len(raw) > JSON_LIMIT:
                raise Problem(413, f"a body of this call has at most {JSON_LIMIT} bytes")
        return bytes(raw)

    def page(self, items: list[dict[str, Any]]) -> Response:
        """The page of a list that the query asks for: tags, page, size, sort (docs/CloudAPIs.md)."""
        tags = [tag for tag in self.request.query_params.get("tags", "").split(",") if tag]
        if tags:
            items = [item for item in items if set(tags) & set(item.get("tags", ()))]
        sort = self.request.query_params.get("sort")
        if sort is not None:
            items = _sorted(items, sort)
        number = self.query_number("page", 0, 0, 999_999_999)
        size = self.query_number("size", PAGE_SIZE, 1, LARGEST_PAGE)
        content = items[number * size : (number + 1) * size]
        return json_response(
            {
                "number": number,
                "size": size,
                "totalPages": -(-len(items) // size),
                "numberOfElements": len(content),
                "totalElements": len(items),
                "content": content,
                "sort": sort or "",
            }
        )

    def answer(self, data: Any = None) -> Response:
        """The documented success."""
        return json_response(data, self.route.status) if self.route.answer else Response(status_code=self.route.status)


_NUMERIC = {"id", "versionNumber", "type", "createdTimestamp", "updatedTimestamp"}
SORTABLE = (*sorted(_NUMERIC), "name", "version")


def _sorted(items: list[dict[str, Any]], sort: str) -> list[dict[str, Any]]:
    """By `field`, or `field,asc` or `field,desc` (the documentation shows bare field names only)."""
    name, _, direction = sort.partition(",")
    if name not in SORTABLE or direction not in ("", "asc", "desc"):
        raise invalid("sort", f"must be one of {', '.join(SORTABLE)}, with ,asc or ,desc behind it if wanted", sort)

    def key(item: dict[str, Any]) -> Any:
        return int(item[name]) if name in _NUMERIC else item[name]

    return sorted(items, key=key, reverse=direction == "desc")


class Dispatcher:
    """The ASGI application: finds the route, checks who calls, answers; every refusal in the envelope."""

    def __init__(self, service: Service):
        self.service = service
        self.counts: collections.Counter[str] = collections.Counter()
        service.counts = self.counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request, started = Request(scope, receive), time.monotonic()
        try:
            response = await self.respond(request)
        except Problem as problem:
            response = problem.response()
        except ClientDisconnect:
            log.info("%s %s: the client went away", request.method, scope["raw_path"].decode("ascii", "replace"))
            return
        await response(scope, receive, send)
        milliseconds = (time.monotonic() - started) * 1000
        log.info(
            "%s %s %s %.0f ms", request.method, scope["raw_path"].decode("ascii"), response.status_code, milliseconds
        )

    async def respond(self, request: Request) -> Response:
        path = request.scope["raw_path"].decode("ascii", "replace").split("/")
        fits = [(found, values) for found in ROUTES if (values := found.match(path)) is not None]
        # fixed words win over parameters
        fits.sort(key=lambda fit: len(fit[1]))
        if not fits:
            raise Problem(404, "there is no such path")
        for found, values in fits:
            if found.method == request.method and len(values) == len(fits[0][1]):
                break
        else:
            allowed = sorted({found.method for found, _ in fits})
            raise Problem(405, f"use {' or '.join(allowed)}", headers={"Allow": ", ".join(allowed)})
        self.counts[f"{found.method} {found.template}"] += 1
        if not found.public:
            self.service.check_token(request)
        call = Call(self.service, request, found, {name: _decode(name, value) for name, value in values.items()})
        self.service.check_owner(call.path)
        return await found.handler(call)


def _decode(name: str, value: str) -> str:
    try:
        return unquote(value, errors="strict")
    except UnicodeDecodeError:
        raise invalid(name, "must be UTF-8 text, percent-encoded", value) from None
