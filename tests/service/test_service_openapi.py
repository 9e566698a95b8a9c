# SPDX-License-Identifier: MIT
"""The service conforms to its own OpenAPI description (schemathesis makes the calls)."""

from __future__ import annotations

from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import load_all_checks, not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from api import Api
from rehearsal.ota_service import server  # noqa: F401  (its endpoints are what is described)
from rehearsal.ota_service.openapi import describe
from rehearsal.service import RunningService

load_all_checks()
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    unsupported_method,
    negative_data_rejection,
    ignored_auth,
]
Case = schemathesis.Case[Any]
schema = schemathesis.openapi.from_dict(describe())
# the test adds the token itself; a case that is generated without one would then be valid after all
schema.config.generation.update(with_security_parameters=False)


@schema.parametrize()
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_as_described(case: Case, api: Api) -> None:
    _use_known_ids(case, api)
    secrets = api.service.settings
    token = f"Basic {secrets['auth-string']}" if case.path == "/oauth/token" else api.authorization
    case.call_and_validate(base_url=api.service.url, headers={"Authorization": token}, checks=CHECKS, timeout=30)


def _use_known_ids(case: Case, api: Api) -> None:
    """Use the ids of this service: with others, nearly every call would fail because the partner is unknown."""
    known = {
        "partnerId": api.service.partner_id,
        "deviceTypeId": api.service.device_type_id,
        "accountId": api.service.account_id,
    }
    for name, value in known.items():
        if name in (case.path_parameters or {}):
            case.path_parameters[name] = value


def test_the_description_is_served(shared_service: RunningService) -> None:
    assert requests.get(f"{shared_service.url}/openapi.json", timeout=30).json() == describe()


def test_every_documented_endpoint_is_described() -> None:
    partner = "/v1/ota/partners/{partnerId}"
    images = partner + "/deviceTypes/{deviceTypeId}/firmwareImages"
    record = partner + "/pool/types/{type}/versionNumbers/{versionNumber}"
    described = {f"{method.upper()} {path}" for path, item in describe()["paths"].items() for method in item}
    assert described == {
        "POST /oauth/token",
        "GET /v1/users/me",
        "GET /v1/accounts/{accountId}/devices",
        "GET /v1/accounts/{accountId}/devices/{deviceId}",
        f"POST {partner}/types",
        f"GET {partner}/types",
        f"GET {partner}/types/{{type}}",
        f"PUT {partner}/types/{{type}}",
        f"POST {partner}/pool",
        f"GET {partner}/pool",
        f"GET {partner}/pool/types/{{type}}",
        f"GET {partner}/pool/types/{{type}}/names/{{name}}/versions/{{version}}/exists",
        f"GET {record}/associations",
        f"PUT {record}",
        f"POST {partner}/binaries",
        f"POST {partner}/binaries/moveToRepository",
        f"POST {images}",
        f"GET {images}",
        f"GET {images}/types/{{type}}",
        f"GET {images}/types/{{type}}/versionNumbers/{{versionNumber}}",
        f"DELETE {images}/types/{{type}}/versionNumbers/{{versionNumber}}",
        f"PUT {images}/{{firmwareImageId}}/push",
        f"GET {partner}/tags",
    }
