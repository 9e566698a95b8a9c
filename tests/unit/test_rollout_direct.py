# SPDX-License-Identifier: MIT
"""Which devices are meant, and what a push to several of them ends with; the pushes themselves are tested in tests/service."""

from __future__ import annotations

from pathlib import Path

import pytest

from afero_ota import errors, rollout
from afero_ota.rollout import Outcome, Result

NETWORK, REFUSED = errors.NetworkError("no route"), errors.NotFoundError("no such device")
AUTH = errors.AuthError("not yours")
UNKNOWN = errors.UnknownOutcomeError("no answer")


def test_ids_are_separated_by_spaces_or_commas_and_named_once() -> None:
    assert rollout.read_devices(["a,b", "c d", "a"]) == ["a", "b", "c", "d"]
    assert rollout.split_ids(" a,b\n c ") == ["a", "b", "c"]


def test_a_file_of_ids_may_have_spaces_and_commas_in_its_name(tmp_path: Path) -> None:
    (tmp_path / "my devices, all.txt").write_text("hub-1\n# a comment\nhub-2, hub-3  # another\n")
    assert rollout.read_devices(["@my devices, all.txt", "hub-4"], str(tmp_path)) == [
        "hub-1",
        "hub-2",
        "hub-3",
        "hub-4",
    ]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(errors.ConfigError, match="no such list"):
        rollout.read_devices([f"@{tmp_path}/no such list"])


def failed(error: errors.OtaError) -> Outcome:
    return Outcome("hub", Result.FAILED, str(error), error)


@pytest.mark.parametrize(
    ("outcomes", "status"),
    [
        ([], 0),
        (
            [Outcome("hub", result) for result in (Result.PUSHED, Result.ALREADY, Result.UPDATING, Result.SENT_BEFORE)],
            0,
        ),
        ([Outcome("hub", Result.PUSHED), failed(NETWORK)], 6),
        ([Outcome("hub", Result.PUSHED), Outcome("hub", Result.BUSY)], 7),
        ([Outcome("hub", Result.BUSY), failed(NETWORK)], 6),
        ([Outcome("hub", Result.BUSY), failed(NETWORK), failed(REFUSED)], 4),
        ([failed(NETWORK), failed(AUTH), failed(REFUSED)], 3),
        ([failed(AUTH), Outcome("hub", Result.UNKNOWN, "", UNKNOWN), Outcome("hub", Result.LEFT)], 8),
    ],
)
def test_what_a_repeat_will_not_mend_decides_the_exit_status(outcomes: list[Outcome], status: int) -> None:
    assert rollout.exit_status(outcomes) == status
