# SPDX-License-Identifier: MIT
"""The keys of the configuration file that say where and as which client to log in. Nothing here is a secret.

The names are those of OAuth 2.0 (RFC 6749). Without any of these keys, the login is that of Afero's documentation: the
password grant at `serviceUrl`/oauth/token.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable
from urllib.parse import urlsplit

from .. import checks
from .. import credentials as secrets
from ..errors import ConfigError, Fault, Missing

KEYS = ("tokenUrl", "authorizationUrl", "clientId", "redirectUri", "scope", "bearerToken", "tokenFile")
FILE_SUFFIX = ".login"  # of the file that keeps the refresh token, beside the configuration file
SCOPE = "openid offline_access"  # Keycloak: a refresh token that outlives the session in the browser
BEARERS = ("access_token", "id_token")
_KEYCLOAK = "/protocol/openid-connect/"  # the same in every realm


@dataclass(frozen=True)
class Login:
    """token_url: "" for the service's own. token_file: "" when there is no configuration file to put it beside.

    bearer: which token of an answer the service is shown.
    """

    token_url: str = ""
    authorization_url: str = ""
    client_id: str = ""
    redirect_uri: str = ""
    scope: str = SCOPE
    bearer: str = BEARERS[0]
    token_file: str = ""

    def stored(self) -> bool:
        """Whether somebody has logged in, or a refresh token was exchanged, and its successor is kept."""
        return bool(self.token_file) and os.path.exists(self.token_file)


def read(document: Mapping[str, Any], path: str | None, faults: list[Fault]) -> Login:
    """The settings in a configuration file's content; adds what is wrong to `faults`. path: that file."""

    def get(key: str, check: Callable[[Any], str], expected: str) -> str:
        try:
            return check(document.get(key))
        except ValueError as error:
            faults.append(Fault(f"{key} in {path}", str(error), f"set {key} to {expected}"))
            return ""

    token_url = get("tokenUrl", _url, "the address that gives tokens, such as https://…/protocol/openid-connect/token")
    authorization_url = get("authorizationUrl", _url, "the address of the login page")
    if not authorization_url and token_url.endswith(f"{_KEYCLOAK}token"):
        authorization_url = token_url[: -len("token")] + "auth"
    return Login(
        token_url,
        authorization_url,
        get("clientId", checks.word, "the id of this client"),
        get("redirectUri", _redirect, "the address that the login page leads to, such as http://127.0.0.1:8400/"),
        get("scope", checks.text, f'the scopes to ask for; "{SCOPE}" is the default') or SCOPE,
        get("bearerToken", _bearer, " or ".join(BEARERS)) or BEARERS[0],
        _token_file(get("tokenFile", checks.text, "a path"), path),
    )


def missing(login: Login, given: secrets.Credentials, known: Sequence[Fault]) -> list[Fault]:
    """What is not set of the way in which this configuration logs in. known: faults that were found so far."""
    wrong = {fault.field.partition(" ")[0].replace(secrets.COMMAND_SUFFIX, "") for fault in known}
    wrong |= {name for name, variable in secrets.SECRETS.items() if any(variable in fault.field for fault in known)}

    def lacks(name: str, secret: secrets.Secret) -> list[Fault]:
        return [] if secret.is_set or name in wrong else [secrets.missing(name)]

    if given.access_token.is_set or wrong & {"access-token", "refresh-token"}:
        return []
    client = [] if login.client_id else lacks("auth-string", given.auth_string)
    if given.refresh_token.is_set and not login.token_file:
        problem = (
            "needs a configuration file: a service may exchange the token, and the new one is kept beside that file"
        )
        return [
            *client,
            Fault("refresh-token", problem, "write one (it may be empty: {}) and name it in AFERO_OTA_CONF"),
        ]
    if given.refresh_token.is_set or login.stored():
        return client
    if login.authorization_url and not (given.username.is_set or given.userpw.is_set):
        return [*client, Missing("login", f"there is no {login.token_file} yet", "run: scripts/afero-ota login")]
    return [*lacks("username", given.username), *lacks("userpw", given.userpw), *client]


def client_id(login: Login, auth_string: str) -> str:
    """The client id to name on the login page: as configured, else the one in the auth-string. Raises ConfigError."""
    found = login.client_id or base64.b64decode(auth_string).decode("utf-8", "replace").partition(":")[0]
    if not found:
        raise ConfigError([Fault("clientId", "not set", 'write in the configuration file: "clientId": "…"')])
    return found


def _url(value: Any) -> str:
    return checks.service_url(value) if checks.text(value) else ""


def _redirect(value: Any) -> str:
    uri = checks.word(value)
    if uri and not urlsplit(uri).scheme:
        raise ValueError(f"{uri!r} is not a URI")
    return uri


def _bearer(value: Any) -> str:
    kind = checks.text(value)
    if kind not in ("", *BEARERS):
        raise ValueError(f"{kind!r} is not a token of the answer")
    return kind


def _token_file(given: str, path: str | None) -> str:
    if not path:
        return ""
    return os.path.join(os.path.dirname(os.path.abspath(path)), given or os.path.basename(path) + FILE_SUFFIX)
