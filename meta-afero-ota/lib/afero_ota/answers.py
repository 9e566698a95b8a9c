# SPDX-License-Identifier: MIT
"""How an answer of the service, or the exception raised instead, is understood: success, an error, or worth a retry.

Pure functions; transport.py decides how often a call is tried. Modules of the network are imported where they are used, since every
command imports this one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import AuthError, ConflictError, NetworkError, NotFoundError, OtaError, RefusedError

if TYPE_CHECKING:
    import requests

_BLOCK = 256 * 1024  # bytes read at a time
_LIMIT = 32 << 20  # bytes; more is not an answer of this API
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
_BAD_CLIENT = ("unauthorized", "invalid_client", "unauthorized_client")
_NOT_DONE = {425, 429, 503}  # refused for now: nothing was done, so that even a create may be repeated


@dataclass(frozen=True)
class Answer:
    """A final answer of the service. `data` is the decoded JSON, or the bytes of an error that is not JSON."""

    status: int
    data: Any


@dataclass(frozen=True)
class Failure:
    """An attempt without a usable answer. `pause`: seconds the service asked to wait."""

    reason: str
    maybe_done: bool
    pause: float | None = None


def read(response: requests.Response) -> Answer | Failure:
    """Read the whole body, and tell a final answer from one that a retry may improve."""
    body = bytearray()
    for block in response.iter_content(_BLOCK):
        body += block
        if len(body) > _LIMIT:
            return Failure(f"an answer of more than {_LIMIT} bytes", maybe_done=True)
    if 300 <= response.status_code < 400:
        where = response.headers.get("Location", "elsewhere")
        raise RefusedError(f"{response.url} redirects to {where}; set the service URL to the final address")
    return _classify(response.status_code, bytes(body), response.headers.get("Retry-After"))


def _classify(status: int, body: bytes, retry_after: str | None) -> Answer | Failure:
    data = _parse(body)
    if status in _TRANSIENT:
        return Failure(_describe(status, data, body), status not in _NOT_DONE, _seconds(retry_after))
    if status >= 300:
        return Answer(status, body if data is None else data)
    if status != 204 and body and data is None:
        return Failure(f"status {status} with an answer that is not JSON: {_excerpt(body)}", maybe_done=True)
    return Answer(status, {} if data is None else data)


def refusal(what: str, answer: Answer, maybe_done: bool) -> OtaError:
    """The error for an answer that a retry cannot improve. maybe_done: an earlier attempt may have been carried out."""
    status, data = answer.status, answer.data
    text = f"{what}: {_describe(status, data, data if isinstance(data, bytes) else b'')}"
    code = as_object(data).get("error")
    if code == "invalid_grant" and status in (400, 401):
        advice = (
            "Check username, userpw and auth-string. If a one-time code is sent to you by e-mail when you log in, "
            "a password is not enough: run scripts/afero-ota login (docs/login.md)."
        )
        return AuthError(text, advice)
    if status == 401 or (status == 400 and code in _BAD_CLIENT):
        return AuthError(text, "Check username, userpw and auth-string, or clientId, or the token.")
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
    """The text of an error answer in any of the forms seen: Afero's envelope, a trace, a proxy's HTML, nothing."""
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
    """A JSON object unchanged, {} for anything else."""
    return data if isinstance(data, dict) else {}


def as_objects(data: Any) -> list[dict[str, Any]]:
    """The objects of a JSON array, [] for anything else."""
    return [item for item in data if isinstance(item, dict)] if isinstance(data, list) else []


# ---- what an exception means -----------------------------------------------------------------------------------------


def meaning_of(error: OSError, what: str, connect: float) -> Failure:
    """The failure that an exception of requests stands for. Raises NetworkError or OtaError when no retry can help.

    what: the call, for messages. connect: the connection timeout in seconds.
    """
    from requests import exceptions

    if _not_trusted(error) or (isinstance(error, exceptions.ProxyError) and not _broke_off(error)):
        raise NetworkError(f"{what}: {_reason(error)}. Check the CA certificates, the proxy and the clock.") from None
    if isinstance(error, exceptions.ConnectTimeout):
        return Failure(f"no connection within {connect:.0f} s", maybe_done=False)
    broken = (
        exceptions.ConnectionError,
        exceptions.Timeout,
        exceptions.ChunkedEncodingError,
        exceptions.ContentDecodingError,
    )
    if not isinstance(error, broken):
        raise OtaError(f"{what}: {_reason(error)}") from None
    if _never_sent(error):
        return Failure(_reason(error), maybe_done=False)
    return Failure("the connection stalled" if _stalled(error) else _reason(error), maybe_done=True)


def _not_trusted(error: BaseException) -> bool:
    import ssl

    return any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(error))


def _broke_off(error: BaseException) -> bool:
    # urllib3 1.26 blames the proxy for every connection that breaks behind one, also after the request was sent
    kinds = (ConnectionResetError, ConnectionAbortedError, BrokenPipeError)
    return any(isinstance(cause, kinds) for cause in _causes(error))


def _never_sent(error: BaseException) -> bool:
    from urllib3.exceptions import NewConnectionError  # also when a name is not resolved

    return any(isinstance(cause, (NewConnectionError, ConnectionRefusedError)) for cause in _causes(error))


def _stalled(error: BaseException) -> bool:
    import socket

    from urllib3.exceptions import ReadTimeoutError

    # socket.timeout is TimeoutError since Python 3.10
    kinds = (TimeoutError, socket.timeout, ReadTimeoutError)
    return any(isinstance(cause, kinds) for cause in _causes(error))


def _reason(error: BaseException) -> str:
    """The innermost system error in words, without the object addresses that requests' messages hold."""
    import http.client

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
    """The exceptions wrapped in one of requests': in its arguments, as `reason`, or as its cause."""
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
