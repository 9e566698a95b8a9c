# SPDX-License-Identifier: MIT
"""How one call to the service is made: login, request bodies, how often it is tried, and what may be repeated.

The only code that speaks HTTP; answers.py interprets the answers. Facts come from Afero's developer documentation
(docs/API-OAuthEndpoints.md, CloudAPIs.md).
"""

from __future__ import annotations

import contextlib
import email.utils
import os
import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable

from . import __version__, answers
from .answers import Answer, Failure
from .errors import ConfigError, NetworkError, UnknownOutcomeError, missing_module
from .login.settings import Login
from .login.tokens import Tokens

if TYPE_CHECKING:
    import requests

    from .credentials import Credentials
    from .payload import Progress

_BLOCK = 256 * 1024  # bytes read or sent at a time


@dataclass(frozen=True)
class Patience:
    """How long to wait and how often to try; all times in seconds."""

    connect: float = 30.0
    # longest time without any data; the whole call has no limit (data sent right after connecting still counts for `connect`)
    stall: float = 60.0
    attempts: int = 6
    first_pause: float = 0.5
    longest_pause: float = 30.0
    longest_retry_after: float = 300.0

    def pause(self, attempt: int) -> float:
        """Seconds to wait after a failed attempt (1 is the first): twice as long each time, half of it random."""
        full = min(self.longest_pause, self.first_pause * 2.0 ** (attempt - 1))
        # so that many clients do not retry at the same moment
        return full * random.uniform(0.5, 1.0)


class FileBody:
    """A request body that opens the file again each time it is sent, so that a retry starts at byte 0."""

    content_type = "application/octet-stream"

    def __init__(self, path: str, size: int, progress: Progress | None = None):
        self.path, self.size, self._progress = path, size, progress

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[bytes]:
        sent = 0
        with open(self.path, "rb") as stream:
            if os.fstat(stream.fileno()).st_size != self.size:
                raise ConfigError(f"{self.path} changed while it was being uploaded; package the image again")
            while block := stream.read(_BLOCK):
                yield block
                sent += len(block)
                if self._progress:
                    self._progress(sent, self.size)


@dataclass(frozen=True)
class _Request:
    """What to send. `repeatable`: sending it twice does no harm.

    `authorization`: the header instead of the access token's, "" for none at all.
    """

    method: str
    url: str
    query: Mapping[str, Any] | None
    json: Any
    form: Mapping[str, str] | None
    file: FileBody | None
    authorization: str | None
    repeatable: bool

    def __str__(self) -> str:
        return f"{self.method} {self.url}" + (f" (a file of {self.file.size} bytes)" if self.file else "")


class Transport:
    """A logged-in connection to the service at `base_url`.

    log: gets a line about every repeated request. Raises ConfigError when the requests package is not installed.
    """

    def __init__(
        self,
        base_url: str,
        credentials: Credentials,
        patience: Patience | None = None,
        log: Callable[[str], None] | None = None,
        login: Login | None = None,
    ):
        self.base_url = base_url.rstrip("/")
        self.patience = patience or Patience()
        self.clock_skew: float | None = None  # seconds this machine is ahead of the service, from the last Date header
        self._log = log or (lambda text: None)
        token_url = f"{self.base_url}/oauth/token"
        self.tokens = Tokens(credentials, login or Login(), token_url, self._ask_for_tokens, self._log)
        self._session = _new_session()

    def _ask_for_tokens(self, url: str, form: Mapping[str, str], authorization: str) -> Any:
        # repeated like any other call: a refresh token that was spent without an answer is lost in either case
        return self.call("POST", url, form=form, authorization=authorization)

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        json: Any = None,
        form: Mapping[str, str] | None = None,
        file: FileBody | None = None,
        authorization: str | None = None,
        repeatable: bool = True,
    ) -> Any:
        """Send until there is a final answer, as often as `patience` and the kind of call allow.

        path: begins with a slash and is below `base_url`; or a whole URL.
        authorization: the header to send instead of an access token, "" for none.
        Returns the decoded JSON of the answer, {} for an empty one. Raises AuthError, RefusedError (NotFoundError),
        ConflictError, NetworkError, and UnknownOutcomeError when the call is not `repeatable` and may have been carried out.
        """
        url = self.base_url + path if path.startswith("/") else path
        request = _Request(method, url, query, json, form, file, authorization, repeatable)
        attempt, started = 1, time.monotonic()
        maybe_done = renewed = False
        while True:
            outcome = self._attempt(request)
            if isinstance(outcome, Failure):
                maybe_done = maybe_done or outcome.maybe_done
                self._wait(request, outcome, attempt, started)
                attempt, renewed = attempt + 1, False
            elif outcome.status < 300:
                return outcome.data
            elif outcome.status == 401 and request.authorization is None and not renewed:
                # nothing was done, so that the same call may follow; a second 401 in a row is final
                self._log(f"{request}: 401, renewing the access token")
                self.tokens.renew()
                renewed = True
            else:
                raise answers.refusal(str(request), outcome, maybe_done)

    # ---- one attempt -----------------------------------------------------------------------------------------------

    def _attempt(self, request: _Request) -> Answer | Failure:
        authorization = request.authorization
        if authorization is None:
            authorization = f"Bearer {self.tokens.current()}"
        try:
            response = self._session.request(
                request.method,
                request.url,
                params=request.query,
                json=request.json,
                data=request.file or request.form,
                headers={"Content-Type": request.file.content_type} if request.file else None,
                # a callable, since requests would replace a plain header with the login in ~/.netrc
                auth=_Authorization(authorization),
                timeout=(self.patience.connect, self.patience.stall),
                allow_redirects=False,
                stream=True,
            )
            with response:
                self._note_clock(response.headers.get("Date", ""))
                return answers.read(response)
        except OSError as error:  # the base of all exceptions of requests
            return answers.meaning_of(error, f"{request.method} {request.url}", self.patience.connect)

    def _wait(self, request: _Request, failure: Failure, attempt: int, started: float) -> None:
        """Pause before the next attempt. Raises UnknownOutcomeError or NetworkError when there must not be one."""
        if failure.maybe_done and not request.repeatable:
            raise UnknownOutcomeError(f"{request}: {failure.reason}; it is not known whether the service did it")
        if attempt >= self.patience.attempts or (failure.pause or 0) > self.patience.longest_retry_after:
            elapsed = time.monotonic() - started
            raise NetworkError(
                f"{request}: {failure.reason}; gave up after {attempt} attempts in {elapsed:.0f} s. "
                "Check the network and run the same command again: it continues where it stopped."
            )
        pause = self.patience.pause(attempt) if failure.pause is None else failure.pause
        self._log(f"{request}: {failure.reason}; trying again in {pause:.1f} s ({attempt} of {self.patience.attempts})")
        time.sleep(pause)

    def _note_clock(self, date: str) -> None:
        with contextlib.suppress(TypeError, ValueError):
            self.clock_skew = time.time() - email.utils.parsedate_to_datetime(date).timestamp()


class _Authorization:
    """Sets the Authorization header, if there is a value for it, and nothing else; never shows the value."""

    def __init__(self, value: str):
        self._value = value

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._value:
            request.headers["Authorization"] = self._value
        return request


def _new_session() -> requests.Session:
    # imported here, so that what needs no network works without the package
    try:
        import requests
    except ImportError:
        raise ConfigError(missing_module("requests", "python3-requests", "requests")) from None
    session = requests.Session()
    session.headers.update({"Accept": "application/json", "User-Agent": f"afero-ota/{__version__}"})
    return session
