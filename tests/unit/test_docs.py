# SPDX-License-Identifier: MIT
"""The pages of the documentation: short enough, reachable, and without dead links."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

import pages

every_page = pytest.mark.parametrize("page", pages.all_pages(), ids=pages.name)


@every_page
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    dead = []
    for link in pages.links(page):
        if re.match(r"https?:", link):
            continue
        path, _, anchor = link.partition("#")
        target = Path(os.path.normpath(page.parent / path)) if path else page
        if not target.exists() or (anchor and anchor not in pages.anchors(target)):
            dead.append(link)
    assert not dead


@every_page
def test_every_project_path_that_a_page_names_exists(page: Path) -> None:
    rooms = "bitbake-setup|docs|kas|meta-afero-ota|scripts|tests"
    named = re.findall(rf"(?<![\w/.-])(?:{rooms})/[\w./-]*[\w/]", page.read_text())
    wrong = {path for path in named if not (pages.PROJECT / path).exists() and not (page.parent / path).exists()}
    # the repository's folder has the layer's name; a name in capitals is the reader's to fill in
    assert not {path for path in wrong if not re.search(r"^meta-afero-ota/meta-afero-ota|/[A-Z]+\b", path)}


def test_no_page_is_longer_than_200_lines_and_the_readme_fits_on_one() -> None:
    lengths = {pages.name(page): len(page.read_text().splitlines()) for page in pages.all_pages()}
    assert lengths["README.md"] <= 120
    assert max(lengths.values()) <= 200, lengths


def test_the_index_lists_every_page_and_the_readme_links_to_most() -> None:
    here = {page.name for page in pages.DOCS.glob("*.md")} - {"README.md"}
    assert set(pages.links(pages.DOCS / "README.md")) - {"../README.md"} == here
    linked = {link.removeprefix("docs/") for link in pages.links(pages.PROJECT / "README.md")}
    # these are for readers of a page that the README links to
    assert here - linked == {
        "bring-up.md",
        "command-line-devices.md",
        "command-line-release.md",
        "device-internals.md",
        "local-service.md",
        "login.md",
        "performance.md",
        "update-costs.md",
    }


def test_yocto_check_layer_does_not_skip_the_layers_readme() -> None:
    """It demands a maintainer, where to send patches and an @, but of no file that mentions another README."""
    text = (pages.PROJECT / "meta-afero-ota" / "README.md").read_text()
    assert "readme" not in text.lower()
    assert "maintainer" in text.lower() and "patch" in text.lower()
    assert re.match(r"[^@]+@[^@]+", text)


def test_both_security_files_say_the_same() -> None:
    """The layer may be used without the rest of the repository."""
    project = (pages.PROJECT / "SECURITY.md").read_text()
    layer = (pages.PROJECT / "meta-afero-ota" / "SECURITY.md").read_text()
    assert layer == project.replace("meta-afero-ota/conf/", "conf/").replace("(docs/", "(../docs/")


def test_no_page_names_an_address_that_cannot_exist() -> None:
    assert not [pages.name(page) for page in pages.all_pages() if ".invalid" in page.read_text()]
