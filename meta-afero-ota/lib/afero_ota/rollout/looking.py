# SPDX-License-Identifier: MIT
"""The devices of a plan as the cloud lists them: one request for all of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from .. import outcome
from ..answers import as_object, as_objects
from ..outcome import Outcome
from ..service import OtaService, running_version
from .decision import Sighting


class Lookout:
    """Looks at an account's devices; what they say of their updates is decoded once, not at every look."""

    def __init__(self, service: OtaService, account_id: str):
        self._service, self._account_id = service, account_id
        self._decoded: dict[Any, Outcome | None] = {}

    def look(self, wanted: Collection[str]) -> dict[str, Sighting]:
        """The wanted devices by id; one that is not listed is missing. Raises the errors of `OtaService.devices`."""
        decoded, shown = dict[Any, Outcome | None](), dict[str, Sighting]()
        for row in self._service.devices(self._account_id):
            device_id = row.get("deviceId")
            if not isinstance(device_id, str) or device_id not in wanted:
                continue
            data = _reason_data(row)
            decoded[data] = self._decoded[data] if data in self._decoded else outcome.decode(data)
            online = as_object(row.get("deviceState")).get("available") is True
            shown[device_id] = Sighting(online, row.get("updating") is True, running_version(row), decoded[data])
        self._decoded = decoded
        return shown


def _reason_data(row: Mapping[str, Any]) -> str | None:
    """The data of attribute 65019, None when there is none."""
    for attribute in as_objects(row.get("attributes")):
        if str(attribute.get("id")) == str(outcome.REBOOT_REASON_ATTRIBUTE):
            data = attribute.get("data")
            return data if isinstance(data, str) else None
    return None
