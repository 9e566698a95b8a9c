# SPDX-License-Identifier: MIT
"""The page of an image in a real browser, where Chromium is installed (apt-get install chromium)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import images
from afero_ota.report import changes, image_page
from browser import CHROMIUM, Browser

pytestmark = pytest.mark.skipif(
    not CHROMIUM, reason="NO CHROMIUM HERE: the page of an image is not opened in a browser"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as one:
        yield one


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    before = images.facts(300)
    after = images.next_release(before)
    path.write_text(image_page.html(after, changes.compare(before, after), [("xz -9", 20_000_000), ("zstd -3", None)]))
    return path


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 768, 1280])
def test_the_page_fits_asks_for_nothing_and_leaves_the_console_empty(
    browser: Browser, page: Path, width: int, scheme: str
) -> None:
    browser.open(page, width=width, scheme=scheme)
    assert browser.evaluate("document.documentElement.scrollWidth") == width
    assert browser.requests == [page.as_uri()] and browser.complaints == []
    shown = "[...document.querySelectorAll('.treemap')].filter((map) => map.checkVisibility()).length"
    assert browser.evaluate(shown) == 1


@pytest.mark.parametrize("width", [360, 1280])
def test_the_change_is_on_the_first_screen(browser: Browser, page: Path, width: int) -> None:
    browser.open(page, width=width, height=900)
    top = "(selector) => document.querySelector(selector).getBoundingClientRect().bottom"
    assert browser.evaluate(f"({top})('.verdict')") < 900
    assert browser.evaluate(f"({top})('#changes li')") < 900


def test_every_link_leads_somewhere(browser: Browser, page: Path) -> None:
    browser.open(page)
    dead = "[...document.querySelectorAll('a')].filter((a) => !document.querySelector(a.getAttribute('href'))).length"
    assert browser.evaluate("document.querySelectorAll('a').length") > 100
    assert browser.evaluate(dead) == 0


def test_packages_can_be_searched_and_sorted_by_size(browser: Browser, page: Path) -> None:
    browser.open(page)
    shown = "[...document.querySelectorAll('#packages tbody tr')].filter((row) => !row.hidden)"
    assert browser.evaluate(f"{shown}.length") == 300
    enter = "form.dispatchEvent(new Event('input'))"
    browser.evaluate(f"form = document.forms[0]; form.elements.words.value = 'remote CLOSED'; {enter}")
    assert browser.evaluate(f"{shown}.map((row) => row.querySelector('summary').textContent)") == ["remote-shell"]
    assert browser.evaluate("document.querySelector('#packages output').textContent") == "1 of 300 packages"
    browser.evaluate(f"form.elements.words.value = ''; {enter}")
    browser.evaluate("document.querySelectorAll('#packages th button')[2].click()")
    sizes = browser.evaluate(f"{shown}.map((row) => Number(row.cells[2].dataset.sort))")
    assert len(sizes) == 300 and sizes == sorted(sizes)
    assert browser.complaints == []


HOSTILE = "</td></table></script><script>alert(1)</script><img src=http://127.0.0.1:9/x onerror=alert(2)>\"'><svg onload=alert(3)>"


def test_hostile_names_are_only_text(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "hostile.html"
    before = images.facts(6, suffix=HOSTILE)
    after = images.next_release(before)
    path.write_text(image_page.html(after, changes.compare(before, after)))
    browser.open(path)
    assert browser.requests == [path.as_uri()] and browser.complaints == []
    assert browser.evaluate("document.querySelectorAll('img, script').length") == 1
    assert HOSTILE in browser.evaluate("document.querySelector('#packages').textContent")


def test_the_page_is_complete_without_its_script(browser: Browser, page: Path) -> None:
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(page)
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
    assert browser.evaluate("document.querySelectorAll('#packages tbody tr').length") == 300
    assert browser.evaluate("document.querySelector('#packages form').checkVisibility()") is False
