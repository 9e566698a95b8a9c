# SPDX-License-Identifier: MIT
"""OtaService: one method per endpoint of the Afero cloud that this project uses. The only code that speaks HTTP.

Facts come from Afero's developer documentation (docs/API-OTAEndpoints.md, API-OAuthEndpoints.md, API-DeviceEndpoints.md,
API-UserEndpoints.md, CloudAPIs.md). Ids and version numbers are strings of digits, as the service writes them.
"""

from __future__ import annotations

import base64
import contextlib
import email.utils
import os
import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable
from urllib.parse import quote

from . import __version__
from .config import Credentials, missing_module
from .errors import (
    AuthError,
    ConfigError,
    ConflictError,
    NetworkError,
    NotFoundError,
    OtaError,
    RefusedError,
    UnknownOutcomeError,
)
from .record import HUB_IMAGE, OtaRecord

if TYPE_CHECKING:
    import requests

    from .payload import Progress

RUNNING_VERSION_ATTRIBUTE = 2000 + HUB_IMAGE  # docs/AttrRegistry.md
PAGE_SIZE = 50  # the documented default
_BLOCK = 256 * 1024
_ANSWER_LIMIT = 32 << 20  # bytes; more is not an answer of this API
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504}
_NOT_DONE = {425, 429, 503}  # refused for now: nothing was done, so that even a create may be repeated
_RENEW_AHEAD = 60.0  # seconds before its end a token counts as expired
_BINARIES, _MOVE = "/binaries", "/binaries/moveToRepository"


@dataclass(frozen=True)
class Patience:
    """How long to wait and how often to try; all times in seconds."""

    connect: float = 30.0
    stall: float = (
        60.0  # without a byte moving; there is no limit on the whole (a new connection sends under `connect`)
    )
    attempts: int = 6
    first_pause: float = 0.5
    longest_pause: float = 30.0
    longest_retry_after: float = 300.0


@dataclass
class _Answer:
    status: int
    data: Any
    repeated: bool  # whether an earlier attempt of the same call had an unknown end


@dataclass
class _Failure:
    """Why one attempt did not succeed, and what that allows."""

    reason: str
    maybe_done: bool
    pause: float | None = None
    status: int = 0


class OtaService:
    """A logged-in view of one partner's (and one device type's) OTA records and images.

    Every method raises AuthError, RefusedError (NotFoundError), ConflictError or NetworkError; those that must not be
    repeated blindly (create_record, push) raise UnknownOutcomeError when no usable answer came back.
    """

    def __init__(
        self,
        base_url: str,
        credentials: Credentials,
        partner_id: str = "",
        device_type_id: str = "",
        patience: Patience | None = None,
        log: Callable[[str], None] | None = None,
    ):
        self.base_url = base_url.rstrip("/")
        self.partner_id, self.device_type_id = partner_id, device_type_id
        self.patience = patience or Patience()
        self._credentials, self._log = credentials, log or (lambda text: None)
        self._token, self._refresh_token, self._token_end = "", "", 0.0
        self._requests = _import_requests()
        self._session: requests.Session = self._requests.Session()
        self._session.headers.update({"Accept": "application/json", "User-Agent": f"afero-ota/{__version__}"})
        self.clock_skew: float | None = None  # seconds this machine is ahead of the service, from the last Date header

    # ---- log in ----------------------------------------------------------------------------------------------------

    def login(self) -> None:
        """Get an access token (POST /oauth/token, password grant). Raises AuthError when the account is not accepted."""
        password = {"username": self._credentials.username.reveal(), "password": self._credentials.userpw.reveal()}
        self._token_request({"grant_type": "password", **password})

    def _renew(self) -> None:
        if self._refresh_token:
            refresh, self._refresh_token = self._refresh_token, ""
            # the refresh grant is not documented: whatever goes wrong, the password still works
            with contextlib.suppress(AuthError, RefusedError):
                return self._token_request({"grant_type": "refresh_token", "refresh_token": refresh})
        self.login()

    def _token_request(self, form: dict[str, str]) -> None:
        basic = "Basic " + self._credentials.auth_string.reveal()
        answer = self._call("POST", "/oauth/token", form=form, authorization=basic)
        token = answer.data.get("access_token") if isinstance(answer.data, dict) else None
        if not isinstance(token, str) or not token:
            raise AuthError(
                f"{self.base_url}/oauth/token answered without an access_token; is this the OTA service's address?"
            )
        lifetime = answer.data.get("expires_in")
        refresh = answer.data.get("refresh_token")
        self._token, self._refresh_token = token, refresh if isinstance(refresh, str) else ""
        seconds = float(lifetime) if isinstance(lifetime, (int, float)) else 3600.0
        # a little early, but not so early that a token of a few seconds is renewed at every call
        self._token_end = time.monotonic() + max(seconds - _RENEW_AHEAD, seconds / 2)

    def _bearer(self) -> str:
        if not self._token:
            self.login()
        elif time.monotonic() > self._token_end:
            self._renew()
        return f"Bearer {self._token}"

    # ---- firmware types --------------------------------------------------------------------------------------------

    def types(self) -> list[dict[str, Any]]:
        """All firmware types (GET types)."""
        return _objects(self._get(self._partner("/types")))

    def type(self, number: int) -> list[dict[str, Any]]:
        """One firmware type; the service answers with a list (GET types/{type})."""
        return _objects(self._get(self._partner(f"/types/{number}")))

    def create_type(self, number: int, name: str, description: str = "") -> dict[str, Any]:
        """Create a firmware type (POST types)."""
        body = {"name": name, "type": number, **_if_set(description=description)}
        return _object(self._call("POST", self._partner("/types"), json=body, repeatable=False).data)

    def update_type(self, number: int, name: str, description: str = "") -> None:
        """Rename a firmware type (PUT types/{type})."""
        self._call("PUT", self._partner(f"/types/{number}"), json={"name": name, **_if_set(description=description)})

    # ---- the pool --------------------------------------------------------------------------------------------------

    def records(self, firmware_type: int | None = HUB_IMAGE, tags: str = "", sort: str = "") -> Iterator[OtaRecord]:
        """Every record of the pool, of one type or (None) of all (GET pool, pool/types/{type}); pages as it goes."""
        path = "/pool" if firmware_type is None else f"/pool/types/{firmware_type}"
        return map(OtaRecord, self._pages(self._partner(path), _if_set(tags=tags, sort=sort)))

    def find_record(self, name: str, version: str) -> OtaRecord | None:
        """The hub image record of exactly this name and version, or None. There is no lookup by name: pages through."""
        found = [record for record in self.records() if record.matches(name, version)]
        # a service that let two in: the older one is the one devices may already have
        return min(found, key=lambda record: int(record.version_number or 0), default=None)

    def find_version(self, version_number: str) -> OtaRecord | None:
        """The hub image record with this versionNumber, or None."""
        return next((record for record in self.records() if record.version_number == version_number), None)

    def record_exists(self, name: str, version: str, exclude_id: str = "") -> bool:
        """Whether a hub image of this name and version is in the pool (GET …/exists)."""
        path = f"/pool/types/{HUB_IMAGE}/names/{_segment(name)}/versions/{_segment(version)}/exists"
        data = _object(self._get(self._partner(path), _if_set(excludeFirmwareImageId=exclude_id)))
        return data.get("value") is True

    def create_record(self, body: Mapping[str, Any]) -> OtaRecord:
        """Create a record (POST pool). Not safe to repeat: after UnknownOutcomeError or ConflictError look for it."""
        return OtaRecord(_object(self._call("POST", self._partner("/pool"), json=body, repeatable=False).data))

    def update_record(self, record: OtaRecord, url: str, tags: list[str]) -> None:
        """Set a record's url and tags (PUT pool/types/…/versionNumbers/…); sends the five documented fields only."""
        body = {"name": record.name, "version": record.version, "url": url, "tags": tags}
        description = record.fields.get("description")
        if isinstance(description, str):
            body["description"] = description
        self._call(
            "PUT", self._partner(f"/pool/types/{HUB_IMAGE}/versionNumbers/{_segment(record.version_number)}"), json=body
        )

    def associations(self, version_number: str) -> list[dict[str, Any]]:
        """The device types a version is associated with (GET …/associations)."""
        path = f"/pool/types/{HUB_IMAGE}/versionNumbers/{_segment(version_number)}/associations"
        return _objects(self._get(self._partner(path)))

    def tags(self) -> list[str]:
        """All tags in use (GET tags)."""
        data = self._get(self._partner("/tags"))
        return [str(tag) for tag in data] if isinstance(data, list) else []

    # ---- binaries --------------------------------------------------------------------------------------------------

    def upload_binary(self, path: str, size: int, progress: Progress | None = None, form: bool = False) -> str:
        """Send the file (POST binaries), raw or as a form, from byte 0 on every attempt; memory stays flat.

        path, size: the file and its length in bytes, which is checked while sending.
        Returns the identifier that the service computed; documented to be the SHA-256 of the file.
        """
        body = _FormBody(path, size, progress) if form else _FileBody(path, size, progress)
        data = _object(self._call("POST", self._partner(_BINARIES), stream=body).data)
        return str(data.get("value") or "")

    def move_to_repository(self, identifier: str) -> str:
        """Move an uploaded file to the repository (POST binaries/moveToRepository); returns its URL."""
        data = _object(self._call("POST", self._partner(_MOVE), json={"value": identifier}).data)
        return str(data.get("value") or "")

    # ---- images of a device type -----------------------------------------------------------------------------------

    def associate(self, record: OtaRecord) -> dict[str, Any]:
        """Offer a pool record, exactly as read from the pool, to the device type (POST firmwareImages).

        Returns the association, whose own `id` is what push needs. Raises ConflictError when it is there already.
        """
        return _object(self._call("POST", self._device_type("/firmwareImages"), json=dict(record.fields)).data)

    def images(self, firmware_type: int | None = HUB_IMAGE, tags: str = "", sort: str = "") -> Iterator[dict[str, Any]]:
        """The images associated with the device type, of one type or (None) of all."""
        path = "/firmwareImages" + ("" if firmware_type is None else f"/types/{firmware_type}")
        return self._pages(self._device_type(path), _if_set(tags=tags, sort=sort))

    def image(self, version_number: str) -> dict[str, Any] | None:
        """The association of one version, or None when it is not associated (the service answers 404)."""
        try:
            return _object(
                self._get(
                    self._device_type(f"/firmwareImages/types/{HUB_IMAGE}/versionNumbers/{_segment(version_number)}")
                )
            )
        except NotFoundError:
            return None

    def dissociate(self, version_number: str) -> None:
        """Take a version away from the device type (DELETE); gone already is done."""
        path = f"/firmwareImages/types/{HUB_IMAGE}/versionNumbers/{_segment(version_number)}"
        with contextlib.suppress(NotFoundError):
            self._call("DELETE", self._device_type(path))

    def push(self, image_id: str, device_id: str) -> None:
        """Queue an association (by its own id) for one device (PUT …/push). Not safe to repeat: may download twice."""
        path = self._device_type(f"/firmwareImages/{_segment(image_id)}/push")
        self._call("PUT", path, json={"value": device_id}, repeatable=False)

    # ---- account and devices ---------------------------------------------------------------------------------------

    def me(self) -> dict[str, Any]:
        """Who is logged in (GET /v1/users/me), without the client secret that the answer holds."""
        data = _object(self._get("/v1/users/me"))
        for access in _objects(data.get("partnerAccess")):
            partner = access.get("partner")
            if isinstance(partner, dict):
                partner.pop("clientSecret", None)
        return data

    def devices(self, account_id: str) -> list[dict[str, Any]]:
        """The devices of an account with their state (GET accounts/{id}/devices)."""
        query = {"expansions": "state,attributes"}
        return _objects(self._get(f"/v1/accounts/{_segment(account_id)}/devices", query))

    def device(self, account_id: str, device_id: str) -> dict[str, Any]:
        """One device with its attributes (GET accounts/{id}/devices/{device})."""
        path = f"/v1/accounts/{_segment(account_id)}/devices/{_segment(device_id)}"
        return _object(self._get(path, {"expansions": "attributes"}))

    # ---- one call --------------------------------------------------------------------------------------------------

    def _partner(self, path: str) -> str:
        if not self.partner_id:
            raise ConfigError("no partner id: set partnerId in the configuration file")
        return f"/v1/ota/partners/{_segment(self.partner_id)}{path}"

    def _device_type(self, path: str) -> str:
        if not self.device_type_id:
            raise ConfigError("no device type id: set deviceTypeId in the configuration file")
        return self._partner(f"/deviceTypes/{_segment(self.device_type_id)}{path}")

    def _get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        return self._call("GET", path, query=query).data

    def _pages(self, path: str, query: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        number, pages, seen = 0, 1, set()
        while number < pages:
            page = _object(self._get(path, {**query, "page": number, "size": PAGE_SIZE}))
            content, total = page.get("content"), page.get("totalPages")
            if not isinstance(content, list):
                raise NetworkError(
                    f"{self.base_url}{path} answered page {number} without `content`; expected a page of records"
                )
            for item in _objects(content):
                # something new may have moved an item from one page to the next between two calls
                key = item.get("id") or item.get("versionNumber")
                if key is None or key not in seen:
                    seen.add(key)
                    yield item
            # without a page count, a full page means that there may be another
            pages = total if isinstance(total, int) else number + 1 + (len(content) >= PAGE_SIZE)
            number += 1

    def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        json: Any = None,
        form: Mapping[str, str] | None = None,
        stream: _FileBody | None = None,
        authorization: str = "",
        repeatable: bool = True,
    ) -> _Answer:
        """Send until it is answered for good, as often as `patience` and the kind of call allow."""
        what = f"{method} {self.base_url}{path}" + (f" (a file of {stream.size} bytes)" if stream else "")
        maybe_done, renewed, started = False, False, time.monotonic()
        attempt = 0
        while True:
            attempt += 1
            outcome = self._attempt(method, path, query, json, form, stream, authorization or self._bearer())
            if isinstance(outcome, _Answer) and outcome.status == 401 and not authorization and not renewed:
                # 401 means that nothing was done, so the same call may follow; once, then it is final
                renewed = True
                self._log(f"{what}: 401, renewing the access token")
                self._renew()
                attempt -= 1
                continue
            if isinstance(outcome, _Answer) and outcome.status < 300:
                outcome.repeated = maybe_done
                return outcome
            if isinstance(outcome, _Answer):
                raise _refusal(what, outcome, maybe_done)
            renewed = False
            maybe_done = maybe_done or outcome.maybe_done
            if outcome.maybe_done and not repeatable:
                raise UnknownOutcomeError(f"{what}: {outcome.reason}; it is not known whether the service did it")
            if attempt >= self.patience.attempts or (outcome.pause or 0) > self.patience.longest_retry_after:
                elapsed = time.monotonic() - started
                raise NetworkError(
                    f"{what}: {outcome.reason}; gave up after {attempt} attempts in {elapsed:.0f} s. "
                    "Check the network and run the same command again: it continues where it stopped."
                )
            pause = self._pause(attempt) if outcome.pause is None else outcome.pause
            self._log(
                f"{what}: {outcome.reason}; trying again in {pause:.1f} s ({attempt} of {self.patience.attempts})"
            )
            time.sleep(pause)

    def _pause(self, attempt: int) -> float:
        # half fixed, half random, so that many runners do not come back together
        full = min(self.patience.longest_pause, self.patience.first_pause * 2.0 ** (attempt - 1))
        return full * random.uniform(0.5, 1.0)

    def _attempt(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None,
        json: Any,
        form: Mapping[str, str] | None,
        stream: _FileBody | None,
        authorization: str,
    ) -> _Answer | _Failure:
        errors = self._requests.exceptions
        try:
            response = self._session.request(
                method,
                self.base_url + path,
                params=query,
                json=json,
                data=stream or form,
                headers={"Content-Type": stream.content_type} if stream else None,
                # a callable, since requests would replace a plain header by what ~/.netrc says
                auth=_Authorization(authorization),
                timeout=(self.patience.connect, self.patience.stall),
                allow_redirects=False,
                stream=True,
            )
            with response:
                return self._answer(response)
        except (errors.SSLError, errors.ProxyError) as error:
            reason = _reason(error)
            raise NetworkError(
                f"{method} {self.base_url}{path}: {reason}. Check the CA certificates, the proxy and the clock."
            ) from None
        except errors.ConnectTimeout:
            return _Failure(f"no connection within {self.patience.connect:.0f} s", maybe_done=False)
        except (
            errors.Timeout,
            errors.ConnectionError,
            errors.ChunkedEncodingError,
            errors.ContentDecodingError,
        ) as error:
            if _stalled(error):
                return _Failure("the connection stalled", maybe_done=True)
            return _Failure(_reason(error), maybe_done=not _never_sent(error))
        except errors.RequestException as error:
            raise OtaError(f"{method} {self.base_url}{path}: {_reason(error)}") from None

    def _answer(self, response: requests.Response) -> _Answer | _Failure:
        status = response.status_code
        self._note_clock(response.headers.get("Date", ""))
        body = bytearray()
        for block in response.iter_content(_BLOCK):
            body += block
            if len(body) > _ANSWER_LIMIT:
                return _Failure(f"an answer of more than {_ANSWER_LIMIT} bytes", maybe_done=True, status=status)
        if 300 <= status < 400:
            where = response.headers.get("Location", "elsewhere")
            raise RefusedError(f"{response.url} redirects to {where}; set the service URL to the final address")
        data = _parse(bytes(body))
        if status in _TRANSIENT:
            pause = _retry_after(response.headers.get("Retry-After", ""))
            return _Failure(_describe(status, data, body), status not in _NOT_DONE, pause, status)
        if status < 300 and status != 204 and body and data is None:
            return _Failure(
                f"status {status} with an answer that is not JSON: {_excerpt(body)}", maybe_done=True, status=status
            )
        return _Answer(status, data if data is not None else ({} if status < 300 else bytes(body)), False)

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


class _FileBody:
    """A request body that opens the file anew each time it is sent, so that a repeat starts at byte 0."""

    content_type = "application/octet-stream"

    def __init__(self, path: str, size: int, progress: Progress | None):
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


class _FormBody(_FileBody):
    """The same as multipart/form-data, with the part name that Afero's first tool used."""

    def __init__(self, path: str, size: int, progress: Progress | None):
        super().__init__(path, size, progress)
        boundary = base64.b16encode(os.urandom(16)).decode()
        name = quote(os.path.basename(path), safe=" ()+,-.=@_~")
        self.content_type = f"multipart/form-data; boundary={boundary}"
        self._head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()
        self._tail = f"\r\n--{boundary}--\r\n".encode()

    def __len__(self) -> int:
        return len(self._head) + self.size + len(self._tail)

    def __iter__(self) -> Iterator[bytes]:
        yield self._head
        yield from super().__iter__()
        yield self._tail


def running_version(device: Mapping[str, Any]) -> int | None:
    """The versionNumber a device reports: attribute 2005, hexadecimal little-endian signed 64 bit (docs/AttrRegistry.md).

    None when the attribute is absent or not of that form.
    """
    for attribute in _objects(device.get("attributes")):
        if str(attribute.get("id")) == str(RUNNING_VERSION_ATTRIBUTE):
            with contextlib.suppress(ValueError, TypeError):
                return int.from_bytes(bytes.fromhex(attribute["data"]), "little", signed=True)
    return None


def account_ids(me: Mapping[str, Any]) -> list[str]:
    """The ids of the accounts a user may write to, from users/me; those with fewer rights last."""
    accounts = [access for access in _objects(me.get("accountAccess")) if isinstance(access.get("account"), dict)]

    def rank(access: Mapping[str, Any]) -> bool:
        rights = access.get("privileges")
        return not (isinstance(rights, dict) and (rights.get("owner") or rights.get("canWrite")))

    ids = (access["account"].get("accountId") for access in sorted(accounts, key=rank))
    return [str(account_id) for account_id in ids if account_id]


def _import_requests() -> Any:
    try:
        import requests
    except ImportError:
        raise ConfigError(missing_module("requests", "python3-requests", "requests")) from None
    return requests


def _segment(text: str) -> str:
    # quote() leaves dots, and a segment of one or two dots would be taken out of the path on the way
    escaped = quote(text, safe="")
    return escaped.replace(".", "%2E") if escaped in (".", "..") else escaped


def _if_set(**fields: str) -> dict[str, str]:
    return {key: value for key, value in fields.items() if value}


def _object(data: Any) -> dict[str, Any]:
    return data if isinstance(data, dict) else {}


def _objects(data: Any) -> list[dict[str, Any]]:
    return [item for item in data if isinstance(item, dict)] if isinstance(data, list) else []


def _parse(body: bytes) -> Any:
    import json

    try:
        return json.loads(body) if body else None
    except (ValueError, RecursionError):
        return None


def _excerpt(body: bytes | bytearray) -> str:
    return " ".join(bytes(body[:400]).decode("utf-8", "replace").split())[:160]


def _describe(status: int, data: Any, body: bytes | bytearray) -> str:
    """What an error answer says, in any of the shapes seen: Afero's envelope, a trace, HTML of a proxy, nothing."""
    said = _object(data)
    parts = [str(said[key]) for key in ("error", "error_description", "message") if said.get(key)]
    for fault in _objects(said.get("fieldErrors")):
        parts.append(f"{fault.get('field')}: {fault.get('error_description') or fault.get('error')}")
    if not parts and said.get("trace"):
        parts.append(str(said["trace"]).splitlines()[0])
    text = ", ".join(dict.fromkeys(parts)) or _excerpt(body)
    return f"status {status}" + (f" ({text})" if text else "")


def _refusal(what: str, answer: _Answer, maybe_done: bool) -> OtaError:
    data = answer.data
    text = f"{what}: {_describe(answer.status, data, data if isinstance(data, bytes) else b'')}"
    if answer.status == 401 or (
        answer.status == 400 and _object(data).get("error") in ("invalid_grant", "unauthorized")
    ):
        return AuthError(f"{text}. Check username, userpw and auth-string.")
    if answer.status == 403:
        return AuthError(
            f"{text}. The account lacks a privilege for this: partner privilege manageDeviceProfiles, or write access to the account."
        )
    if answer.status == 404:
        return NotFoundError(f"{text}. Check partnerId, deviceTypeId and the ids in the command.")
    if answer.status == 409 or _object(data).get("error") == "alreadyExists":
        return ConflictError(text)
    hint = " An earlier attempt had no answer and may have been carried out." if maybe_done else ""
    return RefusedError(text + "." + hint)


def _retry_after(value: str) -> float | None:
    """Seconds to wait, from a number or an HTTP date; None when the header is absent or unusable."""
    if value.strip().isdigit():
        return float(value)
    with contextlib.suppress(TypeError, ValueError):
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    return None


def _causes(error: BaseException) -> Iterator[Any]:
    """The exceptions folded into one of requests'."""
    queue: list[Any] = [error]
    for _ in range(12):
        if not queue:
            return
        current = queue.pop(0)
        yield current
        queue += [a for a in getattr(current, "args", ()) if isinstance(a, BaseException)]
        queue += [
            c
            for c in (getattr(current, "reason", None), current.__cause__, current.__context__)
            if isinstance(c, BaseException)
        ]


def _never_sent(error: BaseException) -> bool:
    return any(
        type(cause).__name__ in ("NewConnectionError", "ConnectionRefusedError", "NameResolutionError")
        for cause in _causes(error)
    )


def _stalled(error: BaseException) -> bool:
    return any(
        isinstance(cause, TimeoutError) or type(cause).__name__ == "ReadTimeoutError" for cause in _causes(error)
    )


def _reason(error: BaseException) -> str:
    """The innermost system error in words, without the object addresses that requests' messages hold."""
    for cause in reversed(list(_causes(error))):
        if isinstance(cause, OSError) and cause.strerror:
            return str(cause.strerror)
    names = {
        "IncompleteRead": "the answer was cut",
        "RemoteDisconnected": "the connection was closed without an answer",
    }
    for cause in _causes(error):
        if type(cause).__name__ in names:
            return names[type(cause).__name__]
    return f"{type(error).__name__}: {error}"[:300]
