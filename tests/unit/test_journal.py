# SPDX-License-Identifier: MIT
"""The journal keeps what was done, even after a crash."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from afero_ota import errors
from afero_ota.journal import Entry, Journal, Outcome, Step, read


def test_a_step_is_noted_as_started_and_done_with_its_facts(tmp_path: Path) -> None:
    path = str(tmp_path / "j.jsonl")
    with Journal(path) as log, log.step(Step.UPLOAD, size=3) as facts:
        facts["identifier"] = "abc"
    first, second = read(path)
    assert (first["step"], first["outcome"], first["size"]) == ("upload", "started", 3)
    assert (second["outcome"], second["identifier"]) == ("done", "abc")


def test_a_step_that_raises_is_noted_as_failed_with_the_reason(tmp_path: Path) -> None:
    path = str(tmp_path / "j.jsonl")
    with pytest.raises(errors.NetworkError), Journal(path) as log, log.step(Step.MOVE):
        raise errors.NetworkError("no route")
    assert read(path)[-1]["outcome"] == "failed"
    assert "no route" in read(path)[-1]["error"]


def test_the_terms_in_the_file_are_stable() -> None:
    # other programs read this file, and so do later versions of this one
    assert [step.value for step in Step] == [
        *("record", "create record", "publish", "dissociate", "upload", "move", "set url", "associate", "push"),
    ]
    assert [outcome.value for outcome in Outcome] == [
        *("started", "done", "failed", "unknown", "found", "created", "nothing to do"),
    ]


def test_a_crash_in_the_middle_of_a_line_loses_only_that_line(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    path.write_text(json.dumps({"step": "upload", "outcome": "done"}) + '\n{"step": "mo')
    with Journal(str(path)) as log:
        log.note(Step.MOVE, Outcome.DONE)
    assert [entry["step"] for entry in read(str(path))] == ["upload", "move"]


def test_a_second_run_on_the_same_journal_is_told_to_wait(tmp_path: Path) -> None:
    path = str(tmp_path / "j.jsonl")
    with Journal(path), pytest.raises(errors.AbortedError, match="another run"), Journal(path):
        pass


def test_the_newest_entry_of_a_step_with_the_given_facts_is_found(tmp_path: Path) -> None:
    with Journal(str(tmp_path / "j.jsonl")) as log:
        log.note(Step.PUSH, Outcome.STARTED, device="a")
        log.note(Step.PUSH, Outcome.DONE, device="a")
        log.note(Step.PUSH, Outcome.STARTED, device="b")
        newest = log.last(Step.PUSH, device="a")
        assert newest and newest["outcome"] == "done"
        assert log.last(Step.PUSH, device="c") is None


def test_without_a_path_the_journal_is_kept_in_memory() -> None:
    with Journal() as log:
        log.note(Step.PUSH, Outcome.DONE, device="a")
        assert log.last(Step.PUSH, device="a")


def test_an_observer_sees_each_entry_as_it_is_noted(tmp_path: Path) -> None:
    path, seen = str(tmp_path / "j.jsonl"), list[Entry]()
    with Journal(path, observer=seen.append) as log, log.step(Step.UPLOAD):
        assert [entry["outcome"] for entry in seen] == ["started"]
    assert seen == read(path)


def test_a_line_holds_no_control_character_but_its_end(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    with Journal(str(path)) as log:
        log.note(Step.PUSH, Outcome.FAILED, error="a\x1b[2J\x9b\u202eb\n")
    assert path.read_text().removesuffix("\n").isprintable()
    assert read(str(path))[0]["error"] == "a\x1b[2J\x9b\u202eb\n"
