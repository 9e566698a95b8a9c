# SPDX-License-Identifier: MIT
"""The folder of releases: written whole or not at all, never changed, verified file by file."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from afero_ota import errors, manifest, payload, record
from afero_ota.journal import Journal, Outcome, Step
from afero_ota.release import collecting

CONTENT = b"an image"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A payload with manifest, report, SBOM and CVE report beside it."""
    return packaged(tmp_path / "build", "1.0.1", "7001")


def packaged(where: Path, version: str, number: str, content: bytes = CONTENT, **facts: Any) -> Path:
    where.mkdir(exist_ok=True)
    path = where / "hub_update.bin"
    path.write_bytes(content)
    (where / "hub_update.bin.report.md").write_text("# Gateway\n")
    (where / "hub_update.bin.spdx.json").write_text("{}")
    issues = [{"id": "CVE-2024-1", "status": "Unpatched"}, {"id": "CVE-2024-2", "status": "Patched"}]
    report = {"package": [{"name": "openssl", "version": "3.0.13", "issue": issues}]}
    (where / "hub_update.bin.cve.json").write_text(json.dumps(report))
    inside = record.OtaRecord({"name": "Gateway", "type": 5, "version": version, "versionNumber": number})
    described = {
        kind: said(where / f"hub_update.bin.{end}") for kind, end in (("sbom", "spdx.json"), ("cve", "cve.json"))
    }
    manifest.write(
        payload.measure(str(path)), {"record": dict(inside.fields), "version": version, **described, **facts}
    )
    return path


def said(path: Path) -> dict[str, Any]:
    return {"file": path.name, "sha256": sha256(path), "size": path.stat().st_size}


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def collect(releases: Path, image: Path, **more: Any) -> collecting.Collected:
    return collecting.collect(str(releases), str(image), **more)


def files(where: Path) -> dict[str, str]:
    return {str(path.relative_to(where)): sha256(path) for path in sorted(where.rglob("*")) if path.is_file()}


def test_a_release_holds_the_payload_and_what_lies_beside_it_and_an_index_of_both(tmp_path: Path, image: Path) -> None:
    lock = tmp_path / "kas.yml"
    lock.write_text("commit: 1\n")
    done = collect(tmp_path / "releases", image, more=[str(lock)])
    there = Path(done.path)
    assert there == tmp_path / "releases" / "Gateway" / "1.0.1"
    beside = ["", ".cve.json", ".manifest.json", ".report.md", ".spdx.json"]
    names = ["configuration/kas.yml", "cves.json", *(f"hub_update.bin{end}" for end in beside)]
    index = json.loads((there / "index.json").read_text())
    assert {name: facts["sha256"] for name, facts in index["files"].items()} == {
        name: sha256(there / name) for name in names
    }
    assert sorted(files(there)) == sorted([*names, "index.json"])
    assert (index["name"], index["version"], index["versionNumber"]) == ("Gateway", "1.0.1", "7001")
    assert there.stat().st_mode & 0o777 == 0o755


def test_the_same_release_twice_does_nothing_and_gives_the_same_index(tmp_path: Path, image: Path) -> None:
    first = collect(tmp_path / "releases", image)
    before = files(tmp_path / "releases")
    assert (first.written, collect(tmp_path / "releases", image).written) == (("",), ())
    assert files(tmp_path / "releases") == before
    other = collect(tmp_path / "elsewhere", image)
    assert sha256(Path(other.path) / "index.json") == sha256(Path(first.path) / "index.json")


def test_a_release_with_another_content_is_refused_with_both_hashes_and_stays(tmp_path: Path, image: Path) -> None:
    done = collect(tmp_path / "releases", image)
    before = files(Path(done.path))
    packaged(image.parent, "1.0.1", "7001", b"another image")
    with pytest.raises(errors.RefusedError) as caught:
        collect(tmp_path / "releases", image)
    assert f"hub_update.bin: {hashlib.sha256(CONTENT).hexdigest()} there, {sha256(image)} now" in str(caught.value)
    assert files(Path(done.path)) == before


def test_a_run_that_is_stopped_leaves_no_release_and_the_next_one_makes_it(
    tmp_path: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("os.rename", stopped)
        patch.setattr("shutil.rmtree", lambda *arguments, **options: None)
        with pytest.raises(KeyboardInterrupt):
            collect(tmp_path / "releases", image)
    assert collecting.releases_in(str(tmp_path / "releases")) == []
    done = collect(tmp_path / "releases", image)
    assert collecting.releases_in(str(tmp_path / "releases")) == [done.path]
    assert sorted(os.listdir(tmp_path / "releases" / "Gateway")) == ["1.0.1"]


@pytest.mark.parametrize("name", ["hub_update.bin", "hub_update.bin.spdx.json"])
def test_files_that_do_not_belong_together_are_not_kept(tmp_path: Path, image: Path, name: str) -> None:
    right = sha256(image.parent / name)
    (image.parent / name).write_bytes(b"tampered")
    with pytest.raises(errors.ConfigError) as caught:
        collect(tmp_path / "releases", image)
    assert f"{name}: has SHA-256 {hashlib.sha256(b'tampered').hexdigest()}, expected {right}" in str(caught.value)
    assert not (tmp_path / "releases").exists()


def tampered(path: Path) -> str:
    path.chmod(0o644)
    path.write_bytes(path.read_bytes() + b" ")
    return f"{path}: has SHA-256 {sha256(path)}"


@pytest.mark.parametrize("end", ["", ".spdx.json", ".manifest.json", ".cve.json"])
def test_verifying_names_the_file_that_was_tampered_with_and_both_hashes(tmp_path: Path, image: Path, end: str) -> None:
    there = Path(collect(tmp_path / "releases", image).path)
    collecting.verify(str(there))
    right = sha256(there / f"hub_update.bin{end}")
    problem = tampered(there / f"hub_update.bin{end}")
    for command in (lambda: collecting.verify(str(there)), lambda: collect(tmp_path / "releases", image)):
        with pytest.raises(errors.ConfigError) as caught:
            command()
        assert problem in str(caught.value) and right in str(caught.value)


def add(there: Path) -> str:
    (there / "extra").write_text("x")
    return "extra: is not in index.json"


def remove(there: Path) -> str:
    (there / "hub_update.bin.spdx.json").unlink()
    return "hub_update.bin.spdx.json: cannot be read"


def change_with_index(there: Path) -> str:
    """What somebody does who knows of the index."""
    tampered(there / "hub_update.bin.spdx.json")
    index = json.loads((there / "index.json").read_text())
    index["files"]["hub_update.bin.spdx.json"]["sha256"] = sha256(there / "hub_update.bin.spdx.json")
    (there / "index.json").chmod(0o644)
    (there / "index.json").write_text(json.dumps(index))
    return f"has SHA-256 {sha256(there / 'hub_update.bin.spdx.json')}, its manifest says {hashlib.sha256(b'{}').hexdigest()}"


@pytest.mark.parametrize("change", [add, remove, change_with_index])
def test_verifying_finds_other_changes_too(tmp_path: Path, image: Path, change: Callable[[Path], str]) -> None:
    there = Path(collect(tmp_path / "releases", image).path)
    problem = change(there)
    with pytest.raises(errors.ConfigError) as caught:
        collecting.verify(str(there))
    assert problem in str(caught.value)


def noted(path: Path, *steps: tuple[Step, Outcome, dict[str, str]]) -> str:
    with Journal(str(path)) as journal:
        for step, outcome, facts in steps:
            journal.note(step, outcome, **facts)
    return str(path)


def test_the_journal_of_the_upload_is_added_later_with_the_lines_of_this_version_only(
    tmp_path: Path, image: Path
) -> None:
    releases = tmp_path / "releases"
    there = Path(collect(releases, image).path)
    ours, other = {"versionNumber": "7001"}, {"versionNumber": "7000"}
    path = tmp_path / "afero-ota.jsonl"
    noted(path, (Step.SET_URL, Outcome.DONE, other), (Step.UPLOAD, Outcome.DONE, {"sha256": sha256(image)}))
    noted(path, (Step.ASSOCIATE, Outcome.DONE, ours), (Step.PUSH, Outcome.DONE, {**ours, "device": "hub-1"}))
    done = collect(releases, image, journals=[str(path)])
    assert [name.partition("-")[0] for name in done.written] == ["journals/upload", "journals/push"]
    lines = [json.loads(line) for line in (there / done.written[0] / "upload.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == ["upload", "associate"]
    # what a repeated upload notes changes nothing
    noted(path, (Step.PUBLISH, Outcome.NOTHING_TO_DO, ours), (Step.RECORD, Outcome.FOUND, ours))
    assert collect(releases, image, journals=[str(path)]).written == ()
    collecting.verify(str(there))
    problem = tampered(there / done.written[0] / "upload.jsonl")
    with pytest.raises(errors.ConfigError, match="upload.jsonl: has SHA-256") as caught:
        collecting.verify(str(there))
    assert problem in str(caught.value)


def test_a_payload_in_a_release_is_verified_and_one_elsewhere_is_not(tmp_path: Path, image: Path) -> None:
    there = Path(collect(tmp_path / "releases", image).path)
    collecting.verify_around(str(there / "hub_update.bin"))
    collecting.verify_around(str(image))
    tampered(there / "hub_update.bin.spdx.json")
    with pytest.raises(errors.ConfigError):
        collecting.verify_around(str(there / "hub_update.bin.manifest.json"))


def test_names_and_versions_that_are_no_file_names_stay_inside_the_folder(tmp_path: Path) -> None:
    inside = record.OtaRecord({"name": "../Hub/2", "version": ".."})
    path = collecting.path_of(str(tmp_path), inside)
    assert os.path.relpath(path, tmp_path) == "%2E.%2FHub%2F2/%2E."


def test_a_copy_of_the_folder_is_as_good(tmp_path: Path, image: Path) -> None:
    collect(tmp_path / "releases", image)
    shutil.copytree(tmp_path / "releases", tmp_path / "backup")
    [path] = collecting.releases_in(str(tmp_path / "backup"))
    collecting.verify(path)
