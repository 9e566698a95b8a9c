# SPDX-License-Identifier: MIT
"""How the code reaches a program without a browser of its own: at a loopback address, or pasted into the terminal."""

from __future__ import annotations

import http.server
import ipaddress
import selectors
import time
from typing import Any, Callable, TextIO
from urllib.parse import urlsplit

from ..errors import AbortedError, AuthError, ConfigError, Fault
from . import code

HOST = "127.0.0.1"
_REQUEST_LIMIT = 5  # seconds a connection may take to say what it wants
_DONE = "You are logged in. This page can be closed; go on in the terminal."
_REFUSED = "The login was refused. This page can be closed; the terminal says why."


class Listener:
    """Waits at the redirect address for the browser. uri: the address to give the login page, with the real port."""

    def __init__(self, redirect_uri: str = ""):
        parts = urlsplit(redirect_uri or f"http://{HOST}/")
        try:
            self._server = _Server((HOST, parts.port or 0), _Handler)
        except OSError as error:
            remedy = (
                "close what uses the port, name another one in redirectUri, or run: scripts/afero-ota login --paste"
            )
            raise ConfigError([Fault("redirectUri", f"{redirect_uri}: {error.strerror}", remedy)]) from None
        self._server.path = parts.path or "/"
        self.uri = f"http://{parts.hostname}:{self._server.server_port}{self._server.path}"

    def fileno(self) -> int:
        return self._server.fileno()

    def take(self, flow: code.Flow) -> str:
        """Answer the connection that waits; the code if it brought one, else "". Raises AuthError."""
        found: list[str | AuthError] = []

        def judge(query: str) -> tuple[int, str]:
            try:
                found.append(code.code_in(flow, "?" + query))
            except AuthError as error:
                found.append(error)
                return 403, _REFUSED
            except ValueError as error:
                return 400, str(error)
            return 200, _DONE

        self._server.judge = judge
        self._server.handle_request()
        if found and isinstance(found[0], AuthError):
            raise found[0]
        return str(found[0]) if found else ""

    def close(self) -> None:
        self._server.server_close()


class _Server(http.server.HTTPServer):
    path: str
    judge: Callable[[str], tuple[int, str]]  # the query of a request -> status and text of the answer


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server
    timeout = _REQUEST_LIMIT

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        # browsers ask for an icon as well
        status, text = self.server.judge(query) if path == self.server.path and query else (404, "not here")
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the address holds the code."""


def is_loopback(redirect_uri: str) -> bool:
    """Whether a program on this machine can wait at that address."""
    parts = urlsplit(redirect_uri)
    try:
        address = "127.0.0.1" if parts.hostname == "localhost" else parts.hostname or ""
        return parts.scheme == "http" and ipaddress.ip_address(address) in ipaddress.ip_network("127.0.0.0/8")
    except ValueError:
        return False


def wait(
    flow: code.Flow, listener: Listener | None, pasted: TextIO | None, seconds: float, say: Callable[[str], None]
) -> str:
    """The code, from whichever comes first. pasted: where a person pastes an address, one a line; None for nowhere.

    Raises AuthError when the login page refused, AbortedError when nothing came within `seconds`.
    """
    end = time.monotonic() + seconds
    # select, since epoll does not take a regular file as standard input
    with selectors.SelectSelector() as selector:
        if pasted:
            selector.register(pasted, selectors.EVENT_READ)
        if listener:
            selector.register(listener, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(0.0, end - time.monotonic()))
            if not ready:
                raise AbortedError(f"nobody logged in within {seconds:g} s; run the same command again")
            for key, _ in ready:
                if key.fileobj is listener and listener:
                    found = listener.take(flow)
                elif pasted:
                    line = pasted.readline()
                    if not line:
                        selector.unregister(pasted)
                        continue
                    found = _pasted(flow, line, say)
                if found:
                    return found
    raise AbortedError("nothing was pasted and standard input has ended; run the command in a terminal")


def _pasted(flow: code.Flow, line: str, say: Callable[[str], None]) -> str:
    try:
        return code.code_in(flow, line) if line.strip() else ""
    except ValueError as error:
        say(str(error))
        return ""
