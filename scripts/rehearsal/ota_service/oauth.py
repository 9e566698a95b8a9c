# SPDX-License-Identifier: MIT
"""POST /oauth/token (docs/API-OAuthEndpoints.md) and GET /v1/users/me (docs/API-UserEndpoints.md)."""

from __future__ import annotations

import base64
import binascii
import hmac
from urllib.parse import parse_qs

from starlette.responses import Response

from .problems import Problem
from .web import Call, route

_REFRESH_LIFETIME = 30 * 24 * 3600.0


def same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


@route("POST", "/oauth/token", answer="Token", body="form", public=True)
async def token(call: Call) -> Response:
    """Get an access token by password or by refresh token."""
    kind, _, given = call.request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "basic" or not same(given.strip(), call.account.auth_string):
        raise Problem(
            401,
            "the client is not known: send Authorization: Basic <auth-string>",
            headers={"WWW-Authenticate": 'Basic realm="api"'},
        )
    content = call.request.headers.get("content-type", "").split(";")[0].strip().lower()
    if content != "application/x-www-form-urlencoded":
        raise Problem(415, "the body must be application/x-www-form-urlencoded")
    try:
        form = parse_qs((await call.small_body()).decode(), max_num_fields=20, keep_blank_values=True, errors="strict")
    except ValueError:
        raise Problem(400, "the form cannot be read", "invalid_request") from None
    fields = {name: values[-1] for name, values in form.items()}
    grant = fields.get("grant_type", "")
    if call.service.door is not None:
        good = False  # as if Afero had closed this door; see keycloak.py
    elif grant == "password":
        good = same(fields.get("username", ""), call.account.username)
        good &= same(fields.get("password", ""), call.account.password)
    elif grant == "refresh_token":
        good = call.store.token_is_good(fields.get("refresh_token", ""), "refresh")
    else:
        raise Problem(400, "grant_type must be password or refresh_token", "unsupported_grant_type")
    if not good:
        raise Problem(400, "Bad credentials", "invalid_grant")
    lifetime = call.service.token_lifetime
    return call.answer(
        {
            "access_token": call.store.add_token("access", lifetime),
            "token_type": "bearer",
            "refresh_token": call.store.add_token("refresh", _REFRESH_LIFETIME),
            "expires_in": int(lifetime),
            "scope": "partner account",
        }
    )


@route("GET", "/v1/users/me", answer="Me")
async def me(call: Call) -> Response:
    """Who is logged in, with accounts and partners."""
    account = call.account
    try:
        client_id, _, secret = base64.b64decode(account.auth_string).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        client_id, secret = account.partner_id, ""
    return call.answer(
        {
            "userId": "local-user",
            "credential": {"credentialId": account.username, "type": "email"},
            "firstName": "Local",
            "lastName": "Developer",
            "accountAccess": [
                {
                    "account": {"accountId": account.account_id, "type": "CUSTOMER", "description": "Local account"},
                    "privileges": {"canWrite": True, "owner": True},
                }
            ],
            "partnerAccess": [
                {
                    "partner": {
                        "partnerId": account.partner_id,
                        "name": "Local partner",
                        "clientId": client_id,
                        "clientSecret": secret,
                    },
                    "privileges": {
                        "inviteUsers": True,
                        "manageDeviceProfiles": True,
                        "owner": True,
                        "viewDeviceInfo": True,
                    },
                }
            ],
        }
    )
