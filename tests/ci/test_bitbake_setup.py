# SPDX-License-Identifier: MIT
"""The configurations of bitbake-setup: the same sources, fragments and environment as the kas files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

PROJECT = Path(__file__).resolve().parents[2]
LAYERS = {"afero-ota": PROJECT / "meta-afero-ota", "hermetic": PROJECT / "scripts/rehearsal/meta-hermetic"}
FILES = sorted((PROJECT / "bitbake-setup").glob("*.conf.json"))


def kas(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((PROJECT / "kas" / name).read_text())
    return document


def read(file: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The document, and its only configuration."""
    document = json.loads(file.read_text())
    (configuration,) = document["bitbake-setup"]["configurations"]
    return document, configuration


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_sources_are_those_of_kas_at_the_same_commits(file: Path) -> None:
    commits = {name: repo["commit"] for name, repo in kas("wrynose.lock.yml")["overrides"]["repos"].items()}
    wanted = {
        name: {
            "uri": kas("base.yml")["repos"][name]["url"],
            "branch": kas("wrynose.yml")["repos"][name]["branch"],
            "rev": commit,
        }
        for name, commit in commits.items()
    }
    assert {name: source["git-remote"] for name, source in read(file)[0]["sources"].items()} == wanted


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_fragment_and_every_layer_of_this_project_exists(file: Path) -> None:
    configuration = read(file)[1]
    kinds = [option["name"] for option in configuration["oe-fragments-one-of"]["type"]["options"]]
    for fragment in (*configuration["oe-fragments"], *kinds):
        layer, _, name = fragment.partition("/")
        assert layer in ("machine", "distro") or (LAYERS[layer] / "conf/fragments" / f"{name}.conf").is_file()
    for path in configuration["bb-layers-file-relative"]:
        assert (file.parent / path / "conf/layer.conf").is_file()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_environment_that_is_passed_on_is_that_of_kas(file: Path) -> None:
    names = {name for topic in ("base.yml", "cache.yml") for name in kas(topic)["env"]}
    assert set(read(file)[1]["bb-env-passthrough-additions"]) == names


def test_what_kas_says_to_bitbake_are_fragments_only() -> None:
    """So that there is one text for both."""
    for path in sorted((PROJECT / "kas").glob("*.yml")):
        for text in (yaml.safe_load(path.read_text()).get("local_conf_header") or {}).values():
            lines = [line for line in text.splitlines() if not line.startswith("#")]
            for line in lines:
                assert line.startswith("OE_FRAGMENTS += ") or line == "require conf/afero-ota-fragments.inc", path.name
