# SPDX-License-Identifier: MIT
"""The page of a rollout in a real browser, where Chromium is installed (apt-get install chromium)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import stories
from afero_ota.report import rollout_page
from browser import CHROMIUM, Browser

pytestmark = pytest.mark.skipif(
    not CHROMIUM, reason="NO CHROMIUM HERE: the page of a rollout is not opened in a browser"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as one:
        yield one


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "rollout.html"
    path.write_text(rollout_page.html(stories.finished(300)))
    return path


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 768, 1280])
def test_the_page_fits_asks_for_nothing_and_leaves_the_console_empty(
    browser: Browser, page: Path, width: int, scheme: str
) -> None:
    browser.open(page, width=width, scheme=scheme)
    assert browser.evaluate("document.documentElement.scrollWidth") == width
    assert browser.evaluate("getComputedStyle(document.body).backgroundColor") == (
        "rgb(246, 247, 249)" if scheme == "light" else "rgb(15, 18, 22)"
    )
    assert browser.requests == [page.as_uri()] and browser.complaints == []


def test_devices_can_be_searched_filtered_and_sorted(browser: Browser, page: Path) -> None:
    browser.open(page)
    shown = "[...document.querySelectorAll('#devices tbody tr')].filter((row) => !row.hidden)"
    assert browser.evaluate("document.querySelector('#devices form').hidden") is False
    enter = "form.dispatchEvent(new Event('input'))"
    browser.evaluate(f"form = document.forms[0]; form.elements.words.value = 'FIT refused'; {enter}")
    found = browser.evaluate(f"{shown}.map((row) => row.cells[4].textContent)")
    assert found and set(found) == {"refused: does not fit"}
    browser.evaluate(f"form.elements.words.value = ''; form.elements.state.value = 'done'; {enter}")
    assert set(browser.evaluate(f"{shown}.map((row) => row.cells[3].textContent)")) == {"done"}
    browser.evaluate(f"form.elements.state.value = ''; {enter}")
    click = "document.querySelectorAll('#devices th button')[5].click()"
    took = f"{shown}.map((row) => row.cells[5].textContent.trim())"
    for down in (False, True):
        browser.evaluate(click)
        times = browser.evaluate(took)
        known = [time for time in times if time]
        assert len(times) == 300 and times[: len(known)] == sorted(known, key=seconds, reverse=down)
    assert browser.complaints == []


def test_the_page_is_complete_without_its_script(browser: Browser, page: Path) -> None:
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(page)
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
    assert browser.evaluate("document.querySelectorAll('#devices tbody tr').length") == 300
    assert browser.evaluate("document.querySelector('form').checkVisibility()") is False
    assert browser.evaluate("document.querySelector('#devices td').checkVisibility()") is True


HOSTILE = "</td></table></script><script>alert(1)</script><img src=http://127.0.0.1:9/x onerror=alert(2)>\"'><svg onload=alert(3)>"


def test_hostile_text_is_only_text(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "hostile.html"
    path.write_text(rollout_page.html(stories.named(HOSTILE)))
    browser.open(path)
    assert browser.requests == [path.as_uri()] and browser.complaints == []
    assert browser.evaluate("document.querySelectorAll('img, script').length") == 1
    assert HOSTILE in browser.evaluate("document.querySelector('#devices').textContent")


def test_a_script_that_gets_in_all_the_same_is_not_run(browser: Browser, page: Path, tmp_path: Path) -> None:
    """The second line of defence: the page's policy."""
    path = tmp_path / "injected.html"
    injected = "<script>window.ran = 1</script><img src=http://127.0.0.1:9/x onerror='window.ran = 2'><p style='color: red'>x</p>"
    path.write_text(page.read_text().replace("<main>", f"<main>{injected}", 1))
    browser.open(path)
    assert browser.evaluate("typeof window.ran") == "undefined"
    said = " ".join(str(one["params"]) for one in browser.complaints)
    assert "script-src" in said and "img-src" in said and "style-src" in said


def seconds(clock: str) -> int:
    hours, minutes, rest = map(int, clock.split(":"))
    return hours * 3600 + minutes * 60 + rest
