# SPDX-License-Identifier: MIT
"""The exceptions and the exit statuses of the command line."""

from __future__ import annotations

from afero_ota import errors


def test_each_exit_status_belongs_to_one_exception_and_has_a_meaning() -> None:
    types = [value for value in vars(errors).values() if isinstance(value, type)]
    kinds = [kind for kind in types if issubclass(kind, errors.OtaError) and "exit_status" in vars(kind)]
    assert sorted(kind.exit_status for kind in kinds) == list(range(1, 11))
    meanings = {kind.exit_status: kind.meaning for kind in kinds}
    assert errors.exit_statuses() == {0: "done, or nothing to do", **meanings}
    assert len(set(meanings.values())) == len(kinds)


def test_every_fault_and_every_warning_is_in_the_message() -> None:
    faults = [errors.Fault("name", "not set", "write it"), errors.Fault("tags", "empty", "remove them")]
    message = str(errors.ConfigError(faults, ["the key 'Name' is not known"]))
    assert "2 faults" in message
    assert "name: not set" in message and "tags: empty" in message
    assert message.endswith("\nwarning: the key 'Name' is not known")
