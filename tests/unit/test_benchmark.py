# SPDX-License-Identifier: MIT
"""How scripts/benchmark compares: in turn, by ratios within a round, and honest about what could not run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks import pages
from benchmarks.process import measure
from benchmarks.race import Bench, CannotRunError, Contestant, Sample, Table, as_data


def raced(tmp_path: Path, rounds: int = 3) -> tuple[Table, list[str]]:
    """Two contestants that are twice as slow from round to round, one of them three times as slow; and one that fails."""
    order: list[str] = []

    def contestant(name: str, factor: float) -> Contestant:
        def run(number: int) -> Sample:
            order.append(name)
            if not factor:
                raise CannotRunError("not installed")
            return Sample(factor * 2**number, 5 << 20)

        return Contestant(name, run)

    table = Table("t", "A <table>", "fast")
    Bench(tmp_path, rounds).race(table, [contestant("fast", 1), contestant("slow", 3), contestant("absent", 0)])
    return table, order


def test_ratios_are_taken_within_each_round(tmp_path: Path) -> None:
    table, _ = raced(tmp_path)
    assert table.row("slow").values == [3, 6, 12]
    assert table.ratios(table.row("slow")) == [3, 3, 3]


def test_every_round_begins_with_another_contestant_and_what_cannot_run_is_not_tried_again(tmp_path: Path) -> None:
    _, order = raced(tmp_path)
    assert order == ["fast", "slow", "absent", "slow", "fast", "fast", "slow"]


def test_what_could_not_run_is_in_every_form_of_the_result(tmp_path: Path) -> None:
    table, _ = raced(tmp_path)
    document = {"machine": {"cores": 2}, "rounds": 3, "tables": [as_data(table)], "left out": {"build": "no BitBake"}}
    for text in (pages.markdown(document), pages.html(document)):
        assert "not installed" in text and "no BitBake" in text
    assert "A &lt;table&gt;" in pages.html(document) and "<script" not in pages.html(document)


def test_a_target_is_met_missed_or_not_measured(tmp_path: Path) -> None:
    table, _ = raced(tmp_path)
    table.aim("at most 3 times", "slow", 3, relative=True)
    assert table.met is True
    table.aim("at most 5 s", "slow", 5)
    assert table.met is False
    table.aim("at most 5 s", "absent", 5)
    assert table.met is None


def test_the_memory_of_a_command_is_its_own_and_not_that_of_the_python_that_measures(tmp_path: Path) -> None:
    sample = measure(["sh", "-c", "sleep 0.3; true"], tmp_path)
    assert sample.value >= 0.3 and 0 < sample.memory < 8 << 20
    large = measure([sys.executable, "-c", "import time; x = bytearray(100 << 20); time.sleep(0.3)"], tmp_path)
    assert large.memory > 100 << 20


def test_a_command_that_is_missing_or_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(CannotRunError, match="no-such-program is not installed"):
        measure(["no-such-program"], tmp_path)
    with pytest.raises(CannotRunError, match="sh ended with status 3: the reason"):
        measure(["sh", "-c", "echo the reason >&2; exit 3"], tmp_path)
