# SPDX-License-Identifier: MIT
"""The command, with its cheapest part."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "benchmark"


def test_one_part_gives_json_a_page_and_a_table(tmp_path: Path) -> None:
    command = [str(SCRIPT), "start", "--rounds", "1", "--records", "60", "-o", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    [table] = json.loads((tmp_path / "out" / "benchmark.json").read_text())["tables"]
    rows = {row["name"]: row for row in table["rows"]}
    assert all(row["min"] > 0 for row in rows.values())
    assert rows["afero-ota --help"]["ratio"]["median"] > 1
    assert (tmp_path / "out" / "benchmark.md").read_text() == done.stdout
    assert "<svg" in (tmp_path / "out" / "benchmark.html").read_text()


def test_a_part_that_does_not_exist_is_refused_with_those_that_do() -> None:
    done = subprocess.run([SCRIPT, "nothing"], capture_output=True, text=True)
    assert done.returncode == 2 and "build package upload start rollout service device report" in done.stderr
