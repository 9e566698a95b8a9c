# SPDX-License-Identifier: MIT
"""The page of a rollout: valid, complete, harmless, and small enough for 10,000 devices."""

from __future__ import annotations

import re
import time
from collections import Counter
from dataclasses import replace

import html5lib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import stories
from afero_ota.plan import Image, Plan, Target, Wave
from afero_ota.report import page, rollout_page
from afero_ota.rollout import story
from afero_ota.rollout.decision import State, Verdict
from outline import Outline, contrast

HOSTILE = "</td></table><script>alert(1)</script><img src=//evil.example/x onerror=alert(2)>\"'&\x1b[2J\u202e\ud800"


@pytest.mark.parametrize("verdict", Verdict)
@pytest.mark.parametrize("size", [1, 60])
def test_every_verdict_gives_valid_html_that_says_it(verdict: Verdict, size: int) -> None:
    source = rollout_page.html(stories.at(stories.finished(size), verdict, "canaries: too many failed"))
    # raises ParseError at the first fault
    html5lib.HTMLParser(strict=True).parse(source)
    words = {"running": "Running", "soaking": "Watching", "paused": "Paused", "aborted": "Aborted"}
    assert words.get(verdict.value, "Finished") in Outline(source).text


def test_a_rollout_that_has_not_started_has_a_page() -> None:
    wave = Wave("all", (Target("a", "", 7001), Target("b")))
    plan = Plan("partner", "type", "account", Image("1", "Gateway", "1.0.2", 7112), (wave,))
    source = rollout_page.html(story.build(plan, []))
    html5lib.HTMLParser(strict=True).parse(source)
    text = Outline(source).text
    assert "2 devices in 1 wave to update to version 7112" in text and "Not started" in text
    assert "unknown → unknown" in text and "Progress over time" not in text


def test_the_page_tells_of_every_device_and_its_story() -> None:
    found = stories.finished(200)
    outline = Outline(rollout_page.html(found))
    for one in found.devices:
        assert one.device_id in outline.text and one.name in outline.text and one.reason in outline.text
    assert outline.text.count("the cloud accepted the push") == sum(1 for one in found.devices if one.events)
    assert f"{found.totals[State.DONE]} of 200 devices run version 7112" in outline.text
    for reason, number in found.reasons.items():
        assert re.search(rf"{re.escape(reason)} ?{number} \(", outline.text), reason


def test_devices_that_failed_come_first() -> None:
    states = re.findall(r'class="state \w+">([a-z ]+)<', rollout_page.html(stories.finished(200)))
    order = [
        state for state, _ in sorted(dict.fromkeys((one, 0) for one in states), key=lambda one: states.index(one[0]))
    ]
    assert len(states) == 200 and order == ["failed", "silent", "unreachable", "done", "newer"]


def test_a_wave_shows_its_rules_and_how_it_ended() -> None:
    aborted = stories.at(stories.finished(300), Verdict.ABORTED, "tenth: 9 of 27 devices failed or fell silent")
    text = Outline(rollout_page.html(aborted)).text
    assert "✕ Ended the rollout: 9 of 27 devices failed or fell silent" in text
    assert "At most 50 at a time. Limits: 10m to begin, 1h to end, 1d offline." in text
    assert "more than 10% of those that reported, 5 or more, failed or fell silent" in text
    assert "At once on: refused: other hardware." in text
    assert text.count("Next wave once 90% run it and 10m have passed.") == 2
    assert text.count("Watched for 10m at the end.") == 1


def test_the_same_story_gives_the_same_page() -> None:
    assert rollout_page.html(stories.finished(50)) == rollout_page.html(stories.finished(50))


def test_the_page_may_load_and_run_nothing_but_its_own() -> None:
    source = rollout_page.html(stories.finished(20))
    policy = re.search(r'<meta http-equiv="Content-Security-Policy" content="([^"]+)">', source)
    assert policy
    assert policy[1].startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "unsafe" not in policy[1] and "*" not in policy[1] and "http" not in policy[1]
    # it stands before everything that it governs
    assert source.index("Content-Security-Policy") < source.index("<style") < source.index("<script")
    assert not re.search(r"https?:|//\w|url\(|@import", re.sub(r"(?m)^ *// .*$", "", source))
    outline = Outline(source)
    assert not {name for _, name in outline.names if name.startswith("on") or name in ("style", "src")}
    assert {value for name, value in outline.attributes if name == "href"} == {"data:,"}


def test_a_hostile_text_adds_no_element_and_no_attribute() -> None:
    plain, hostile = (
        Outline(rollout_page.html(stories.named("harmless"))),
        Outline(rollout_page.html(stories.named(HOSTILE))),
    )
    assert hostile.tags == plain.tags and hostile.names == plain.names
    assert "<script>alert(1)</script>" in hostile.text
    assert r"\x1b[2J\u202e\ud800" in hostile.text and not re.search("[\x1b\u202e]", hostile.text)


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(), min_size=1, max_size=40))
def test_any_text_stays_text(text: str) -> None:
    source = rollout_page.html(stories.named(text, 3))
    source.encode()
    html5lib.HTMLParser(strict=True).parse(source)
    outline = Outline(source)
    assert outline.tags == Outline(rollout_page.html(stories.named("harmless", 3))).tags
    assert outline.names == Outline(rollout_page.html(stories.named("harmless", 3))).names


@given(st.text(st.characters(), max_size=400))
def test_escaping_leaves_no_character_that_means_something(text: str) -> None:
    assert not re.search(r"[<>\"'\n\x00-\x1f\u202a-\u202e]", page.text(text))
    assert len(page.element("p", text, title=text)) < 20 + 2 * 10 * 300


def test_ten_thousand_devices_make_less_than_5_mb_in_seconds() -> None:
    found = stories.finished(10_000)
    found = replace(
        found,
        # as many events as a page shows, names of a usual length
        devices=tuple(replace(one, name=f"Kitchen gateway {one.name}") for one in found.devices),
    )
    begin = time.process_time()
    source = rollout_page.html(found)
    assert time.process_time() - begin < 10
    assert len(source.encode()) < 5_000_000
    assert source.count("<tr><td>") >= 10_000


def test_a_device_with_very_many_events_shows_the_first_and_the_last() -> None:
    found = stories.finished(3)
    events = tuple((stories.T0 + number, f"event {number}.") for number in range(1000))
    source = rollout_page.html(replace(found, devices=(replace(found.devices[0], events=events), *found.devices[1:])))
    assert "event 0." in source and "event 5." in source and "event 994." in source and "event 999." in source
    assert "… 988 more, which the journal has" in source and "event 6." not in source


@pytest.mark.parametrize("times", [[], [0.0], [5.0, 1.0, 3.0], [float(n) for n in range(5000)]])
def test_the_chart_has_few_steps_and_never_runs_back(times: list[float]) -> None:
    progress = tuple(
        (stories.T0 + when, Counter({State.DONE: number, State.WAITING: 9})) for number, when in enumerate(times)
    )
    found = replace(stories.finished(30), progress=progress, updated=stories.T0 + 5000)
    source = rollout_page.html(found)
    for path in re.findall(r' d="([^"]+)"', source):
        assert re.fullmatch(r"M[\d.]+ -?[\d.]+(?:H-?[\d.]+(?:V-?[\d.]+)?)+Z", path)
        xs = [float(x) for x in re.findall(r"H([\d.]+)", path)]
        turn = xs.index(1000.0)
        assert xs[: turn + 1] == sorted(xs[: turn + 1]) and xs[turn:] == sorted(xs[turn:], reverse=True)
    assert len(source) < 150_000


def test_colours_have_enough_contrast_in_both_schemes() -> None:
    """WCAG 2.2: 4.5 for text, 3 for what a chart draws."""
    style = page.own_file("page.css")
    light, dark = re.findall(r":root \{(.*?)\}", style, re.DOTALL)[:2]
    for scheme in (light, dark):
        colours = dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6})", scheme))
        for ground in ("page", "card"):
            for text in ("ink", "soft", "accent", "failed"):
                assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
            for group in rollout_page.GROUPS:
                assert contrast(colours[group.key], colours[ground]) >= 2.9, (group.key, ground)
