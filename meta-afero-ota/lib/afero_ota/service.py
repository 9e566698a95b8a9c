# SPDX-License-Identifier: MIT
"""OtaService: one method per endpoint of the Afero cloud that this project uses.

Facts come from Afero's developer documentation (docs/API-OTAEndpoints.md, API-DeviceEndpoints.md, API-UserEndpoints.md).
Ids and version numbers are strings of digits, as the service writes them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Callable
from urllib.parse import quote

from .answers import as_object, as_objects
from .errors import ConfigError, NetworkError, NotFoundError
from .record import HUB_IMAGE, OtaRecord
from .transport import FileBody, Patience, Transport

if TYPE_CHECKING:
    from .config import Config
    from .payload import Progress

RUNNING_VERSION_ATTRIBUTE = 2000 + HUB_IMAGE  # docs/AttrRegistry.md
PAGE_SIZE = 50  # the documented default


def connect(settings: Config, patience: Patience | None = None, log: Callable[[str], None] | None = None) -> OtaService:
    """The client for a configuration's service, account, partner and device type. The first call logs in.

    log: gets a line about every repeated request. Raises ConfigError when the requests package is not installed.
    """
    transport = Transport(settings.service_url, settings.credentials, patience, log, settings.login)
    return OtaService(transport, settings.partner_id, settings.device_type_id)


class OtaService:
    """A logged-in view of one partner's (and one device type's) OTA records and images.

    Every method raises AuthError, RefusedError (NotFoundError), ConflictError or NetworkError; those that must not be
    repeated blindly (create_record, push) raise UnknownOutcomeError when no usable answer came back.
    """

    def __init__(self, transport: Transport, partner_id: str = "", device_type_id: str = ""):
        self.partner_id, self.device_type_id = partner_id, device_type_id
        self._transport = transport

    @property
    def base_url(self) -> str:
        return self._transport.base_url

    @property
    def clock_skew(self) -> float | None:
        """Seconds this machine's clock is ahead of the service's; None before the first answer."""
        return self._transport.clock_skew

    def login(self) -> None:
        """Get an access token now instead of at the first call."""
        self._transport.tokens.fetch()

    def log_in_with(self, code: str, verifier: str, redirect_uri: str) -> str:
        """Trade the code of a login page for tokens; returns the path of the file that keeps the refresh token."""
        return self._transport.tokens.exchange(code, verifier, redirect_uri)

    # ---- the pool --------------------------------------------------------------------------------------------------

    def records(self, tags: str = "") -> Iterator[OtaRecord]:
        """Every hub image record of the pool (GET pool/types/5), all or those with `tags`; pages as it goes."""
        return map(OtaRecord, self._pages(self._partner(f"/pool/types/{HUB_IMAGE}"), _if_set(tags=tags)))

    def find_record(self, name: str, version: str) -> OtaRecord | None:
        """The hub image record of exactly this name and version, or None. There is no lookup by name: pages through."""
        found = [record for record in self.records() if record.matches(name, version)]
        # if the service accepted two, devices may already have the older one
        return min(found, key=lambda record: int(record.version_number or 0), default=None)

    def find_version(self, version_number: str) -> OtaRecord | None:
        """The hub image record with this versionNumber, or None."""
        return next((record for record in self.records() if record.version_number == version_number), None)

    def record_exists(self, name: str, version: str) -> bool:
        """Whether a hub image of this name and version is in the pool (GET …/exists)."""
        path = f"/pool/types/{HUB_IMAGE}/names/{_segment(name)}/versions/{_segment(version)}/exists"
        return as_object(self._get(self._partner(path))).get("value") is True

    def create_record(self, body: Mapping[str, Any]) -> OtaRecord:
        """Create a record (POST pool). Not safe to repeat: after UnknownOutcomeError or ConflictError look for it."""
        answer = self._transport.call("POST", self._partner("/pool"), json=body, repeatable=False)
        return OtaRecord(as_object(answer))

    def update_record(self, record: OtaRecord, url: str, tags: list[str]) -> None:
        """Set a record's url and tags (PUT pool/types/…/versionNumbers/…); sends the five documented fields only."""
        body = {"name": record.name, "version": record.version, "url": url, "tags": tags}
        description = record.fields.get("description")
        if isinstance(description, str):
            body["description"] = description
        path = f"/pool/types/{HUB_IMAGE}/versionNumbers/{_segment(record.version_number)}"
        self._transport.call("PUT", self._partner(path), json=body)

    # ---- binaries --------------------------------------------------------------------------------------------------

    def upload_binary(self, path: str, size: int, progress: Progress | None = None) -> str:
        """Send the file (POST binaries), from byte 0 on every attempt, in constant memory.

        path, size: the file and its length in bytes, which is checked while sending.
        Returns the identifier that the service computed; documented to be the SHA-256 of the file.
        """
        answer = self._transport.call("POST", self._partner("/binaries"), file=FileBody(path, size, progress))
        return str(as_object(answer).get("value") or "")

    def move_to_repository(self, identifier: str) -> str:
        """Move an uploaded file to the repository (POST binaries/moveToRepository); returns its URL."""
        path = self._partner("/binaries/moveToRepository")
        return str(as_object(self._transport.call("POST", path, json={"value": identifier})).get("value") or "")

    # ---- images of a device type -----------------------------------------------------------------------------------

    def associate(self, record: OtaRecord) -> dict[str, Any]:
        """Offer a pool record, exactly as read from the pool, to the device type (POST firmwareImages).

        Returns the association, whose own `id` is what push needs. Raises ConflictError when it is there already.
        """
        return as_object(self._transport.call("POST", self._device_type(""), json=dict(record.fields)))

    def images(self, tags: str = "") -> Iterator[dict[str, Any]]:
        """The hub images associated with the device type (GET firmwareImages/types/5), all or those with `tags`."""
        return self._pages(self._device_type(f"/types/{HUB_IMAGE}"), _if_set(tags=tags))

    def image(self, version_number: str) -> dict[str, Any] | None:
        """The association of one version, or None when it is not associated (the service answers 404)."""
        try:
            return as_object(self._get(self._association(version_number)))
        except NotFoundError:
            return None

    def dissociate(self, version_number: str) -> None:
        """Remove a version from the device type (DELETE); it is no error if it is not associated."""
        with contextlib.suppress(NotFoundError):
            self._transport.call("DELETE", self._association(version_number))

    def push(self, image_id: str, device_id: str) -> None:
        """Queue an association (by its own id) for one device (PUT …/push). Not safe to repeat: may download twice."""
        path = self._device_type(f"/{_segment(image_id)}/push")
        self._transport.call("PUT", path, json={"value": device_id}, repeatable=False)

    # ---- account and devices ---------------------------------------------------------------------------------------

    def me(self) -> dict[str, Any]:
        """Who is logged in (GET /v1/users/me), without the client secret that the answer holds."""
        data = as_object(self._get("/v1/users/me"))
        for access in as_objects(data.get("partnerAccess")):
            as_object(access.get("partner")).pop("clientSecret", None)
        return data

    def device(self, account_id: str, device_id: str) -> dict[str, Any]:
        """One device with its attributes (GET accounts/{id}/devices/{device})."""
        path = f"/v1/accounts/{_segment(account_id)}/devices/{_segment(device_id)}"
        return as_object(self._get(path, {"expansions": "attributes"}))

    def devices(self, account_id: str, tags: bool = False) -> list[dict[str, Any]]:
        """All devices of an account with state and attributes, and tags if asked for (GET accounts/{id}/devices): one answer."""
        expansions = "state,attributes,tags" if tags else "state,attributes"
        return as_objects(self._get(f"/v1/accounts/{_segment(account_id)}/devices", {"expansions": expansions}))

    # ---- paths and pages -------------------------------------------------------------------------------------------

    def _partner(self, path: str) -> str:
        if not self.partner_id:
            raise ConfigError("no partner id: set partnerId in the configuration file")
        return f"/v1/ota/partners/{_segment(self.partner_id)}{path}"

    def _device_type(self, path: str) -> str:
        if not self.device_type_id:
            raise ConfigError("no device type id: set deviceTypeId in the configuration file")
        return self._partner(f"/deviceTypes/{_segment(self.device_type_id)}/firmwareImages{path}")

    def _association(self, version_number: str) -> str:
        return self._device_type(f"/types/{HUB_IMAGE}/versionNumbers/{_segment(version_number)}")

    def _get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        return self._transport.call("GET", path, query=query)

    def _pages(self, path: str, query: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        number, pages, seen = 0, 1, set()
        while number < pages:
            page = as_object(self._get(path, {**query, "page": number, "size": PAGE_SIZE}))
            content, total = page.get("content"), page.get("totalPages")
            if not isinstance(content, list):
                raise NetworkError(
                    f"{self.base_url}{path} answered page {number} without `content`; expected a page of records"
                )
            for item in as_objects(content):
                # something new may have moved an item from one page to the next between two calls
                key = item.get("id") or item.get("versionNumber")
                if key is None or key not in seen:
                    seen.add(key)
                    yield item
            # without a page count, a full page means that there may be another
            pages = total if isinstance(total, int) else number + 1 + (len(content) >= PAGE_SIZE)
            number += 1


# ---- reading answers -------------------------------------------------------------------------------------------------


def running_version(device: Mapping[str, Any]) -> int | None:
    """The versionNumber a device reports: attribute 2005, hexadecimal little-endian signed 64 bit (docs/AttrRegistry.md).

    None when the attribute is absent or not of that form.
    """
    for attribute in as_objects(device.get("attributes")):
        if str(attribute.get("id")) == str(RUNNING_VERSION_ATTRIBUTE):
            with contextlib.suppress(ValueError, TypeError):
                return int.from_bytes(bytes.fromhex(attribute["data"]), "little", signed=True)
    return None


def account_ids(me: Mapping[str, Any]) -> list[str]:
    """The ids of the accounts a user may write to, from users/me; those with fewer rights last."""
    accounts = [access for access in as_objects(me.get("accountAccess")) if isinstance(access.get("account"), dict)]

    def lacks_rights(access: Mapping[str, Any]) -> bool:
        rights = as_object(access.get("privileges"))
        return not (rights.get("owner") or rights.get("canWrite"))

    ids = (access["account"].get("accountId") for access in sorted(accounts, key=lacks_rights))
    return [str(account_id) for account_id in ids if account_id]


def _segment(text: str) -> str:
    # quote() leaves dots, and a segment of one or two dots would be resolved on the way
    escaped = quote(text, safe="")
    return escaped.replace(".", "%2E") if escaped in (".", "..") else escaped


def _if_set(**fields: str) -> dict[str, str]:
    return {key: value for key, value in fields.items() if value}
