# SPDX-License-Identifier: MIT
"""What is in an image, and what changed since an earlier one: facts, changes, Markdown, JSON."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tarfile
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import images
from afero_ota import errors, manifest, payload, report
from afero_ota.report import changes, commits, compression, contents, cves, facts, findings, image_markdown, packages
from afero_ota.report.contents import File
from afero_ota.report.facts import Facts

MANIFEST: dict[str, Any] = images.manifest(
    size=1_234_567,
    machine="qemuarm",
    record={"name": "Gateway", "version": "1.0.2", "versionNumber": "7113", "description": "As a|b shipped"},
    layers={"meta": "scarthgap:0123"},
    packages={"busybox": "1.36.1-r0", "hello": "1.0-r0"},
)


def markdown(document: dict[str, Any], before: dict[str, Any] | None = None) -> str:
    """The Markdown of what only a manifest is known of."""
    changed = changes.compare(Facts(before), Facts(document)) if before else None
    return image_markdown.markdown(Facts(document), changed)


def later(**more: Any) -> dict[str, Any]:
    record = {**MANIFEST["record"], "version": "1.0.3"}
    return {**MANIFEST, "record": record, "sha256": "cd" * 32, **more}


def member(kind: bytes, mode: int, target: str = "", **more: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo()
    info.type, info.mode, info.linkname = kind, mode, target
    for name, value in more.items():
        setattr(info, name, value)
    return info


# ---- what an archive holds -------------------------------------------------------------------------------------------

MEMBERS: dict[str, bytes | tarfile.TarInfo] = {
    ".": member(tarfile.DIRTYPE, 0o755),
    "./.hidden": b"",
    "./usr/bin/su": b"program",
    "./usr/bin/sh": member(tarfile.SYMTYPE, 0o777, "busybox"),
    "./usr/bin/again": member(tarfile.LNKTYPE, 0o755, "./usr/bin/su"),
    "./dev/null": member(tarfile.CHRTYPE, 0o666, devmajor=1, devminor=3),
    "./srv": member(tarfile.DIRTYPE, 0o777, uid=5, gid=6),
}


@pytest.mark.parametrize("name", ["image.tar", "image.tar.gz", "image.tar.xz", "image.tar.zst"])
def test_an_archive_is_listed_with_rights_owners_sizes_and_contents(tmp_path: Path, name: str) -> None:
    path = tmp_path / name.removesuffix(".zst")
    images.write_archive(path, MEMBERS)
    if name.endswith(".zst"):
        tool = shutil.which("zstd")
        assert tool, "no zstd here; run: scripts/setup build"
        subprocess.run([tool, "-q", str(path)], check=True)
        path = tmp_path / name
    found = contents.read(str(path), {"/usr/bin/su": "shadow"})
    digest = hashlib.sha256(b"program").hexdigest()[:16]
    assert found["/usr/bin/su"] == File(0o100644, 0, 0, 7, digest, "shadow")
    assert found["/usr/bin/sh"] == File(0o120777, 0, 0, 0, "busybox", "")
    assert found["/usr/bin/again"] == File(0o100755, 0, 0, 0, "= /usr/bin/su", "")
    assert found["/dev/null"] == File(0o20666, 0, 0, 0, "1:3", "")
    assert found["/srv"] == File(0o40777, 5, 6, 0, "", "")
    assert set(found) == {"/", "/.hidden", "/usr/bin/su", "/usr/bin/sh", "/usr/bin/again", "/dev/null", "/srv"}


@pytest.mark.parametrize("content", [b"hsqs" + bytes(4000), bytes(8192), b"some text\n" * 900, b"x"])
def test_what_is_no_archive_has_no_files(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "image").write_bytes(content)
    assert contents.read(str(tmp_path / "image")) == {}


def test_a_damaged_archive_is_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "image.tar.gz"
    images.write_archive(path, {"a": bytes(range(256)) * 4000})
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(errors.ConfigError, match="cannot be read"):
        contents.read(str(path))


def test_a_name_that_is_not_text_can_be_written(tmp_path: Path) -> None:
    images.write_archive(tmp_path / "image.tar", {"a\udcff\n<b>": b"x"})
    found = contents.read(str(tmp_path / "image.tar"))
    assert list(found) == ["/a\\udcff\n<b>"]
    json.dumps(found, ensure_ascii=False).encode()


def test_reading_an_archive_does_not_keep_it_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "image.tar.gz"
    images.write_archive(path, {f"file-{number}": bytes(1 << 20) for number in range(40)})
    tracemalloc.start()
    try:
        assert len(contents.read(str(path))) == 40
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


# ---- facts -----------------------------------------------------------------------------------------------------------


def test_package_data_gives_recipe_licence_size_and_files() -> None:
    data = {
        "PN": "busybox",
        "LICENSE:busybox": "GPL-2.0-only  & bzip2-1.0.4",
        "PKGSIZE:busybox": "700",
        "FILES_INFO:busybox": '{"/bin/sh": 3, "/bin/busybox": 697}',
    }
    known = json.loads(packages.collect(["busybox", "odd"], lambda name: data if name == "busybox" else {}))
    assert known["busybox"] == {
        "recipe": "busybox",
        "licence": "GPL-2.0-only & bzip2-1.0.4",
        "size": 700,
        "files": ["/bin/busybox", "/bin/sh"],
    }
    assert known["odd"] == {"recipe": "", "licence": "", "size": 0, "files": []}


def packaged(folder: Path, hello: bytes = b"hello\n", version: str = "1.0.2") -> Path:
    """A payload of one package with its manifest, as packaging makes it."""
    folder.mkdir(exist_ok=True)
    images.write_archive(folder / "image.tar.gz", {"./etc/hello": hello, "./etc/version": version.encode()})
    target = folder / "hub_update.bin"
    made = payload.package(str(folder / "image.tar.gz"), str(target))
    manifest.write(made, {**later(packages={"hello": "1.0-r0"}), "sha256": made.sha256, "size": made.size})
    return target


KNOWN = {"hello": {"recipe": "hello", "licence": "MIT", "size": 1, "files": ["/etc/hello"]}}


def gathered(path: Path) -> Facts:
    return facts.gather(str(path), manifest.read(str(path)), KNOWN)


def test_facts_are_kept_beside_the_payload_and_read_from_there(tmp_path: Path) -> None:
    path = packaged(tmp_path)
    found = gathered(path)
    report.write(found, str(path), None, 100, 200, {"meta": ("a commit",)})
    read = facts.load(str(path))
    assert read == replace(found, limit=100, slot=200, commits={"meta": ("a commit",)}, history=())
    assert read.packages["hello"] == ("1.0-r0", "hello", "MIT", 6)
    assert facts.load(f"{path}.manifest.json") == facts.load(f"{path}.report.json") == read


def test_the_same_payload_gives_the_same_report_bytes_in_any_folder(tmp_path: Path) -> None:
    packaged(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    texts = []
    for path in (tmp_path / "one/hub_update.bin", tmp_path / "two/hub_update.bin"):
        report.write(gathered(path), str(path), None, 0, 0, {})
        texts.append([Path(f"{path}.report.{face}").read_bytes() for face in ("json", "html", "md")])
    assert texts[0] == texts[1]
    assert str(tmp_path).encode() not in b"".join(texts[0])


def test_facts_of_another_payload_are_not_taken(tmp_path: Path) -> None:
    path = packaged(tmp_path)
    report.write(gathered(path), str(path), None, 0, 0, {})
    changed = packaged(tmp_path, b"something else\n")
    found = facts.load(str(changed))
    assert found.files["/etc/hello"].size == 15 and found.files["/etc/hello"].package == ""


@pytest.mark.parametrize("text", ["", "[]", '{"format": 1}', '{"format": 9, "manifest": {"sha256": "ab"}}'])
def test_a_file_that_is_no_report_is_a_fault(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.report.json").write_text(text)
    with pytest.raises(errors.ConfigError, match=r"is not the JSON of a report|cannot be read"):
        facts.load(str(tmp_path / "x.report.json"))


def test_a_release_remembers_the_sizes_of_those_before_it() -> None:
    one = Facts(images.manifest("1.0.1", size=10))
    two = Facts(images.manifest("1.0.2", size=20), history=facts.remembered([one], "2"))
    three = Facts(images.manifest("1.0.3", size=30), history=facts.remembered([one, two], "3"))
    assert [(release.version, release.size) for release in three.history] == [("1.0.1", 10), ("1.0.2", 20)]
    assert facts.remembered([one], one.manifest["sha256"]) == ()


def test_setuid_world_writable_and_services_stand_out() -> None:
    found = {
        "/usr/bin/su": (0o104755, ("setuid",)),
        "/usr/bin/wall": (0o102755, ("setgid",)),
        "/srv/x": (0o100666, ("world-writable",)),
        "/srv": (0o40777, ("world-writable",)),
        "/tmp": (0o41777, ()),
        "/bin/sh": (0o120777, ()),
        "/dev/mem": (0o20640, ("device",)),
        "/usr/lib/systemd/system/a.service": (0o100644, ("service",)),
        "/etc/init.d/a": (0o100755, ("service",)),
        "/usr/bin/true": (0o100755, ()),
    }
    for path, (mode, words) in found.items():
        assert facts.remarks(path, File(mode, 0, 0, 0, "", "")) == words, path


def test_the_kernel_its_modules_and_device_trees_are_found() -> None:
    found = findings.kernel(images.facts())
    assert set(found.files) == {"/boot/zImage", "/boot/am335x-bonegreen-wireless.dtb"}
    assert found.modules == {"6.6.87-yocto": (1, 240_000)}
    assert list(found.packages) == ["kernel-image-zimage-6.6.87"]


def test_a_download_and_the_room_in_a_slot_are_reckoned() -> None:
    assert findings.downloads(1_250_000)["10 Mbit/s"] == 1.0
    found = Facts(MANIFEST, files={"/": File(0o40755, 0, 0, 0, "", ""), "/a": File(0o100644, 0, 0, 4097, "", "")})
    assert findings.occupied(found) == 3 * 4096


# ---- changes ---------------------------------------------------------------------------------------------------------


def test_a_package_whose_file_changed_under_the_same_version_has_changed(tmp_path: Path) -> None:
    before, after = gathered(packaged(tmp_path / "a")), gathered(packaged(tmp_path / "b", b"hello there\n", "1.0.3"))
    found = changes.compare(before, after)
    assert [(one.name, one.size, len(one.files)) for one in found.packages] == [("hello", 6, 1), ("", 0, 1)]
    text = image_markdown.markdown(after, found)
    assert "| /etc/hello | 6 → 12 bytes | hello |" in text
    assert "| /etc/version | other content |  |" in text


def test_a_change_names_what_is_newly_remarkable_and_nothing_that_was_so_before() -> None:
    before = images.facts()
    found = changes.compare(before, images.next_release(before))
    assert {one.path: one.remarks for one in found.remarkable} == {
        "/usr/bin/remote-shell": ("setuid",),
        "/usr/lib/systemd/system/remote-shell.service": ("service",),
        "/var/spool/inbox": ("world-writable",),
    }
    document = json.loads(json.dumps(found.document()))
    assert document["packages"]["added"] == {"remote-shell": "0.1-r0"}
    assert list(document["packages"]["changed"]) == ["libcrypto3"]
    assert list(document["packages"]["removed"]) == ["zlib"]
    assert document["remarkable"]["/usr/bin/remote-shell"] == ["setuid"]
    text = image_markdown.markdown(found.after, found)
    assert "1 package changed, 1 added, 1 removed, 1 layer changed since Gateway 1.0.2." in text
    assert "| /usr/bin/remote-shell | new: setuid | remote-shell |" in text
    assert "- openssl: update to 3.0.14 (CVE-2024-4741)" in text


def test_a_changed_right_and_a_changed_licence_are_said() -> None:
    before = images.facts()
    files = {**before.files, "/usr/bin/su": before.files["/usr/bin/su"]._replace(mode=0o100700)}
    known = {**before.packages, "curl": before.packages["curl"]._replace(licence="CLOSED")}
    found = changes.compare(before, replace(before, files=files, packages=known, manifest=images.manifest("1.0.3")))
    assert found.document()["files"]["changed"]["/usr/bin/su"][1]["mode"] == "-rwx------"
    assert found.document()["licences"] == {"curl": [before.packages["curl"].licence, "CLOSED"]}
    assert "| /usr/bin/su | -rwsr-xr-x → -rwx------ | busybox |" in image_markdown.markdown(found.after, found)


def test_the_worst_status_of_a_cve_counts_and_its_change_is_told(tmp_path: Path) -> None:
    def issues(*pairs: tuple[str, str]) -> dict[str, Any]:
        return {"package": [{"name": "a", "issue": [{"id": name, "status": status} for name, status in pairs]}]}

    (tmp_path / "x.vex.json").write_text(json.dumps(issues(("CVE-1", "Patched"), ("CVE-2", "Ignored"))))
    (tmp_path / "x.cve.json").write_text(json.dumps(issues(("CVE-1", "Unpatched"), ("CVE-3", "Patched"))))
    said = {kind: {"file": f"x.{kind}.json", "format": "cve-check JSON"} for kind in ("vex", "cve")}
    found = cves.read(str(tmp_path), said)
    assert found == {"CVE-1": "Unpatched", "CVE-2": "Ignored", "CVE-3": "Patched"}
    after = Facts(later(), cves={**found, "CVE-1": "Patched"})
    text = image_markdown.markdown(after, changes.compare(Facts(MANIFEST, cves=found), after))
    assert "| CVE | CVE-1 | Unpatched | Patched |" in text and "| CVEs | 1 Ignored, 2 Patched |" in text


def test_without_an_sbom_the_report_says_so() -> None:
    assert "| SBOM | no SBOM |" in markdown(MANIFEST)
    known = {"file": "hub_update.bin.spdx.json", "format": "SPDX-3.0.1", "reproducible": True}
    assert "| SBOM | hub_update.bin.spdx.json, SPDX-3.0.1 |" in markdown({**MANIFEST, "sbom": known})


def test_the_commits_of_a_layer_between_two_images_are_told(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@y", *arguments]
        return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()

    git("init", "-q")
    revisions = []
    for number, folder in enumerate(("layer", "layer", "elsewhere", "layer")):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "file").write_text(str(number))
        git("add", "-A")
        git("commit", "-q", "-m", f"commit {number} <in> {folder}")
        revisions.append(git("rev-parse", "HEAD"))
    folders = {"meta-one": str(tmp_path / "layer"), "meta-gone": str(tmp_path / "nowhere")}
    before, after = ({name: f"main:{revision}" for name in folders} for revision in (revisions[0], revisions[3]))
    changed = {**after, "meta-one": f"{after['meta-one']} (modified)"}
    subjects = ("commit 3 <in> layer", "commit 1 <in> layer")
    assert commits.between(folders, before, changed) == {"meta-one": subjects}
    unknown = {name: f"main:{'0' * 40}" for name in folders}
    assert commits.between(folders, unknown, after) == commits.between(folders, after, after) == {}


# ---- sizes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "size"), [("", 0), ("10", 10), ("64M", 64 << 20), ("2k", 2048), (" 1G ", 1 << 30)])
def test_a_size_may_have_a_unit(text: str, size: int) -> None:
    assert payload.byte_count(text) == size


@pytest.mark.parametrize("text", ["64MB", "-1", "big", "M", "1.5G"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=text):
        payload.byte_count(text)


def test_a_payload_over_the_limit_is_refused_with_both_numbers() -> None:
    payload.check_limit(payload.Payload("x", "ab", 1000), 1000)
    payload.check_limit(payload.Payload("x", "ab", 1000), 0)
    with pytest.raises(errors.ConfigError, match=r"has 1,001 bytes, 1 more than the 1,000 allowed"):
        payload.check_limit(payload.Payload("x", "ab", 1001), 1000)


def test_compressing_an_image_gives_the_size_of_each_program(tmp_path: Path) -> None:
    images.write_archive(tmp_path / "image.tar.gz", {"a": b"the same again and again\n" * 20_000})
    found = dict(compression.measure(str(tmp_path / "image.tar.gz")))
    assert list(found) == ["gzip -9", "xz -9", "zstd -3", "zstd -19"]
    assert all(size and 50 < size < 10_000 for size in found.values()), found


# ---- Markdown --------------------------------------------------------------------------------------------------------


def test_a_report_tells_version_file_layers_and_packages() -> None:
    text = markdown(MANIFEST)
    assert text.startswith("# Gateway 1.0.2\n")
    for line in (
        "| version number | 7113 |",
        "| size | 1,234,567 bytes |",
        f"| SHA-256 | {MANIFEST['sha256']} |",
        "## Layers (1)",
        "| meta | scarthgap:0123 |",
        "## Packages (2)",
        "| busybox | 1.36.1-r0 |",
    ):
        assert line in text.splitlines()


def test_a_report_of_a_bare_payload_names_the_file() -> None:
    assert markdown({"file": "hub_update.bin", "sha256": "00", "size": 3}).startswith("# hub_update.bin\n")


def test_added_removed_and_changed_packages_come_first() -> None:
    after = later(size=1_234_000, packages={"busybox": "1.36.1-r1", "new": "2.0-r0"})
    lines = markdown(after, MANIFEST).splitlines()
    assert "## Changes since Gateway 1.0.2" in lines
    assert "The payload is 567 bytes smaller." in lines
    for line in (
        "| package | busybox | 1.36.1-r0 | 1.36.1-r1 |",
        "| package | hello | 1.0-r0 |  |",
        "| package | new |  | 2.0-r0 |",
    ):
        assert lines.index(line) < lines.index("## Layers (1)")


def test_a_changed_layer_is_named() -> None:
    found = changes.compare(Facts(MANIFEST), Facts(later(layers={"meta": "scarthgap:4567"})))
    assert found.document()["layers"]["changed"] == {"meta": ["scarthgap:0123", "scarthgap:4567"]}


def test_equal_payloads_have_no_changes() -> None:
    assert "byte for byte" in markdown(MANIFEST, MANIFEST)


def test_a_pipe_in_a_value_does_not_break_the_table() -> None:
    assert r"| hello | 1\|2 |" in markdown(later(packages={"hello": "1|2"}))


def test_control_characters_are_shown_as_text() -> None:
    hostile = later(packages={"evil\x1b[2J": "1\n| forged | row |"})
    hostile["record"].update(name="Gate\x9bway", description="safe\u202e\n# forged")
    shown = markdown(hostile)
    assert all(line.isprintable() for line in shown.split("\n"))
    assert shown.startswith("# Gate\\x9bway 1.0.3\n\nsafe\\u202e\\n# forged\n")
    assert r"| evil\x1b[2J | 1\n\| forged \| row \| |" in shown
