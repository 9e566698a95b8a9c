# SPDX-License-Identifier: MIT
"""A plain HTTP client of the local OTA service for tests: no retries, and answers are returned as they are."""

from __future__ import annotations

import itertools
from typing import Any

import requests

from rehearsal.service import RunningService

_numbers = itertools.count(1)


class Api:
    """Calls with a token; P and DT stand for the partner's and the device type's path, as in the API's documentation."""

    def __init__(self, service: RunningService):
        self.service, self.session = service, requests.Session()
        self.log_in()

    def log_in(self) -> None:
        self.session.headers["Authorization"] = f"Bearer {self.service.token()}"

    @property
    def authorization(self) -> str:
        """The header of that name in every call."""
        return str(self.session.headers["Authorization"])

    def url(self, path: str) -> str:
        partner = f"/v1/ota/partners/{self.service.partner_id}"
        first, slash, rest = path.partition("/")
        short = {"P": partner, "DT": f"{partner}/deviceTypes/{self.service.device_type_id}"}
        return self.service.url + short.get(first, first) + slash + rest

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        return self.session.request(method, self.url(path), timeout=options.pop("timeout", 30), **options)

    def record(self, **fields: Any) -> dict[str, Any]:
        """A new record in the pool, with a name and version not used before."""
        body = {"name": "Gateway", "type": 5, "version": f"1.0.{next(_numbers)}", "url": "", **fields}
        answer = self.call("POST", "P/pool", json=body)
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def pool_record(self, record: dict[str, Any]) -> dict[str, Any]:
        """The record as the pool lists it now."""
        page = self.call("GET", f"P/pool/types/{record['type']}", params={"size": 1000}).json()
        found: dict[str, Any] = next(item for item in page["content"] if item["id"] == record["id"])
        return found

    def image(self, content: bytes, **fields: Any) -> dict[str, Any]:
        """Record, upload, move, PUT and association, all at once; returns the association."""
        record = self.record(**fields)
        sha256 = self.call("POST", "P/binaries", data=content).json()["value"]
        url = self.call("POST", "P/binaries/moveToRepository", json={"value": sha256}).json()["value"]
        put = {"name": record["name"], "version": record["version"], "url": url, "tags": record["tags"]}
        path = f"P/pool/types/{record['type']}/versionNumbers/{record['versionNumber']}"
        assert self.call("PUT", path, json=put).status_code == 204
        answer = self.call("POST", "DT/firmwareImages", json=self.pool_record(record))
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def push(self, image: dict[str, Any], device_id: str) -> requests.Response:
        return self.call("PUT", f"DT/firmwareImages/{image['id']}/push", json={"value": device_id})
