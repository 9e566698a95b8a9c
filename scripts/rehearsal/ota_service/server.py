# SPDX-License-Identifier: MIT
"""The HTTP server: uvicorn on a loopback address, with a protocol that faults can reach through."""

from __future__ import annotations

import logging
import signal
import socket
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from . import binaries, delivery, devices, images, keycloak, oauth, openapi, pool, sim  # noqa: F401  (registers their routes)
from .mischief import Mischief
from .problems import Problem
from .service import Service
from .web import Dispatcher

HOST = "127.0.0.1"  # never reachable from elsewhere: the account is no secret
_GRACE = 2  # seconds that running calls get at the end


class Protocol(HttpToolsProtocol):
    """uvicorn's own, which hands its connection over and refuses broken HTTP in Afero's envelope."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["ota.transport"] = self.transport  # type: ignore[typeddict-unknown-key]

    def send_400_response(self, msg: str) -> None:
        body = bytes(Problem(400, "this is not HTTP/1.1").response().body)
        head = f"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(head.encode() + b"connection: close\r\n\r\n" + body)
        self.transport.close()


class Server(uvicorn.Server):
    """Says when it accepts connections, on one line of standard output."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        assert sockets
        print(f"OTA service on http://{HOST}:{sockets[0].getsockname()[1]}", flush=True)


def bind(port: int) -> socket.socket:
    """A socket on the loopback address; port 0 takes any. Raises OSError."""
    # asyncio switches Nagle off only for sockets that say that they are TCP
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError:
        listener.close()
        raise
    return listener


def serve(service: Service, listener: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT."""
    options: dict[str, Any] = {"lifespan": "off", "log_config": None, "access_log": False, "ws": "none"}
    config = uvicorn.Config(
        Mischief(Dispatcher(service), service),
        http=Protocol,
        timeout_graceful_shutdown=_GRACE,
        timeout_keep_alive=60,
        **options,
    )
    # uvicorn raises the signal again once it has stopped; by then it is no reason to die
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    Server(config).run(sockets=[listener])
