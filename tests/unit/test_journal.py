# SPDX-License-Identifier: MIT
"""The journal: what was done stays known, whatever happens."""

import json

import pytest

from afero_ota import errors
from afero_ota.journal import Journal, read


def test_a_step_is_noted_as_started_and_done_with_its_facts(tmp_path):
    path = str(tmp_path / "j.jsonl")
    with Journal(path) as log, log.step("upload", size=3) as facts:
        facts["identifier"] = "abc"
    first, second = read(path)
    assert (first["step"], first["outcome"], first["size"]) == ("upload", "started", 3)
    assert (second["outcome"], second["identifier"]) == ("done", "abc")


def test_a_step_that_raises_is_noted_as_failed_with_the_reason(tmp_path):
    path = str(tmp_path / "j.jsonl")
    with pytest.raises(errors.NetworkError), Journal(path) as log, log.step("move"):
        raise errors.NetworkError("no route")
    assert read(path)[-1]["outcome"] == "failed"
    assert "no route" in read(path)[-1]["error"]


def test_a_line_torn_by_a_crash_costs_that_line_only(tmp_path):
    path = tmp_path / "j.jsonl"
    path.write_text(json.dumps({"step": "upload", "outcome": "done"}) + '\n{"step": "mo')
    with Journal(str(path)) as log:
        log.note("move", "done")
    assert [entry["step"] for entry in read(str(path))] == ["upload", "move"]


def test_a_second_run_on_the_same_journal_is_told_to_wait(tmp_path):
    path = str(tmp_path / "j.jsonl")
    with Journal(path), pytest.raises(errors.AbortedError, match="another run"), Journal(path):
        pass


def test_the_newest_entry_of_a_step_with_the_given_facts_is_found(tmp_path):
    with Journal(str(tmp_path / "j.jsonl")) as log:
        log.note("push", "started", device="a")
        log.note("push", "done", device="a")
        log.note("push", "started", device="b")
        assert log.last("push", device="a")["outcome"] == "done"
        assert log.last("push", device="c") is None


def test_without_a_path_a_journal_lives_in_memory():
    with Journal() as log:
        log.note("push", "done", device="a")
        assert log.last("push", device="a")
