# SPDX-License-Identifier: MIT
"""Who is affected: what is asked, how versions are compared, which releases and devices are named, and how fast."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from afero_ota import errors, manifest, payload
from afero_ota.release import affected, collecting, versions


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("3.0.13", "3.0.14"),
        ("3.0.9", "3.0.10"),
        ("1.0", "1.0.1"),
        ("1.0~rc1", "1.0"),
        ("1.0", "1.0rc1"),
        ("1.0a", "1.0b"),
        ("2.0-r0", "2.0-r1"),
        ("9.9", "1:0.1"),
        ("2024b", "2025a"),
    ],
)
def test_versions_are_ordered_as_bitbake_orders_them(older: str, newer: str) -> None:
    assert (versions.compare(older, newer), versions.compare(newer, older)) == (-1, 1)
    assert versions.compare(older, older) == 0


@pytest.mark.parametrize("version", ["3.0.14-r0", "3.0.14-r7", "1:3.0.14-r0", "3.0.14"])
def test_a_version_is_compared_only_as_far_as_it_was_said(version: str) -> None:
    assert versions.compare_said(version, "3.0.14") == 0
    assert versions.compare_said("3.0.14-r1", "3.0.14-r2") == -1
    assert versions.compare_said("1:3.0.14-r0", "0:3.0.14") == 1


@pytest.mark.parametrize(
    ("text", "name", "conditions", "cve"),
    [
        ("openssl", "openssl", (), ""),
        ("openssl<3.0.14", "openssl", (("<", "3.0.14"),), ""),
        (" gtk+3 >= 3.24 , < 3.25 ", "gtk+3", ((">=", "3.24"), ("<", "3.25")), ""),
        ("libssl3==1:3.0-r1", "libssl3", (("==", "1:3.0-r1"),), ""),
        ("cve-2024-4741", "", (), "CVE-2024-4741"),
    ],
)
def test_what_is_asked(text: str, name: str, conditions: tuple[tuple[str, str], ...], cve: str) -> None:
    found = affected.parse(text)
    assert (found.name, found.conditions, found.cve) == (name, conditions, cve)


@pytest.mark.parametrize(
    "text", ["", "<3", "openssl<", "openssl 3", "openssl<3,", "openssl<x:1", "openssl<3<4", "CVE-24-1"]
)
def test_what_cannot_be_asked_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(errors.ConfigError, match=r"openssl>=3.0,<3.0.14"):
        affected.parse(text)


def release(
    folder: Path,
    version: str,
    number: str,
    openssl: str = "",
    cves: dict[str, str] | None = None,
    name: str = "Gateway",
    packages: int = 0,
) -> None:
    """A release of an image with openssl in this version, and a report with these CVEs of it."""
    build = folder / "build"
    build.mkdir(parents=True, exist_ok=True)
    for old in build.iterdir():
        old.unlink()
    path = build / "hub_update.bin"
    path.write_text(f"{name} {version}")
    facts: dict[str, Any] = {
        "record": {"name": name, "type": 5, "version": version, "versionNumber": number},
        "packages": {"base-files": "1.0-r0", **{f"package-{one}": f"{one}.0-r0" for one in range(packages)}},
        "recipes": {"base-files": "1.0"},
    }
    if openssl:
        facts["packages"].update({"libssl3": f"{openssl}-r0"})
        facts["recipes"].update({"openssl": openssl})
    if cves is not None:
        report = build / "hub_update.bin.cve.json"
        issues = [{"id": cve, "status": status} for cve, status in cves.items()]
        report.write_text(json.dumps({"package": [{"name": "openssl", "version": openssl, "issue": issues}]}))
        facts["cve"] = {"file": report.name, "sha256": hashlib.sha256(report.read_bytes()).hexdigest()}
    manifest.write(payload.measure(str(path)), facts)
    collecting.collect(str(folder / "releases"), str(path))


@pytest.fixture
def releases(tmp_path: Path) -> str:
    """Three releases of Gateway, of which the first two have an old openssl, and one of another product that has it too."""
    release(tmp_path, "1.0.1", "7001", "3.0.12", {"CVE-2024-0001": "Unpatched"})
    release(tmp_path, "1.0.2", "7002", "3.0.13", {"CVE-2024-0001": "Unpatched", "CVE-2024-0002": "Unpatched"})
    release(tmp_path, "1.0.10", "7003", "3.0.14", {"CVE-2024-0001": "Patched", "CVE-2024-0002": "Unpatched"})
    release(tmp_path, "2.0.1", "8001", "3.0.13", name="Sensor")
    return str(tmp_path / "releases")


DEVICES = [("hub-1", 7001), ("hub-2", 7002), ("hub-3", 7003), ("hub-4", 6000), ("hub-5", None), ("hub-6", 7001)]


def names(found: tuple[affected.Release, ...]) -> list[str]:
    return [f"{one.name} {one.version}" for one in found]


def test_an_old_package_leads_to_releases_devices_and_the_release_that_fixes_it(releases: str) -> None:
    answer = affected.answer(affected.look(releases, affected.parse("openssl<3.0.14")), DEVICES)
    assert names(answer.releases) == ["Gateway 1.0.1", "Gateway 1.0.2", "Sensor 2.0.1"]
    assert answer.releases[0].found == ("recipe openssl 3.0.12",)
    assert {number: list(ids) for number, ids in answer.devices.items()} == {
        "7001": ["hub-1", "hub-6"],
        "7002": ["hub-2"],
        "7003": ["hub-3"],
    }
    assert names(answer.fixes) == ["Gateway 1.0.10"]
    assert answer.unknown == ("hub-4", "hub-5")


@pytest.mark.parametrize(
    ("query", "hit"),
    [
        ("openssl", ["Gateway 1.0.1", "Gateway 1.0.2", "Gateway 1.0.10", "Sensor 2.0.1"]),
        ("libssl3>3.0.12,<=3.0.13", ["Gateway 1.0.2", "Sensor 2.0.1"]),
        ("openssl=3.0.14", ["Gateway 1.0.10"]),
        ("busybox", []),
    ],
)
def test_names_are_those_of_packages_and_recipes(releases: str, query: str, hit: list[str]) -> None:
    assert names(affected.answer(affected.look(releases, affected.parse(query))).releases) == hit


def test_a_cve_is_looked_for_in_the_reports_and_a_release_without_one_is_unknown(releases: str) -> None:
    answer = affected.answer(affected.look(releases, affected.parse("CVE-2024-0001")))
    assert (names(answer.releases), names(answer.fixes)) == (["Gateway 1.0.1", "Gateway 1.0.2"], ["Gateway 1.0.10"])
    assert names(answer.silent) == ["Sensor 2.0.1"]
    answer = affected.answer(affected.look(releases, affected.parse("CVE-2024-0002")))
    assert names(answer.releases) == ["Gateway 1.0.2", "Gateway 1.0.10"]
    assert names(answer.silent) == ["Gateway 1.0.1", "Sensor 2.0.1"], "its report does not mention the CVE"


@pytest.mark.parametrize(
    ("name", "query"), [("hub_update.bin.manifest.json", "openssl"), ("cves.json", "CVE-2024-0001")]
)
def test_a_file_that_was_tampered_with_is_named_with_both_hashes(releases: str, name: str, query: str) -> None:
    path = Path(releases) / "Gateway" / "1.0.2" / name
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    path.chmod(0o644)
    path.write_text(path.read_text().replace("openssl", "harmless"))
    with pytest.raises(errors.ConfigError) as caught:
        affected.look(releases, affected.parse(query))
    wrong = hashlib.sha256(path.read_bytes()).hexdigest()
    assert f"{path}: has SHA-256 {wrong}, expected {right}" in str(caught.value)


def test_500_releases_and_10000_devices_take_less_than_five_seconds(tmp_path: Path) -> None:
    release(tmp_path, "1.0.0", "10000", "3.0.13", packages=5000)
    first = tmp_path / "releases" / "Gateway" / "1.0.0"
    index = json.loads((first / "index.json").read_text())
    for number in range(1, 500):
        other = first.with_name(f"1.0.{number}")
        other.mkdir()
        for path in first.glob("hub*"):
            os.link(path, other / path.name)
        said = {**index, "version": other.name, "versionNumber": str(10_000 + number)}
        (other / "index.json").write_text(json.dumps(said))
    devices = [(f"hub-{number}", 10_000 + number % 600) for number in range(10_000)]
    began = time.process_time()
    answer = affected.answer(affected.look(str(tmp_path / "releases"), affected.parse("openssl<3.0.14")), devices)
    # processor time: other work of this machine does not count
    assert time.process_time() - began < 5
    assert (len(answer.releases), sum(map(len, answer.devices.values()))) == (500, 8_400)
