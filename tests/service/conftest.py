# SPDX-License-Identifier: MIT
"""A running local OTA service for the tests in this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from api import Api
from rehearsal.service import RunningService


@pytest.fixture(scope="session")
def shared_service() -> Iterator[RunningService]:
    """One service for all tests that look only at what they created."""
    with RunningService() as service:
        yield service


@pytest.fixture
def api(shared_service: RunningService) -> Api:
    """A logged-in client of the shared service."""
    return Api(shared_service)


@pytest.fixture
def own_service() -> Iterator[RunningService]:
    """A new, empty service that the test may break."""
    with RunningService() as service:
        yield service


@pytest.fixture
def own_api(own_service: RunningService) -> Api:
    """A logged-in client of the test's own service."""
    return Api(own_service)
