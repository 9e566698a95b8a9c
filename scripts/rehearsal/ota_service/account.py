# SPDX-License-Identifier: MIT
"""The one account that the service knows: from a partner-ota-conf file, or the built-in test account."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True)
class Account:
    """Who may log in and what belongs to them."""

    username: str = "dev@example.com"
    password: str = "rehearsal"
    auth_string: str = base64.b64encode(b"local-client:local-secret").decode()
    partner_id: str = "4f7de484-0000-4000-8000-412104d5120b"
    device_type_id: str = "a6542896-0000-4000-8000-664a57e4e703"
    account_id: str = "c0ffee00-0000-4000-8000-000000000001"


# key of the file -> field
_KEYS = {
    "username": "username",
    "userpw": "password",
    "auth-string": "auth_string",
    "partnerId": "partner_id",
    "deviceTypeId": "device_type_id",
}


def load(path: str | None) -> Account:
    """The account of a partner-ota-conf file; without one, the built-in. Raises ValueError with the reason."""
    if not path:
        return Account()
    try:
        text = Path(path).read_text(encoding="utf-8")
        document = yaml.safe_load(text) if path.endswith((".yml", ".yaml")) else json.loads(text)
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(document, dict):
        raise ValueError(f"{path} holds no mapping")
    fields: dict[str, Any] = {field: document.get(key) for key, field in _KEYS.items()}
    wrong = [key for key, field in _KEYS.items() if not isinstance(fields[field], str) or not fields[field]]
    if wrong:
        raise ValueError(f"{path} lacks {', '.join(wrong)}")
    return Account(**fields)
