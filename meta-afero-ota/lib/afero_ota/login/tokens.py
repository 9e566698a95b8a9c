# SPDX-License-Identifier: MIT
"""Where access tokens come from: which grant is used, when a token is renewed, and what becomes of refresh tokens.

In this order: an access token that is given; a refresh token, given or stored; the password, which is the default.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import Any, Callable

from ..answers import as_object
from ..credentials import Credentials
from ..errors import AuthError, RefusedError
from . import stored
from .settings import Login

_RENEW_AHEAD = 60.0  # seconds before its end at which a token counts as expired
_LIFETIME = 3600.0  # seconds, for a service that does not say

Ask = Callable[[str, Mapping[str, str], str], Any]  # URL, form and Authorization header -> the JSON of the answer


class Tokens:
    """The access token of one connection. No method shows a token in an error or in a message.

    token_url: for a configuration that does not name one. ask: sends a form and returns the answer, or raises OtaError.
    """

    def __init__(
        self, credentials: Credentials, login: Login, token_url: str, ask: Ask, log: Callable[[str], None]
    ) -> None:
        self._credentials, self._login, self._ask, self._log = credentials, login, ask, log
        self._url = login.token_url or token_url
        self._token, self._end, self._refresh = "", 0.0, ""

    def current(self) -> str:
        """An access token that has not expired, a new one if need be. Raises AuthError, NetworkError, ConfigError."""
        if not self._token:
            self.fetch()
        elif time.monotonic() > self._end:
            self.renew()
        return self._token

    def fetch(self) -> None:
        """Log in."""
        if self._credentials.access_token.is_set:
            self._token, self._end = self._credentials.access_token.reveal(), float("inf")
        elif self._keeps_a_token():
            self._use_stored()
        else:
            self._use_password()

    def renew(self) -> None:
        """A new access token in place of one that has expired, or that was refused."""
        if self._credentials.access_token.is_set:
            self._token = self._credentials.access_token.reveal(again=True)
            return
        if not self._keeps_a_token() and self._refresh:
            refresh, self._refresh = self._refresh, ""
            # the service's own refresh grant is not documented; if it fails, the password still works
            with contextlib.suppress(AuthError, RefusedError):
                return self._take(self._post({"grant_type": "refresh_token", "refresh_token": refresh}))
        self.fetch()

    def exchange(self, code: str, verifier: str, redirect_uri: str) -> str:
        """Trade an authorization code (RFC 7636) for tokens and store the refresh token. Returns the path of its file."""
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri}
        path, given = self._login.token_file, self._credentials.refresh_token
        with stored.locked(path, self._log):
            answer = self._post({**form, "code_verifier": verifier})
            if not answer.get("refresh_token"):
                raise AuthError(
                    f"{self._url} answered without a refresh_token, so there is nothing to keep; "
                    f'is "{self._login.scope}" the right scope?'
                )
            replaces = stored.digest(given.reveal() if given.is_set else "")
            stored.write(path, stored.Stored(str(answer["refresh_token"]), self._url, replaces))
            self._take(answer)
        return path

    # ---- the grants ------------------------------------------------------------------------------------------------

    def _keeps_a_token(self) -> bool:
        return bool(self._login.token_file) and (self._credentials.refresh_token.is_set or self._login.stored())

    def _use_password(self) -> None:
        username, password = self._credentials.username.reveal(), self._credentials.userpw.reveal()
        self._take(self._post({"grant_type": "password", "username": username, "password": password}))

    def _use_stored(self) -> None:
        path = self._login.token_file
        with self._or_password(), stored.locked(path, self._log):
            known = self._known()
            # before the token is spent, this proves that its successor can be stored
            stored.write(path, known)
            try:
                answer = self._post({"grant_type": "refresh_token", "refresh_token": known.refresh_token})
            except AuthError as error:
                if "invalid_grant" not in error.reason:
                    raise  # the client is wrong, not the token
                advice = "The refresh token has expired, was revoked, or was used elsewhere"
                raise AuthError(error.reason, f"{advice}. Log in again: scripts/afero-ota login") from None
            successor = answer.get("refresh_token") or known.refresh_token
            stored.write(path, stored.Stored(str(successor), self._url, known.replaces))
            self._take(answer)

    def _known(self) -> stored.Stored:
        """The token to use now: the stored one, unless the configuration has one that it does not descend from."""
        path, given = self._login.token_file, self._credentials.refresh_token
        seed = given.reveal() if given.is_set else ""
        kept = stored.read(path, self._log)
        if kept and kept.token_url == self._url and (not seed or kept.replaces == stored.digest(seed)):
            return kept
        if seed:
            return stored.Stored(seed, self._url, stored.digest(seed))
        raise AuthError(
            f"{path} is a login at {kept.token_url if kept else 'nowhere'}, but the configuration says {self._url}. "
            "Log in again: scripts/afero-ota login"
        )

    @contextlib.contextmanager
    def _or_password(self) -> Iterator[None]:
        """Log in by password when the refresh token is refused and there is a password."""
        try:
            yield
        except AuthError as error:
            if not (self._credentials.username.is_set and self._credentials.userpw.is_set):
                raise
            self._log(f"{error}; logging in by password")
            self._use_password()

    # ---- one request -----------------------------------------------------------------------------------------------

    def _post(self, form: Mapping[str, str]) -> Mapping[str, Any]:
        secret = self._credentials.auth_string
        # a client without a secret names itself in the form instead (RFC 6749, 3.2.1)
        basic = f"Basic {secret.reveal()}" if secret.is_set or not self._login.client_id else ""
        public = {} if basic else {"client_id": self._login.client_id}
        return as_object(self._ask(self._url, {**form, **public}, basic))

    def _take(self, answer: Mapping[str, Any]) -> None:
        token, refresh, lifetime = (answer.get(key) for key in (self._login.bearer, "refresh_token", "expires_in"))
        if not isinstance(token, str) or not token:
            raise AuthError(f"{self._url} answered without an {self._login.bearer}; is this the OTA service's address?")
        self._token, self._refresh = token, refresh if isinstance(refresh, str) else ""
        seconds = float(lifetime) if isinstance(lifetime, (int, float)) else _LIFETIME
        # a little early, but not so early that a token of a few seconds is renewed at every call
        self._end = time.monotonic() + max(seconds - _RENEW_AHEAD, seconds / 2)
