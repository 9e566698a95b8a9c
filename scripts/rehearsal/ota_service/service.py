# SPDX-License-Identifier: MIT
"""What all endpoints share: the store, the account, the signing key, and who may do what."""

from __future__ import annotations

import collections
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from starlette.requests import Request

from .account import Account
from .problems import Problem
from .store import Store

if TYPE_CHECKING:
    from .faults import Plan
    from .fleet import Fleet
    from .keycloak import Door


@dataclass
class Service:
    """One running service. `token_lifetime` is in seconds; `counts` holds requests by `METHOD template`.

    door: of `--login keycloak`, None for the documented login.
    """

    store: Store
    account: Account
    key: Ed25519PrivateKey
    plan: Plan
    token_lifetime: float = 16_086.0  # the documentation's example
    fleet: Fleet | None = None
    door: Door | None = None
    counts: collections.Counter[str] = field(default_factory=collections.Counter)

    def check_token(self, request: Request) -> None:
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not token.strip():
            raise Problem(
                401,
                "Full authentication is required to access this resource",
                headers={"WWW-Authenticate": 'Bearer realm="api"'},
            )
        if not self.store.token_is_good(token.strip(), "access"):
            raise Problem(
                401,
                "the access token is unknown or has expired",
                headers={"WWW-Authenticate": 'Bearer realm="api", error="invalid_token"'},
            )

    def check_owner(self, path: dict[str, str]) -> None:
        """Refuse ids in a path that are not the account's own."""
        own = {"partnerId": {self.account.partner_id}, "accountId": {self.account.account_id}}
        if "deviceTypeId" in path:
            own["deviceTypeId"] = self.device_types()
        for name, allowed in own.items():
            if name in path and path[name] not in allowed:
                raise Problem(404, f"there is no {name} {path[name][:80]}")

    def device_types(self) -> set[str]:
        """The device type of the configuration, and those of the registered devices."""
        own = {self.account.device_type_id} | {row["device_type"] for row in self.store.devices()}
        return own | (self.fleet.device_types if self.fleet else set())

    def devices(self) -> list[Mapping[str, Any]]:
        """All devices of the account: the registered ones and the fleet."""
        return [*map(dict, self.store.devices()), *(member.row() for member in self.fleet or ())]

    def device(self, device: str) -> Mapping[str, Any] | None:
        """One device of the account, or None."""
        member = self.fleet.get(device) if self.fleet else None
        row = self.store.device(device)
        return member.row() if member else dict(row) if row else None
