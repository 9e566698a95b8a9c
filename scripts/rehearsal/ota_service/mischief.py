# SPDX-License-Identifier: MIT
"""Plays the faults of a plan on real connections: an ASGI application around the service's own.

The server's protocol hands over the connection as `ota.transport`, so that a reset is a real TCP reset.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import secrets
import socket
import struct
from collections.abc import Awaitable
from typing import Any, Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .faults import Rule, plain_path
from .problems import Problem
from .service import Service

log = logging.getLogger("ota_service")


class Mischief:
    """Hands each call to the service, or to the fault that is due."""

    def __init__(self, app: ASGIApp, service: Service):
        self.app, self.service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = plain_path(scope["raw_path"])
        # the endpoint that sets the faults must not be hit by them
        rule = None if path == "/sim/faults" else self.service.plan.pick(scope["method"], path)
        if rule is None:
            return await self.app(scope, receive, send)
        log.info("fault %s (rule %d) on %s %s", rule.action, rule.number, scope["method"], path)
        await _PLAYERS[rule.action](Exchange(self.app, self.service, rule, scope, receive, send))


class Exchange:
    """One request and its answer, in the hands of a fault."""

    def __init__(self, app: ASGIApp, service: Service, rule: Rule, scope: Scope, receive: Receive, send: Send):
        self.app, self.service, self.rule = app, service, rule
        self.scope, self.receive, self.send, self.options = scope, receive, send, rule.options
        self.transport: asyncio.Transport = scope["ota.transport"]

    async def run(self, receive: Receive | None = None, send: Send | None = None) -> None:
        """Let the service do its work."""
        await self.app(self.scope, receive or self.receive, send or self.send)

    async def collect(self) -> tuple[Message, bytes]:
        """Let the service do its work, but keep the answer: its start and its body."""
        start: Message = {}
        body = bytearray()

        async def keep(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
            else:
                body.extend(message.get("body", b""))

        await self.run(send=keep)
        return start, bytes(body)

    async def answer(self, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        headers = [(name, value) for name, value in headers if name.lower() != b"content-length"]
        headers.append((b"content-length", str(len(body)).encode()))
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})

    async def end(self, how: str) -> None:
        """End the connection: close it, reset it, or let it hang for `seconds` and reset it then."""
        if how == "stall":
            await self.pause(self.options["seconds"])
        if how == "close":
            self.transport.close()
        else:
            connection = self.transport.get_extra_info("socket")
            # linger time 0: the kernel sends RST instead of FIN
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()
        # the server must see that the connection is gone, or it would answer 500
        while (await self.receive())["type"] != "http.disconnect":
            pass

    async def pause(self, seconds: float) -> None:
        """Wait, but not longer than the connection lives."""
        end = asyncio.get_running_loop().time() + seconds
        while (left := end - asyncio.get_running_loop().time()) > 0 and not self.transport.is_closing():
            await asyncio.sleep(min(left, 0.1))


async def _refuse(exchange: Exchange) -> None:
    await exchange.end("close")


async def _reset(exchange: Exchange) -> None:
    if exchange.options["at"] == "after":
        await exchange.collect()
    await exchange.end("reset")


async def _stall(exchange: Exchange) -> None:
    if exchange.options["at"] == "before":
        await exchange.pause(exchange.options["seconds"])
        if exchange.transport.is_closing():
            return
        return await exchange.run()
    start, body = await exchange.collect()
    await exchange.pause(exchange.options["seconds"])
    if start:
        await exchange.answer(start["status"], body, start["headers"])


async def _cut_request(exchange: Exchange) -> None:
    """The service gets the first bytes of the request's body, then the connection ends."""
    left, ended = exchange.options["byte"], False

    async def receive() -> Message:
        nonlocal left, ended
        if left <= 0 or ended:
            ended = True
            await exchange.end(exchange.options["how"])
            return {"type": "http.disconnect"}
        message = await exchange.receive()
        if message["type"] == "http.request":
            body = message.get("body", b"")[:left]
            left -= len(body)
            # a body that is shorter than N goes through whole
            if left <= 0:
                return {**message, "body": body, "more_body": True}
        return message

    await exchange.run(receive=receive)


async def _cut_answer(exchange: Exchange) -> None:
    """The client gets the first bytes of the answer's body, then the connection ends."""
    left, ended = exchange.options["byte"], False

    async def send(message: Message) -> None:
        nonlocal left, ended
        if ended:
            return
        if message["type"] == "http.response.start":
            await exchange.send(message)
            return
        body = message.get("body", b"")
        if len(body) < left or (len(body) == left and not message.get("more_body")):
            left -= len(body)
            await exchange.send(message)
            return
        ended = True
        # `more_body` keeps the server from completing the answer by itself
        await exchange.send({**message, "body": body[:left], "more_body": True})
        await _flushed(exchange.transport)
        await exchange.end(exchange.options["how"])

    await exchange.run(send=send)


async def _flushed(transport: asyncio.Transport) -> None:
    """Until the kernel has what was written: a reset would throw it away."""
    while transport.get_write_buffer_size() and not transport.is_closing():
        await asyncio.sleep(0.005)
    # and a moment for the peer to read it, since a reset discards what is still in its way
    await asyncio.sleep(0.05)


async def _drip(exchange: Exchange) -> None:
    step = exchange.options["bytes"]

    async def send(message: Message) -> None:
        body = message.get("body", b"")
        if message["type"] != "http.response.body" or not body:
            return await exchange.send(message)
        for start in range(0, len(body), step):
            last = start + step >= len(body)
            more = True if not last else message.get("more_body", False)
            await exchange.send({**message, "body": body[start : start + step], "more_body": more})
            await exchange.pause(exchange.options["pause"])

    await exchange.run(send=send)


async def _slow_upload(exchange: Exchange) -> None:
    async def receive() -> Message:
        message = await exchange.receive()
        await exchange.pause(len(message.get("body", b"")) / exchange.options["rate"])
        return message

    await exchange.run(receive=receive)


async def _status(exchange: Exchange) -> None:
    options = exchange.options
    if options["at"] == "after":
        await exchange.collect()
    body, kind = options["body"], b"application/json"
    if body is None and options["status"] >= 400:
        problem = Problem(options["status"], "a fault was asked for", "" if options["status"] < 500 else "serverError")
        body = problem.envelope()
    if isinstance(body, str):
        kind = b"text/html" if body.lstrip().startswith("<") else b"text/plain"
    raw = b"" if body is None else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    headers = {b"content-type": kind}
    for name, value in (options["headers"] or {}).items():
        headers[str(name).lower().encode("latin-1", "replace")] = str(value).encode("latin-1", "replace")
    await exchange.answer(options["status"], raw, list(headers.items()))


def _edit(change: Callable[[Any, dict[str, Any]], Any]) -> Callable[[Exchange], Awaitable[None]]:
    """A fault that alters the JSON of a successful answer: `change` is given the data and the options."""

    async def play(exchange: Exchange) -> None:
        start, body = await exchange.collect()
        if not start:
            return
        if start["status"] < 300 and body:
            body = json.dumps(change(json.loads(body), exchange.options)).encode()
        await exchange.answer(start["status"], body, start["headers"])

    return play


def _hash(data: Any, options: dict[str, Any]) -> Any:
    value = data.pop("value", "")
    if options["value"] == "upper":
        data["value"] = value.upper()
    elif options["value"] == "wrong":
        data["value"] = hashlib.sha256(value.encode()).hexdigest()
    return data


def _fields(data: Any, options: dict[str, Any]) -> Any:
    """In every object of the answer: of a list or a page, in its items."""
    if isinstance(data, list):
        return [_fields(item, options) for item in data]
    if isinstance(data, dict) and isinstance(data.get("content"), list):
        return {**data, "content": _fields(data["content"], options)}
    if isinstance(data, dict):
        kept = {name: value for name, value in data.items() if name not in (options["drop"] or ())}
        return {**kept, **(options["add"] or {})}
    return data


async def _not_json(exchange: Exchange) -> None:
    start, body = await exchange.collect()
    if start:
        await exchange.answer(start["status"], b"<html>" + body[: len(body) // 2], start["headers"])


async def _expire_tokens(exchange: Exchange) -> None:
    if exchange.options["at"] == "before":
        exchange.service.store.drop_tokens("access")
        return await exchange.run()
    start, body = await exchange.collect()
    exchange.service.store.drop_tokens("access")
    if start:
        await exchange.answer(start["status"], body, start["headers"])


async def _lag(exchange: Exchange) -> None:
    exchange.scope["ota.lag"] = exchange.options["seconds"] * 1000
    await exchange.run()


async def _insert_record(exchange: Exchange) -> None:
    service, options = exchange.service, exchange.options
    doc = {
        "name": options["name"],
        "type": 5,
        "version": options["version"] or f"inserted-{secrets.token_hex(4)}",
        "url": "",
        "tags": [],
        "partnerId": service.account.partner_id,
    }
    service.store.add_record(doc, -1 if options["place"] == "front" else 0)
    await exchange.run()


_PLAYERS: dict[str, Callable[[Exchange], Awaitable[None]]] = {
    "refuse": _refuse,
    "reset": _reset,
    "stall": _stall,
    "cut_request": _cut_request,
    "cut_answer": _cut_answer,
    "drip": _drip,
    "slow_upload": _slow_upload,
    "status": _status,
    "hash": _edit(_hash),
    "not_json": _not_json,
    "fields": _edit(_fields),
    "expire_tokens": _expire_tokens,
    "lag": _lag,
    "insert_record": _insert_record,
}
