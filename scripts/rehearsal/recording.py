# SPDX-License-Identifier: MIT
"""Records a real run of scripts/demo --boot as an animated SVG, for the README: no script, no font and no network in it.

Waits of the run are shortened to two seconds; the times in its output are the real ones.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from .folders import PROJECT, cache_folder

DEMO = "scripts/demo --boot"
COLUMNS, ROWS = 100, 30
LONGEST_WAIT, LAST_FRAME = 2000, 8000  # milliseconds
SIZE_LIMIT = 300 << 10  # bytes


def main() -> int:
    parser = argparse.ArgumentParser(prog="record-demo", description=f"Record {DEMO} as an animated SVG.")
    parser.add_argument(
        "-o", "--output", type=Path, default=PROJECT / "docs" / "demo.svg", help="default: docs/demo.svg"
    )
    parser.add_argument("--cast", type=Path, help="draw this recording (asciicast v2) instead of making one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="afero-ota-record-") as scratch:
        cast, drawn = options.cast or Path(scratch) / "demo.cast", Path(scratch) / "demo.svg"
        if not options.cast:
            record(cast)
        draw(cast, drawn)
        problem = what_is_wrong(drawn.read_text())
        if problem:
            print(f"record-demo: {problem}; {options.output} was not written", file=sys.stderr)
            return 1
        options.output.write_bytes(drawn.read_bytes())
    return 0


def record(cast: Path) -> None:
    """Run the demo in a terminal of this size. Raises CalledProcessError."""
    # the recorder ends with its own input, so that is a terminal which nobody types on
    ours, keyboard = os.openpty()
    try:
        command = f"sh -c 'printf \"\\033[1m$ {DEMO}\\033[0m\\n\"; exec {DEMO}'"
        _termtosvg("record", str(cast), "-c", command, "-g", f"{COLUMNS}x{ROWS}", keyboard=keyboard)
    finally:
        os.close(keyboard)
        os.close(ours)


def draw(cast: Path, target: Path) -> None:
    """Turn a recording into an SVG. Raises CalledProcessError."""
    waits = ["-m", "50", "-M", str(LONGEST_WAIT), "-D", str(LAST_FRAME)]
    _termtosvg("render", str(cast), str(target), *waits, "-t", "window_frame", "--theme", "base16_default_dark")


def what_is_wrong(svg: str) -> str:
    """Why an SVG is not fit for the README, or ""."""
    if len(svg.encode()) > SIZE_LIMIT:
        return f"the recording has {len(svg.encode()):,} bytes, more than {SIZE_LIMIT:,}"
    if "attribute 2005" not in svg:
        return "the demo did not get to its end"
    for path in (PROJECT, cache_folder(), Path.home()):
        if f"{path}/" in svg:
            return f"the recording shows a path of this machine, {path}"
    return ""


def _termtosvg(*arguments: str, keyboard: int | None = None) -> None:
    command: Sequence[str] = [str(Path(sys.executable).parent / "termtosvg"), *arguments]
    environment = {**os.environ, "TERM": "xterm-256color"}
    subprocess.run(command, stdin=keyboard, cwd=PROJECT, env=environment, check=True)
