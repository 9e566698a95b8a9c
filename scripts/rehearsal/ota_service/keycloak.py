# SPDX-License-Identifier: MIT
"""The door of `--login keycloak`: a login page, a one-time code by e-mail, PKCE, refresh tokens that are exchanged at every use.

Paths, forms and refusals are Keycloak's, as clients of Afero's consumer clouds meet them (aioafero). Nothing is e-mailed: the
code is at GET /sim/mail. The password grant is closed, here and at /oauth/token.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

from starlette.responses import HTMLResponse, RedirectResponse, Response

from .problems import Problem, json_response
from .web import Call, route

if TYPE_CHECKING:
    from .account import Account

REALM = "/auth/realms/local"
OPENID = f"{REALM}/protocol/openid-connect"
APP_REDIRECT = (
    "local-app://loginredirect"  # what a client on a phone registers: no program on a computer can wait there
)
_CODE_SECONDS, _PAGE_SECONDS = 60.0, 300.0
_PAGE = """<!DOCTYPE html><title>Log in</title><h1>Local account</h1><p>{text}</p>
<form id="{form}" method="post" action="{action}">{inputs}<button name="action" value="submit">Log in</button></form>"""


@dataclass
class Session:
    """One visit to the login page, from its address to the tokens."""

    query: dict[str, str]
    ends: float
    mailed: str = ""
    passed: bool = False


@dataclass
class Door:
    """refresh_lifetime: seconds. sessions: those at the login page by their code; codes: those that may fetch tokens."""

    refresh_lifetime: float = 30 * 24 * 3600.0
    sessions: dict[str, Session] = field(default_factory=dict)
    codes: dict[str, Session] = field(default_factory=dict)
    mail: str = ""


def client_id(account: Account) -> str:
    """The id of the one client, public or with its secret."""
    return base64.b64decode(account.auth_string).decode().partition(":")[0]


def _door(call: Call) -> Door:
    if call.service.door is None:
        raise Problem(404, "there is no such path: the service runs without --login keycloak")
    return call.service.door


@route("GET", f"{OPENID}/auth", public=True)
async def page(call: Call) -> Response:
    """The login page."""
    door, query = _door(call), dict(call.request.query_params)
    # no redirect before the address is known to be the client's
    if query.get("client_id") != client_id(call.account) or not _is_registered(query.get("redirect_uri", "")):
        return HTMLResponse("Invalid parameter: client_id or redirect_uri", 400)
    if query.get("response_type") != "code" or query.get("code_challenge_method") != "S256":
        return _redirect(query, error="invalid_request", error_description="Missing parameter: code_challenge_method")
    session = secrets.token_urlsafe(16)
    door.sessions[session] = Session(query, time.monotonic() + _PAGE_SECONDS)
    return _form(session, "kc-form-login", "User name and password", ("username", "password"))


@route("POST", f"{REALM}/login-actions/authenticate", body="form", public=True)
async def authenticate(call: Call) -> Response:
    """A form of the login page: the password, then the one-time code."""
    door = _door(call)
    number = call.request.query_params.get("session_code", "")
    session = door.sessions.get(number)
    if session is None or time.monotonic() > session.ends:
        return HTMLResponse("Your login attempt timed out. Start again.", 400)
    form = await _fields(call)
    if not session.passed:
        if (form.get("username"), form.get("password")) != (call.account.username, call.account.password):
            return _form(number, "kc-form-login", "Invalid username or password.", ("username", "password"))
        session.passed, session.mailed = True, f"{secrets.randbelow(10**6):06}"
        door.mail = session.mailed
        return _form(number, "kc-otp-login-form", "Enter the code that was sent to you.", ("emailCode",))
    if not secrets.compare_digest(form.get("emailCode", "").encode(), session.mailed.encode()):
        return _form(number, "kc-otp-login-form", "Invalid code.", ("emailCode",))
    del door.sessions[number]
    code = secrets.token_urlsafe(24)
    session.ends = time.monotonic() + _CODE_SECONDS
    door.codes[code] = session
    return _redirect(session.query, code=code, session_state=secrets.token_hex(8))


@route("POST", f"{OPENID}/token", body="form", public=True)
async def tokens(call: Call) -> Response:
    """Tokens for a code or for a refresh token."""
    door, form = _door(call), await _fields(call)
    if not _is_client(call, form):
        return _refused("invalid_client", "Invalid client or Invalid client credentials", 401)
    grant = form.get("grant_type", "")
    if grant == "authorization_code":
        session = door.codes.pop(form.get("code", ""), None)
        if session is None or time.monotonic() > session.ends:
            return _refused("invalid_grant", "Code not valid")
        if session.query["redirect_uri"] != form.get("redirect_uri"):
            return _refused("invalid_grant", "Incorrect redirect_uri")
        if _challenge(form.get("code_verifier", "")) != session.query.get("code_challenge"):
            return _refused("invalid_grant", "PKCE verification failed: Code mismatch")
        return _give(call, door, secrets.token_hex(8))
    if grant == "refresh_token":
        return _refresh(call, door, form.get("refresh_token", ""))
    if grant == "password":
        # as for an account that needs more than its password
        return _refused("invalid_grant", "Account is not fully set up")
    return _refused("unsupported_grant_type", "Unsupported grant_type")


@route("GET", "/sim/mail", public=True)
async def mail(call: Call) -> Response:
    """The last one-time code."""
    door = _door(call)
    return json_response({"to": call.account.username, "code": door.mail}) if door.mail else Response(status_code=204)


def _refresh(call: Call, door: Door, token: str) -> Response:
    family, used = call.store.refresh_token(token)
    if not family:
        return _refused("invalid_grant", "Token is not active")
    if used:
        # either its owner or a thief has its successor; nobody knows which, so both lose it (RFC 9700, 4.14.2)
        call.store.drop_family(family)
        return _refused("invalid_grant", "Maximum allowed refresh token reuse exceeded")
    call.store.spend(token)
    return _give(call, door, family)


def _give(call: Call, door: Door, family: str) -> Response:
    lifetime = call.service.token_lifetime
    return json_response(
        {
            "access_token": call.store.add_token("access", lifetime, family),
            "id_token": call.store.add_token("access", lifetime, family),
            "expires_in": int(lifetime),
            "refresh_token": call.store.add_token("refresh", door.refresh_lifetime, family),
            "refresh_expires_in": int(door.refresh_lifetime),
            "token_type": "Bearer",
            "not-before-policy": 0,
            "scope": "openid offline_access",
        }
    )


def _is_client(call: Call, form: dict[str, str]) -> bool:
    kind, _, given = call.request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "basic":
        return secrets.compare_digest(given.strip().encode(), call.account.auth_string.encode())
    return form.get("client_id") == client_id(call.account)


def _is_registered(uri: str) -> bool:
    # any port, since a program takes a free one (RFC 8252, 7.3)
    return uri == APP_REDIRECT or re.fullmatch(r"http://127\.0\.0\.1(:\d{1,5})?/[\w/-]*", uri) is not None


def _challenge(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")


def _redirect(query: dict[str, str], **answer: str) -> Response:
    uri = query["redirect_uri"]
    issuer = {"state": query.get("state", ""), "iss": REALM}
    joint = "&" if urlsplit(uri).query else "?"
    return RedirectResponse(f"{uri}{joint}{urlencode({**issuer, **answer})}", 302)


def _form(session: str, form: str, text: str, names: tuple[str, ...]) -> Response:
    inputs = "".join(
        f'<label>{name} <input name="{name}" type="{"password" if name == "password" else "text"}"></label> '
        for name in names
    )
    action = f"{REALM}/login-actions/authenticate?{urlencode({'session_code': session})}"
    return HTMLResponse(_PAGE.format(text=html.escape(text), form=form, action=html.escape(action), inputs=inputs))


async def _fields(call: Call) -> dict[str, str]:
    try:
        form = parse_qs((await call.small_body()).decode(), max_num_fields=20, keep_blank_values=True)
    except ValueError:
        raise Problem(400, "the form cannot be read", "invalid_request") from None
    return {name: values[-1] for name, values in form.items()}


def _refused(error: str, description: str, status: int = 400) -> Response:
    body: dict[str, Any] = {"error": error, "error_description": description}
    return json_response(body, status)
