# SPDX-License-Identifier: MIT
"""How one call to the service is made: login, retries, what may be repeated, request bodies, and which answer is which error.

The only code that speaks HTTP. `Transport.call` is the loop; the functions below it say what an answer or an exception means.
Facts come from Afero's developer documentation (docs/API-OAuthEndpoints.md, CloudAPIs.md).
"""

from __future__ import annotations

import contextlib
import email.utils
import http.client
import json
import os
import random
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable

from . import __version__
from .errors import (
    AuthError,
    ConfigError,
    ConflictError,
    NetworkError,
    NotFoundError,
    OtaError,
    RefusedError,
    UnknownOutcomeError,
    missing_module,
)

if TYPE_CHECKING:
    import requests

    from .credentials import Credentials
    from .payload import Progress

_BLOCK = 256 * 1024  # bytes read or sent at a time
_ANSWER_LIMIT = 32 << 20  # bytes; more is not an answer of this API
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
_NOT_DONE = {425, 429, 503}  # refused for now: nothing was done, so that even a create may be repeated
_RENEW_AHEAD = 60.0  # seconds before its end at which a token counts as expired


@dataclass(frozen=True)
class Patience:
    """How long to wait and how often to try; all times in seconds."""

    connect: float = 30.0
    # how long nothing may move; the whole call has no limit (data sent right after connecting is still under `connect`)
    stall: float = 60.0
    attempts: int = 6
    first_pause: float = 0.5
    longest_pause: float = 30.0
    longest_retry_after: float = 300.0

    def pause(self, attempt: int) -> float:
        """Seconds to wait after a failed attempt (1 is the first): twice as long each time, half of it random."""
        full = min(self.longest_pause, self.first_pause * 2.0 ** (attempt - 1))
        # so that many clients do not come back together
        return full * random.uniform(0.5, 1.0)


class FileBody:
    """A request body that opens the file anew each time it is sent, so that a repetition starts at byte 0."""

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
    """What to send. `repeatable`: sending it twice does no harm. `authorization`: instead of the access token."""

    method: str
    url: str
    query: Mapping[str, Any] | None
    json: Any
    form: Mapping[str, str] | None
    file: FileBody | None
    authorization: str
    repeatable: bool

    def __str__(self) -> str:
        return f"{self.method} {self.url}" + (f" (a file of {self.file.size} bytes)" if self.file else "")


@dataclass(frozen=True)
class _Answer:
    """What the service said for good. `data` is the decoded JSON, or the bytes of an error that is not JSON."""

    status: int
    data: Any


@dataclass(frozen=True)
class _Failure:
    """An attempt without a usable answer. `pause`: seconds the service asked to wait."""

    reason: str
    maybe_done: bool
    pause: float | None = None


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
    ):
        self.base_url = base_url.rstrip("/")
        self.patience = patience or Patience()
        self.clock_skew: float | None = None  # seconds this machine is ahead of the service, from the last Date header
        self._credentials, self._log = credentials, log or (lambda text: None)
        self._token, self._refresh_token, self._token_end = "", "", 0.0
        self._session = _new_session()

    def login(self) -> None:
        """Get an access token (POST /oauth/token, password grant). Raises AuthError when the account is not accepted."""
        password = {"username": self._credentials.username.reveal(), "password": self._credentials.userpw.reveal()}
        self._request_token({"grant_type": "password", **password})

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        json: Any = None,
        form: Mapping[str, str] | None = None,
        file: FileBody | None = None,
        authorization: str = "",
        repeatable: bool = True,
    ) -> Any:
        """Send until it is answered for good, as often as `patience` and the kind of call allow.

        Returns the decoded JSON of the answer, {} for an empty one. Raises AuthError, RefusedError (NotFoundError),
        ConflictError, NetworkError, and UnknownOutcomeError when the call is not `repeatable` and may have been carried out.
        """
        request = _Request(method, self.base_url + path, query, json, form, file, authorization, repeatable)
        attempt, started = 1, time.monotonic()
        maybe_done = renewed = False
        while True:
            outcome = self._attempt(request)
            if isinstance(outcome, _Failure):
                maybe_done = maybe_done or outcome.maybe_done
                self._wait(request, outcome, attempt, started)
                attempt, renewed = attempt + 1, False
            elif outcome.status < 300:
                return outcome.data
            elif outcome.status == 401 and not request.authorization and not renewed:
                # nothing was done, so that the same call may follow; a second 401 in a row is final
                self._log(f"{request}: 401, renewing the access token")
                self._renew()
                renewed = True
            else:
                raise _refusal(str(request), outcome, maybe_done)

    # ---- the access token ------------------------------------------------------------------------------------------

    def _bearer(self) -> str:
        if not self._token:
            self.login()
        elif time.monotonic() > self._token_end:
            self._renew()
        return f"Bearer {self._token}"

    def _renew(self) -> None:
        if self._refresh_token:
            refresh, self._refresh_token = self._refresh_token, ""
            # the refresh grant is not documented: whatever goes wrong, the password still works
            with contextlib.suppress(AuthError, RefusedError):
                return self._request_token({"grant_type": "refresh_token", "refresh_token": refresh})
        self.login()

    def _request_token(self, form: dict[str, str]) -> None:
        basic = "Basic " + self._credentials.auth_string.reveal()
        answer = as_object(self.call("POST", "/oauth/token", form=form, authorization=basic))
        token, refresh, lifetime = (answer.get(key) for key in ("access_token", "refresh_token", "expires_in"))
        if not isinstance(token, str) or not token:
            raise AuthError(
                f"{self.base_url}/oauth/token answered without an access_token; is this the OTA service's address?"
            )
        self._token, self._refresh_token = token, refresh if isinstance(refresh, str) else ""
        seconds = float(lifetime) if isinstance(lifetime, (int, float)) else 3600.0
        # a little early, but not so early that a token of a few seconds is renewed at every call
        self._token_end = time.monotonic() + max(seconds - _RENEW_AHEAD, seconds / 2)

    # ---- one attempt -----------------------------------------------------------------------------------------------

    def _attempt(self, request: _Request) -> _Answer | _Failure:
        import requests

        authorization = request.authorization or self._bearer()
        try:
            response = self._session.request(
                request.method,
                request.url,
                params=request.query,
                json=request.json,
                data=request.file or request.form,
                headers={"Content-Type": request.file.content_type} if request.file else None,
                # a callable, since requests would replace a plain header by what ~/.netrc says
                auth=_Authorization(authorization),
                timeout=(self.patience.connect, self.patience.stall),
                allow_redirects=False,
                stream=True,
            )
            with response:
                self._note_clock(response.headers.get("Date", ""))
                return _read(response)
        except requests.RequestException as error:
            return _meaning_of(error, request, self.patience)

    def _wait(self, request: _Request, failure: _Failure, attempt: int, started: float) -> None:
        """Pause before the next attempt, or raise when there must not be one."""
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
    """Sets the Authorization header and nothing else; never shows its value."""

    def __init__(self, value: str):
        self._value = value

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = self._value
        return request


def _new_session() -> requests.Session:
    # imported late: what needs no network works without the package
    try:
        import requests
    except ImportError:
        raise ConfigError(missing_module("requests", "python3-requests", "requests")) from None
    session = requests.Session()
    session.headers.update({"Accept": "application/json", "User-Agent": f"afero-ota/{__version__}"})
    return session


# ---- what an answer means --------------------------------------------------------------------------------------------


def _read(response: requests.Response) -> _Answer | _Failure:
    """Read the whole body and tell an answer for good from one that a repetition may better."""
    body = bytearray()
    for block in response.iter_content(_BLOCK):
        body += block
        if len(body) > _ANSWER_LIMIT:
            return _Failure(f"an answer of more than {_ANSWER_LIMIT} bytes", maybe_done=True)
    if 300 <= response.status_code < 400:
        where = response.headers.get("Location", "elsewhere")
        raise RefusedError(f"{response.url} redirects to {where}; set the service URL to the final address")
    return _classify(response.status_code, bytes(body), response.headers.get("Retry-After"))


def _classify(status: int, body: bytes, retry_after: str | None) -> _Answer | _Failure:
    data = _parse(body)
    if status in _TRANSIENT:
        return _Failure(_describe(status, data, body), status not in _NOT_DONE, _seconds(retry_after))
    if status >= 300:
        return _Answer(status, body if data is None else data)
    if status != 204 and body and data is None:
        return _Failure(f"status {status} with an answer that is not JSON: {_excerpt(body)}", maybe_done=True)
    return _Answer(status, {} if data is None else data)


def _refusal(what: str, answer: _Answer, maybe_done: bool) -> OtaError:
    """The error for an answer that a repetition cannot better. maybe_done: an earlier attempt may have been carried out."""
    status, data = answer.status, answer.data
    text = f"{what}: {_describe(status, data, data if isinstance(data, bytes) else b'')}"
    code = as_object(data).get("error")
    if status == 401 or (status == 400 and code in ("invalid_grant", "unauthorized")):
        return AuthError(f"{text}. Check username, userpw and auth-string.")
    if status == 403:
        return AuthError(
            f"{text}. The account lacks a privilege for this: partner privilege manageDeviceProfiles, "
            "or write access to the account."
        )
    if status == 404:
        return NotFoundError(f"{text}. Check partnerId, deviceTypeId and the ids in the command.")
    if status == 409 or code == "alreadyExists":
        return ConflictError(text)
    hint = " An earlier attempt had no answer and may have been carried out." if maybe_done else ""
    return RefusedError(f"{text}.{hint}")


def _describe(status: int, data: Any, body: bytes) -> str:
    """What an error answer says, in any of the shapes seen: Afero's envelope, a trace, HTML of a proxy, nothing."""
    said = as_object(data)
    parts = [str(said[key]) for key in ("error", "error_description", "message") if said.get(key)]
    for fault in as_objects(said.get("fieldErrors")):
        parts.append(f"{fault.get('field')}: {fault.get('error_description') or fault.get('error')}")
    if not parts and said.get("trace"):
        parts.append(str(said["trace"]).splitlines()[0])
    text = ", ".join(dict.fromkeys(parts)) or _excerpt(body)
    return f"status {status}" + (f" ({text})" if text else "")


def _excerpt(body: bytes) -> str:
    return " ".join(body[:400].decode("utf-8", "replace").split())[:160]


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body) if body else None
    except (ValueError, RecursionError):
        return None


def _seconds(retry_after: str | None) -> float | None:
    """Seconds to wait, from a Retry-After header (a number or an HTTP date); None when it is absent or unusable."""
    from urllib3.exceptions import InvalidHeader
    from urllib3.util.retry import Retry

    if retry_after is None:
        return None
    try:
        return Retry().parse_retry_after(retry_after)
    except (InvalidHeader, ValueError, OverflowError):
        return None


def as_object(data: Any) -> dict[str, Any]:
    """A JSON object as it is, {} for anything else."""
    return data if isinstance(data, dict) else {}


def as_objects(data: Any) -> list[dict[str, Any]]:
    """The objects of a JSON array, [] for anything else."""
    return [item for item in data if isinstance(item, dict)] if isinstance(data, list) else []


# ---- what an exception means -----------------------------------------------------------------------------------------


def _meaning_of(error: requests.RequestException, request: _Request, patience: Patience) -> _Failure:
    """The failure that an exception of requests stands for. Raises an error of ours when no repetition can help."""
    from requests import exceptions

    if isinstance(error, (exceptions.SSLError, exceptions.ProxyError)):
        raise NetworkError(
            f"{request.method} {request.url}: {_reason(error)}. Check the CA certificates, the proxy and the clock."
        ) from None
    if isinstance(error, exceptions.ConnectTimeout):
        return _Failure(f"no connection within {patience.connect:.0f} s", maybe_done=False)
    broken = (
        exceptions.Timeout,
        exceptions.ConnectionError,
        exceptions.ChunkedEncodingError,
        exceptions.ContentDecodingError,
    )
    if isinstance(error, broken):
        if _never_sent(error):
            return _Failure(_reason(error), maybe_done=False)
        return _Failure("the connection stalled" if _stalled(error) else _reason(error), maybe_done=True)
    raise OtaError(f"{request.method} {request.url}: {_reason(error)}") from None


def _never_sent(error: BaseException) -> bool:
    from urllib3.exceptions import NewConnectionError  # also when a name is not resolved

    return any(isinstance(cause, (NewConnectionError, ConnectionRefusedError)) for cause in _causes(error))


def _stalled(error: BaseException) -> bool:
    from urllib3.exceptions import ReadTimeoutError

    # socket.timeout is TimeoutError since Python 3.10
    kinds = (TimeoutError, socket.timeout, ReadTimeoutError)
    return any(isinstance(cause, kinds) for cause in _causes(error))


def _reason(error: BaseException) -> str:
    """The innermost system error in words, without the object addresses that requests' messages hold."""
    causes = list(_causes(error))
    for cause in reversed(causes):
        if isinstance(cause, OSError) and cause.strerror:
            return str(cause.strerror)
    for cause in causes:
        if isinstance(cause, http.client.IncompleteRead):
            return "the answer was cut"
        if isinstance(cause, http.client.RemoteDisconnected):
            return "the connection was closed without an answer"
    return f"{type(error).__name__}: {error}"[:300]


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exceptions folded into one of requests', which keeps them in its arguments, as `reason`, or as its cause."""
    queue: list[Any] = [error]
    for _ in range(12):
        if not queue:
            return
        current = queue.pop(0)
        yield current
        inner = (
            *getattr(current, "args", ()),
            getattr(current, "reason", None),
            current.__cause__,
            current.__context__,
        )
        queue += [cause for cause in inner if isinstance(cause, BaseException)]
