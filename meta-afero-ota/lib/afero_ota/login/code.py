# SPDX-License-Identifier: MIT
"""The authorization code flow with PKCE (RFC 6749, 7636, 8252): the address to open, and the code in the one it ends at."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from urllib.parse import parse_qs, urlencode, urlsplit

from ..errors import AuthError
from .settings import Login


@dataclass(frozen=True)
class Flow:
    """One attempt to log in. url: what to open in a browser. verifier: never leaves this process before the exchange."""

    url: str
    redirect_uri: str
    state: str
    verifier: str

    def __repr__(self) -> str:
        return "Flow(***)"


def begin(login: Login, client_id: str, redirect_uri: str) -> Flow:
    """A new attempt with a state and a verifier of its own."""
    verifier, state = secrets.token_urlsafe(48), secrets.token_urlsafe(24)
    query = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": redirect_uri,
        "scope": login.scope,
        "state": state,
        "code_challenge": challenge(verifier),
        "code_challenge_method": "S256",
    }
    return Flow(f"{login.authorization_url}?{urlencode(query)}", redirect_uri, state, verifier)


def challenge(verifier: str) -> str:
    """The S256 challenge of a verifier (RFC 7636, 4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def code_in(flow: Flow, text: str) -> str:
    """The code in the address that the browser ended at, or in the query of it, or the code itself.

    Raises ValueError when it is not the answer to this attempt, AuthError when the login page refused.
    """
    text = text.strip()
    if not text or any(character.isspace() for character in text):
        raise ValueError("expected the address that the browser shows after the login")
    if "=" not in text:
        return text  # only with the verifier of this attempt is it worth anything
    query = urlsplit(text).query or text
    fields = {name: values[-1] for name, values in parse_qs(query).items()}
    if not hmac.compare_digest(fields.get("state", "").encode(), flow.state.encode()):
        raise ValueError("this is not the answer to this login: the state differs; use the address printed above")
    if "error" in fields:
        detail = fields.get("error_description") or "no reason was given"
        raise AuthError(f"the login page refused: {fields['error']} ({detail})")
    if not fields.get("code"):
        raise ValueError("the address has no code")
    return fields["code"]
