# SPDX-License-Identifier: MIT
"""How an answer of the service is understood."""

from __future__ import annotations

import email.utils
import io
import time

import pytest
import requests

from afero_ota import answers, errors
from afero_ota.answers import Answer, Failure


def respond(status: int, body: bytes = b"", **headers: str) -> requests.Response:
    response = requests.Response()
    response.status_code, response.raw = status, io.BytesIO(body)
    response.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
    return response


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b'{"value": 1}', Answer(200, {"value": 1})),
        (202, b"", Answer(202, {})),
        (204, b"no content, said a proxy", Answer(204, {})),
        (404, b'{"error": "notFound"}', Answer(404, {"error": "notFound"})),
        (413, b"<html>too large</html>", Answer(413, b"<html>too large</html>")),
    ],
)
def test_a_final_answer_is_its_status_and_its_data(status: int, body: bytes, expected: Answer) -> None:
    assert answers.read(respond(status, body)) == expected


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_call_may_be_retried_after_a_temporary_error(status: int) -> None:
    found = answers.read(respond(status, b'{"error": "busy"}'))
    assert isinstance(found, Failure) and found.reason == f"status {status} (busy)"
    assert found.maybe_done == (status not in (425, 429, 503))


def test_a_success_that_is_not_json_may_have_been_carried_out() -> None:
    found = answers.read(respond(201, b"<html>"))
    assert found == Failure("status 201 with an answer that is not JSON: <html>", maybe_done=True)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7),
        (" 0 ", 0),
        (email.utils.formatdate(time.time() - 60, usegmt=True), 0),
        ("soon", None),
        ("-1", None),
        ("9" * 5000, None),
        ("Thu, 01 Jan 99999999999 00:00:00 GMT", None),
    ],
)
def test_retry_after_is_a_number_or_a_date(value: str, seconds: float | None) -> None:
    found = answers.read(respond(503, Retry_After=value))
    assert isinstance(found, Failure) and found.pause == seconds


def test_retry_after_may_be_a_date_in_the_future() -> None:
    found = answers.read(respond(429, Retry_After=email.utils.formatdate(time.time() + 60, usegmt=True)))
    assert isinstance(found, Failure) and found.pause is not None and 50 < found.pause <= 60


def test_a_redirect_is_refused_and_its_target_named() -> None:
    with pytest.raises(errors.RefusedError, match="redirects to https://other/"):
        answers.read(respond(302, Location="https://other/"))


@pytest.mark.parametrize(
    ("status", "data", "kind"),
    [
        (400, {"error": "invalid_grant"}, errors.AuthError),
        (400, {"error": "alreadyExists"}, errors.ConflictError),
        (400, {}, errors.RefusedError),
        (401, {}, errors.AuthError),
        (403, {}, errors.AuthError),
        (404, {}, errors.NotFoundError),
        (409, {}, errors.ConflictError),
        (413, b"<html>", errors.RefusedError),
    ],
)
def test_the_status_of_a_refusal_decides_the_exception(status: int, data: object, kind: type[errors.OtaError]) -> None:
    found = answers.refusal("POST https://x/y", Answer(status, data), maybe_done=False)
    assert type(found) is kind and str(found).startswith(f"POST https://x/y: status {status}")


def test_a_refusal_after_a_lost_answer_says_that_the_call_may_have_been_carried_out() -> None:
    assert "may have been carried out" in str(answers.refusal("PUT /", Answer(400, {}), maybe_done=True))
    assert "may have been carried out" not in str(answers.refusal("PUT /", Answer(400, {}), maybe_done=False))
