# SPDX-License-Identifier: MIT
"""The report of a large image, and its place in the folder of releases."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from pathlib import Path

from afero_ota.report import facts

from .process import measure
from .race import OURS, Bench, Contestant, Sample, Table

# of a large image
_PACKAGES, _FILES_EACH = 5_000, 20


def report(bench: Bench) -> list[Table]:
    """What is in a large image, for people, and what changed since an earlier one; and the release that keeps both."""
    folder = bench.new_folder("report")
    size = bench.size // 4
    known = _write_archive(folder / "image.tar.gz", size)
    for name, version in (("old", "1.0.1"), ("new", "1.0.2")):
        _package(folder, name, version, known)
    page = ["--page", "page.html"]
    commands = {
        "sha256sum": ["sha256sum", "new"],
        "afero-ota report, from the archive": [OURS, "report", "bare", *page],
        "afero-ota report --since, of a build": [OURS, "report", "new", "--since", "old", *page],
        "afero-ota release": [OURS, "release", "new"],
        "afero-ota release --check": [OURS, "release", "--check"],
    }

    def contestant(name: str) -> Contestant:
        def run(_: int) -> Sample:
            if not name.endswith("--check"):
                shutil.rmtree(folder / "releases", ignore_errors=True)
            elif not (folder / "releases").exists():
                measure(commands["afero-ota release"], folder)
            return measure(commands[name], folder)

        return Contestant(name, run)

    title = f"Report and release: {size >> 20} MiB, {_PACKAGES:,} packages, {_PACKAGES * _FILES_EACH:,} files"
    table = bench.race(Table("report", title, "sha256sum"), [contestant(name) for name in commands])
    pages = (folder / "page.html").stat().st_size / (1 << 20)
    table.notes.append(f"The page has {pages:.1f} MiB.")
    return [table]


def _write_archive(path: Path, size: int) -> dict[str, dict[str, object]]:
    """A root file system that does not compress. Returns its packages, as a build knows them."""
    each = size // (_PACKAGES * _FILES_EACH)
    known: dict[str, dict[str, object]] = {}
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for number in range(_PACKAGES):
            files = [f"/usr/lib/package-{number}/file-{one}" for one in range(_FILES_EACH)]
            for name in files:
                member = tarfile.TarInfo(f".{name}")
                member.size = each
                archive.addfile(member, io.BytesIO(os.urandom(each)))
            known[f"package-{number}"] = {"recipe": f"recipe-{number}", "licence": "MIT", "size": each, "files": files}
    return known


def _package(folder: Path, name: str, version: str, known: dict[str, dict[str, object]]) -> None:
    """A payload of this version with what a build writes beside it, and `bare`, which has its manifest only."""
    measure([OURS, "package", "image.tar.gz", "-o", name], folder)
    manifest = folder / f"{name}.manifest.json"
    record = {
        "name": "Gateway",
        "version": version,
        "versionNumber": version.replace(".", ""),
        "description": "",
        "tags": [],
    }
    # every package has another version
    packages = {package: f"{version}-r0" for package in known}
    document = {**json.loads(manifest.read_text()), "record": record, "packages": packages}
    manifest.write_text(json.dumps(document))
    for suffix in ("", ".manifest.json"):
        (folder / f"bare{suffix}").unlink(missing_ok=True)
    os.link(folder / name, folder / "bare")
    (folder / "bare.manifest.json").write_text(json.dumps(document))
    known_facts = facts.gather(str(folder / name), document, known)
    (folder / f"{name}{facts.SUFFIX}").write_text(facts.dumps(known_facts))
