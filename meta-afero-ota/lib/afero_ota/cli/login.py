# SPDX-License-Identifier: MIT
"""The command that logs in through a browser, on this machine or on another."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from .. import config, errors
from ..login import settings as logins
from . import options as shared
from .output import Output

if TYPE_CHECKING:
    from ..login import terminal


def add(commands: shared.Commands) -> None:
    command = commands.add("login", login, "log in through a browser, and keep the refresh token")
    shared.add_network(command)
    command.add_argument(
        "--paste", action="store_true", help="do not wait for the browser: its address is pasted into the terminal"
    )
    command.add_argument(
        "--timeout", metavar="SECONDS", type=float, default=300.0, help="how long to wait (default: %(default)g)"
    )


def login(options: argparse.Namespace, output: Output) -> None:
    # an HTTP server, which no other command needs to wait for
    from ..login import code, terminal

    loaded = shared.settings(options, output)
    client = _client(loaded)
    listener = _listener(loaded.login.redirect_uri, options.paste)
    try:
        # without a listener the page cannot be shown, but its address is what counts
        redirect = listener.uri if listener else loaded.login.redirect_uri or f"http://{terminal.HOST}/"
        flow = code.begin(loaded.login, client, redirect)
        output.problem(f"Open this address in a browser and log in:\n\n{flow.url}\n")
        output.problem(_WAITING if listener else _PASTE)
        found = terminal.wait(flow, listener, sys.stdin, options.timeout, output.problem)
    finally:
        if listener:
            listener.close()
    path = shared.connect(options, output, loaded).log_in_with(found, flow.verifier, flow.redirect_uri)
    output.result({"tokenFile": path}, f"logged in; {path} keeps the refresh token, readable by you only")


_PASTE = (
    "Then paste the address that the browser ends at (it may show an error: the address is enough), and press Enter."
)
_WAITING = f"If the browser runs on another machine: {_PASTE[0].lower()}{_PASTE[1:]}"


def _client(loaded: config.Config) -> str:
    faults = []
    if not loaded.login.authorization_url:
        remedy = 'write in the configuration file: "tokenUrl": "https://…/protocol/openid-connect/token"'
        problem = "not set, so the login page is not known"
        faults.append(errors.Missing("authorizationUrl, or Keycloak's tokenUrl", problem, remedy))
    if not loaded.login.token_file:
        remedy = "name it with --conf or AFERO_OTA_CONF"
        faults.append(errors.Missing("configuration file", "none, and the token is kept beside it", remedy))
    secret = loaded.credentials.auth_string
    if not loaded.login.client_id and not secret.is_set:
        faults.append(errors.Missing("clientId", "not set", 'write in the configuration file: "clientId": "…"'))
    if faults:
        raise errors.ConfigError(faults)
    return logins.client_id(loaded.login, secret.reveal() if secret.is_set else "")


def _listener(redirect_uri: str, paste: bool) -> terminal.Listener | None:
    """None when nothing on this machine can wait for the browser: on request, or because the client has another address."""
    from ..login import terminal

    if paste or (redirect_uri and not terminal.is_loopback(redirect_uri)):
        return None
    return terminal.Listener(redirect_uri)
