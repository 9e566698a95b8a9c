# SPDX-License-Identifier: MIT
"""The command: `benchmark [PART...] [-o DIR]`."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rehearsal.folders import cache_folder

from . import builds, cloud, commands, device, packaging, pages, reports
from .race import Bench, CannotRunError, Table, as_data

PARTS: dict[str, Callable[[Bench], list[Table]]] = {
    "build": builds.build,
    "package": packaging.package,
    "upload": cloud.upload,
    "start": commands.start,
    "rollout": commands.rollout,
    "service": cloud.load,
    "device": device.device,
    "report": reports.report,
}


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    # peers from PyPI are beside the Python that runs this
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    cache_folder().mkdir(parents=True, exist_ok=True)
    busy = os.getloadavg()[0]
    results: list[dict[str, Any]] = []
    left_out: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=cache_folder()) as folder:
        bench = Bench(Path(folder), options.rounds, options.size << 20, tuple(options.devices), options.records)
        for name in options.parts or PARTS:
            bench.say(f"{name}: {PARTS[name].__doc__}")
            try:
                results += map(as_data, PARTS[name](bench))
            except CannotRunError as reason:
                left_out[name] = str(reason)
                bench.say(f"  cannot run: {reason}")
    # a load from elsewhere makes the figures larger, and their spread too
    machine = {**_machine(), "load before": round(busy, 1)}
    document = {"machine": machine, "rounds": options.rounds, "tables": results, "left out": left_out}
    options.output.mkdir(parents=True, exist_ok=True)
    markdown = pages.markdown(document)
    for file, text in (
        ("benchmark.json", json.dumps(document, indent=2) + "\n"),
        ("benchmark.html", pages.html(document)),
        ("benchmark.md", markdown),
    ):
        (options.output / file).write_text(text, encoding="utf-8")
    print(markdown, end="")
    return 1 if left_out else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmark",
        description="This project and its peers side by side, in turn, on this machine. Writes benchmark.json, "
        "benchmark.html and benchmark.md; the table also goes to standard output.",
        epilog=f"parts: {' '.join(PARTS)}. The exit status is 1 when a part could not run.",
    )
    parser.add_argument("parts", nargs="*", metavar="PART", type=_part, help="default: all")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("benchmark"), metavar="DIR", help="default: %(default)s"
    )
    parser.add_argument("--rounds", type=_count, default=3, metavar="N", help="runs of each (default: %(default)s)")
    parser.add_argument("--size", type=_count, default=1024, metavar="MIB", help="large image (default: %(default)s)")
    parser.add_argument("--records", type=_count, default=1000, metavar="N", help="to list (default: %(default)s)")
    parser.add_argument(
        "--devices",
        type=_count,
        nargs="+",
        default=[1_000, 3_000, 10_000],
        metavar="N",
        help="in a rollout (default: 1000 3000 10000)",
    )
    return parser.parse_args(arguments)


def _part(text: str) -> str:
    if text not in PARTS:
        raise argparse.ArgumentTypeError(f"{text} is not one of {' '.join(PARTS)}")
    return text


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _machine() -> dict[str, Any]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    system = platform.freedesktop_os_release()["PRETTY_NAME"] if Path("/etc/os-release").exists() else platform.system()
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory": f"{memory / (1 << 30):.0f} GiB",
        "system": system,
        "Python": platform.python_version(),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


if __name__ == "__main__":
    sys.exit(main())
