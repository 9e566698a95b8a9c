# SPDX-License-Identifier: MIT
"""What is in an OTA, for people."""

from __future__ import annotations

import copy
from typing import Any

from afero_ota import report

MANIFEST: dict[str, Any] = {
    "file": "hub_update.bin",
    "sha256": "ab" * 32,
    "size": 1_234_567,
    "image": "core-image-minimal",
    "machine": "qemuarm",
    "distro": "poky 5.0",
    "record": {"name": "Gateway", "version": "1.0.2", "versionNumber": "7113", "description": "As a|b shipped"},
    "layers": {"meta": "scarthgap:0123"},
    "packages": {"busybox": "1.36.1-r0", "hello": "1.0-r0"},
}


def later(**changes: Any) -> dict[str, Any]:
    manifest = copy.deepcopy(MANIFEST)
    manifest["record"]["version"] = "1.0.3"
    return {**manifest, "sha256": "cd" * 32, **changes}


def test_a_report_tells_version_file_layers_and_packages() -> None:
    text = report.markdown(MANIFEST)
    assert text.startswith("# Gateway 1.0.2\n")
    for line in (
        "| version number | 7113 |",
        "| size | 1,234,567 bytes |",
        f"| SHA-256 | {'ab' * 32} |",
        "## Layers (1)",
        "| meta | scarthgap:0123 |",
        "## Packages (2)",
        "| busybox | 1.36.1-r0 |",
    ):
        assert line in text.splitlines()


def test_a_report_of_a_bare_payload_names_the_file() -> None:
    assert report.markdown({"file": "hub_update.bin", "sha256": "00", "size": 3}).startswith("# hub_update.bin\n")


def test_added_removed_and_changed_packages_come_first() -> None:
    after = later(size=1_234_000, packages={"busybox": "1.36.1-r1", "new": "2.0-r0"})
    lines = report.markdown(after, MANIFEST).splitlines()
    assert "## Changes since Gateway 1.0.2" in lines
    assert "The payload is 567 bytes smaller." in lines
    for line in (
        "| package | busybox | 1.36.1-r0 | 1.36.1-r1 |",
        "| package | hello | 1.0-r0 |  |",
        "| package | new |  | 2.0-r0 |",
    ):
        assert lines.index(line) < lines.index("## Layers (1)")


def test_a_changed_layer_is_named() -> None:
    assert report.compare(MANIFEST, later(layers={"meta": "scarthgap:4567"}))["layers"]["changed"] == {
        "meta": ["scarthgap:0123", "scarthgap:4567"]
    }


def test_equal_payloads_have_no_changes() -> None:
    assert "byte for byte" in report.markdown(MANIFEST, MANIFEST)


def test_a_pipe_in_a_value_does_not_break_the_table() -> None:
    assert r"| hello | 1\|2 |" in report.markdown(later(packages={"hello": "1|2"}))


def test_control_characters_are_shown_as_text() -> None:
    hostile = later(packages={"evil\x1b[2J": "1\n| forged | row |"})
    hostile["record"].update(name="Gate\x9bway", description="safe\u202e\n# forged")
    shown = report.markdown(hostile)
    assert all(line.isprintable() for line in shown.split("\n"))
    assert shown.startswith("# Gate\\x9bway 1.0.3\n\nsafe\\u202e\\n# forged\n")
    assert r"| evil\x1b[2J | 1\n\| forged \| row \| |" in shown
