# SPDX-License-Identifier: MIT
"""The reports of OE-Core's CVE checkers, in real builds with a database of two vulnerabilities: one that hello-data has, one that it had."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import sys
from pathlib import Path
from typing import Any

from rehearsal.build import Build, Workspace

IMAGE = "core-image-minimal"
CLASS = f'IMAGE_CLASSES:append:pn-{IMAGE} = " afero-ota"\n'
FILES = ("kas/offline.yml",)
OPEN, FIXED = "CVE-2026-10001", "CVE-2026-10002"
# the tables of cve-update-nvd2-native, which would fill them from the NVD
TABLES = """
CREATE TABLE META (YEAR INTEGER UNIQUE, DATE TEXT);
CREATE TABLE NVD (ID TEXT UNIQUE, SUMMARY TEXT, SCOREV2 TEXT, SCOREV3 TEXT, SCOREV4 TEXT, MODIFIED INTEGER, VECTOR TEXT, VECTORSTRING TEXT);
CREATE TABLE PRODUCTS (ID TEXT, VENDOR TEXT, PRODUCT TEXT, VERSION_START TEXT, OPERATOR_START TEXT, VERSION_END TEXT, OPERATOR_END TEXT);
"""
CVE_CHECK = """
INHERIT:append = " cve-check"
CVE_DB_UPDATE_INTERVAL = "-1"
CVE_CHECK_SHOW_WARNINGS = "0"
DL_DIR = "${TOPDIR}/downloads"
# of OE-Core's recipes that of the database only
BBMASK = "/meta/recipes-(?!core/meta/cve-update-nvd2) /meta-poky/recipes-"
"""
SBOM_CVE_CHECK = """
INHERIT:append = " create-spdx-3.0"
IMAGE_CLASSES:append = " sbom-cve-check"
SBOM_CVE_CHECK_EXPORT_VARS:append = " SBOM_CVE_CHECK_EXPORT_SUMMARY"
SBOM_CVE_CHECK_SHOW_WARNINGS = "0"
# the databases, which OE-Core's recipes would fetch
SBOM_CVE_CHECK_UPDATE_DB_DEPENDENCIES = ""
SBOM_CVE_CHECK_DEPLOY_DB_DIR = "${TOPDIR}/databases"
"""


def beside(build: Build, name: str) -> bytes:
    return (build.deploy / f"{IMAGE}-ota" / f"hub_update.bin{name}").read_bytes()


def manifest(build: Build) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(beside(build, ".manifest.json"))
    return document


def give(workspace: Workspace, folder: Path) -> None:
    """Let the build user write there."""
    for path in (folder, *folder.rglob("*")):
        os.chown(path, workspace.user.pw_uid, workspace.user.pw_gid)


def statuses(report: bytes) -> dict[str, str]:
    [package] = [one for one in json.loads(report)["package"] if one["name"] == "hello-data"]
    return {issue["id"]: issue["status"] for issue in package["issue"]}


def test_the_reports_of_cve_check_are_kept_beside_the_payload(scarthgap: Workspace, folder: Path) -> None:
    build = scarthgap.build(folder / "scarthgap", CLASS + CVE_CHECK, files=FILES)
    database = build.folder / "downloads" / "CVE_CHECK" / "nvdcve_2-2.db"
    database.parent.mkdir(parents=True)
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.executescript(TABLES)
        for cve, limit in ((OPEN, "999"), (FIXED, "0.1")):
            connection.execute("INSERT INTO NVD VALUES (?, 'of a test', '5', '5', '5', 0, 'NETWORK', '')", (cve,))
            connection.execute("INSERT INTO PRODUCTS VALUES (?, 'x', 'hello-data', '', '', ?, '<')", (cve, limit))
    give(scarthgap, build.folder / "downloads")
    done = build.bitbake(IMAGE)
    assert done.returncode == 0, done.output
    assert statuses(beside(build, ".cve.json")) == {OPEN: "Unpatched", FIXED: "Patched"}
    assert f"CVE: {OPEN}\nCVE STATUS: Unpatched" in beside(build, ".cve.txt").decode()
    assert {"cve", "cveText"} <= manifest(build).keys()
    assert OPEN in beside(build, ".report.html").decode()


def test_the_reports_of_sbom_cve_check_are_kept_beside_the_payload(wrynose: Workspace, folder: Path) -> None:
    program = f'SBOM_CVE_CHECK_PROGRAM = "{Path(sys.executable).parent}/sbom-cve-check"\n'
    files = (*FILES, "tests/bitbake/products.yml")
    build = wrynose.build(folder / "wrynose", CLASS + SBOM_CVE_CHECK + program, files=files)
    databases = build.folder / "databases"
    for cve, limit in ((OPEN, "999"), (FIXED, "0.1")):
        match = {"vulnerable": True, "criteria": "cpe:2.3:a:x:hello-data:*:*:*:*:*:*:*:*", "versionEndExcluding": limit}
        record = {"id": cve, "configurations": [{"nodes": [{"operator": "OR", "cpeMatch": [match]}]}]}
        path = databases / "nvd-fkie" / "CVE-2026" / f"{cve[:-2]}xx" / f"{cve}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record))
    (databases / "cvelist").mkdir()
    give(wrynose, databases)
    for name in ("nvd-fkie", "cvelist"):
        commit = "git init -q . && git -c user.name=x -c user.email=x@y commit -q --allow-empty -m test"
        assert wrynose.run(["sh", "-c", commit], databases / name).returncode == 0
    done = build.bitbake(IMAGE)
    assert done.returncode == 0, done.output
    assert statuses(beside(build, ".cve.json")) == {OPEN: "Unpatched", FIXED: "Patched"}
    assert OPEN in beside(build, ".cve.txt").decode() and OPEN in beside(build, ".cve.spdx.json").decode()
    assert {"sbom", "cve", "cveText", "cveSpdx"} <= manifest(build).keys()
    assert OPEN in beside(build, ".report.html").decode()
