# SPDX-License-Identifier: MIT
"""A rollout as one self-contained HTML page, from its story: no network, no files, the same text for the same story.

10,000 devices make about 4 MB. All texts of devices and of the cloud are escaped, and long ones cut; the journal has them whole.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from ..plan import Rules, duration_text
from ..rollout.decision import State, Verdict
from ..rollout.story import DeviceStory, Story, WaveStory
from . import chart
from .page import Markup, document, element, join, own_file, text

_MOST_EVENTS = 12  # of one device; a device that was pushed often must not make the page too large
_MOST_BARS = 12


class Group(NamedTuple):
    """States that the page shows as one. key: the class of their colour in page.css."""

    key: str
    words: str
    states: tuple[State, ...]


# as they are stacked, from the bottom; what went wrong hangs from the top
GROUPS = (
    Group("done", "run the new version", (State.DONE,)),
    Group("flight", "updating", (State.PUSHED, State.UPDATING, State.TRIAL)),
    Group("waiting", "waiting", (State.WAITING,)),
    Group("held", "offline or busy", (State.OFFLINE, State.BUSY)),
    Group("newer", "run a newer version", (State.NEWER,)),
    Group("unreached", "not reached in time", (State.UNREACHABLE,)),
    Group("silent", "silent", (State.SILENT,)),
    Group("failed", "failed", (State.FAILED,)),
)
_GROUP_OF = {state: group for group in GROUPS for state in group.states}
_BAD = ("unreached", "silent", "failed")
_WORDS = {
    Verdict.RUNNING: "Running",
    Verdict.SOAKING: "Watching",
    Verdict.PAUSED: "Paused",
    Verdict.ABORTED: "Aborted",
    Verdict.FINISHED: "Finished",
}


def html(story: Story) -> str:
    """The page of a rollout."""
    totals = _grouped(story.totals)
    body = element(
        "main",
        _header(story, totals),
        _progress(story, totals),
        _waves(story),
        element("div", _versions(story), _failures(story), class_="pair"),
        _devices(story, totals),
        _about(story),
    )
    title = f"{_WORDS[story.verdict]}: rollout of {_image(story)}"
    return document(title, body, own_file("table.js"))


def _header(story: Story, totals: Mapping[str, int]) -> Markup:
    word = _WORDS[story.verdict] if story.began is not None else "Not started"
    tiles = [
        element(
            "li", element("b", f"{totals[group.key]:,}"), element("span", group.words, class_=f"swatch {group.key}")
        )
        for group in GROUPS
        if totals[group.key] or group.key in ("done", "failed")
    ]
    return element(
        "header",
        element("p", f"Rollout of {_image(story)}", class_="kicker"),
        element("strong", word, class_=f"verdict {_tone(story)}"),
        element("h1", _headline(story, totals["done"])),
        element("p", _when(story), class_="soft"),
        element("p", element("strong", "Why it was aborted: "), story.reason, class_="why") if story.reason else None,
        element("ul", *tiles, class_="tiles"),
    )


def _headline(story: Story, done: int) -> str:
    whole, version = len(story.devices), story.image.version_number
    if story.began is None:
        return f"{_count(whole, 'device')} in {_count(len(story.waves), 'wave')} to update to version {version}"
    if done == whole:
        return (
            f"All {_count(whole, 'device')} run version {version}"
            if whole > 1
            else f"The device runs version {version}"
        )
    rest = f", {whole - done:,} do not" if story.verdict in (Verdict.FINISHED, Verdict.ABORTED) else ""
    return f"{done:,} of {_count(whole, 'device')} run version {version}{rest}"


def _tone(story: Story) -> str:
    if story.verdict is Verdict.ABORTED:
        return "bad"
    if story.verdict is Verdict.FINISHED:
        return "good" if all(one.state is State.DONE for one in story.devices) else "mixed"
    return "mixed" if story.verdict is Verdict.PAUSED else "going"


def _when(story: Story) -> str:
    if story.began is None:
        return "No client has started it yet."
    took = _duration(story.updated - story.began)
    began = f"{chart.day(story.began)} {time.gmtime(story.began).tm_year}, {chart.clock(story.began)}"
    return f"Started {began}; latest news {took} later, {_moment(story.updated)}. All times are UTC."


def _progress(story: Story, totals: Mapping[str, int]) -> Markup | None:
    if story.began is None:
        return None
    points: list[chart.Point] = [(story.began, _grouped({State.WAITING: len(story.devices)}))]
    points += [(when, _grouped(counts)) for when, counts in story.progress if when >= story.began]
    points.append((story.updated, totals))
    marks = {wave.name: wave.opened for wave in story.waves if wave.opened is not None}
    keys = [group.key for group in GROUPS]
    legend = [
        element("li", f"{totals[group.key]:,} {group.words}", class_=f"swatch {group.key}")
        for group in GROUPS
        if any(counts[group.key] for _, counts in points)
    ]
    now = ", ".join(f"{totals[group.key]:,} {group.words}" for group in GROUPS if totals[group.key])
    bad = None
    if any(counts[key] for _, counts in points for key in _BAD):
        bad = join(
            element("h3", "What went wrong, on a scale of its own"),
            chart.steps(points, _BAD, "Devices that failed, fell silent or were not reached, over time", marks, 96),
        )
    return element(
        "section",
        element("h2", "Progress over time"),
        element("p", "Devices by state. A dashed line marks the start of a wave.", class_="soft"),
        chart.steps(points, keys, f"Devices by state over time; at the end: {now}", marks, 220),
        element("ul", *legend, class_="legend"),
        bad,
    )


def _waves(story: Story) -> Markup:
    return element(
        "section",
        element("h2", "Waves"),
        element("ol", *(_wave(story, wave) for wave in story.waves), class_="waves"),
    )


def _wave(story: Story, wave: WaveStory) -> Markup:
    counts = _grouped(wave.counts)
    words = ", ".join(f"{counts[group.key]:,} {group.words}" for group in GROUPS if counts[group.key])
    return element(
        "li",
        element("h3", wave.name),
        element("p", _wave_verdict(story, wave)),
        chart.share([(group.key, counts[group.key]) for group in GROUPS], wave.size, 12, words),
        element("p", f"Of {_count(wave.size, 'device')}: {words}." if words else "No device."),
        element("p", _rules(wave.rules, wave is story.waves[-1]), class_="soft"),
    )


def _wave_verdict(story: Story, wave: WaveStory) -> str:
    if story.verdict is Verdict.ABORTED and story.reason.startswith(f"{wave.name}: "):
        return f"✕ Ended the rollout: {story.reason[len(wave.name) + 2 :]}"
    if wave.opened is None:
        return "○ Not started"
    if wave.ended is None:
        return f"… In progress since {_moment(wave.opened)}"
    return f"● Ended after {_duration(wave.ended - wave.opened)}; started {_moment(wave.opened)}"


def _rules(rules: Rules, last: bool) -> str:
    named = f" At once on: {'; '.join(rules.abort_on)}." if rules.abort_on else ""
    soak = duration_text(rules.soak) if rules.soak else ""
    if last:
        then = f" Watched for {soak} at the end." if soak else ""
    else:
        then = f" Next wave once {_percent(rules.min_success)} run it" + (f" and {soak} have passed." if soak else ".")
    return (
        f"At most {rules.in_flight:,} at a time. Limits: {duration_text(rules.start_limit)} to begin, "
        f"{duration_text(rules.finish_limit)} to end, {duration_text(rules.offline_limit)} offline. Aborts when more than "
        f"{_percent(rules.abort_share)} of those that reported, {rules.abort_minimum:,} or more, failed or fell silent.{named}{then}"
    )


def _versions(story: Story) -> Markup:
    before = Counter(one.before for one in story.devices)
    after = Counter(one.running for one in story.devices)
    # the new version first, then the most frequent ones, then those that are not known
    new = story.image.version_number
    order = sorted(before | after, key=lambda one: (one != new, one is None, -before[one], -(one or 0)))
    shown, rest = order[:_MOST_BARS], order[_MOST_BARS:]
    rows = [_version(_number(one), before[one], after[one], one == new, len(story.devices)) for one in shown]
    if rest:
        earlier, now = (sum(counts[one] for one in rest) for counts in (before, after))
        rows.append(_version(f"{len(rest):,} others", earlier, now, False, len(story.devices)))
    head = element(
        "tr", element("th", "Version"), element("th", "before", class_="number"), element("th", "now", class_="number")
    )
    return element(
        "section",
        element("h2", "Versions before and now"),
        element("p", "The upper bar is before, when the plan was made; the lower one is now.", class_="soft"),
        element("table", element("thead", head), element("tbody", *rows), class_="bars"),
    )


def _version(name: str, before: int, now: int, new: bool, whole: int) -> Markup:
    key = "done" if new else "held"
    return element(
        "tr",
        element(
            "td",
            f"{name} (new)" if new else name,
            chart.share([(key, before)], whole, 6, f"before: {before:,}", class_="ghost"),
            chart.share([(key, now)], whole, 10, f"now: {now:,}"),
        ),
        element("td", f"{before:,}", class_="number"),
        element("td", f"{now:,}", class_="number"),
    )


def _failures(story: Story) -> Markup:
    states = {one.reason: _GROUP_OF[one.state].key for one in story.devices if _GROUP_OF[one.state].key in _BAD}
    reasons = sorted(story.reasons.items(), key=lambda one: (-one[1], one[0]))
    shown, rest = reasons[:_MOST_BARS], reasons[_MOST_BARS:]
    if rest:
        shown.append((f"{len(rest):,} other reasons", sum(number for _, number in rest)))
    most, whole = max((number for _, number in shown), default=1), sum(story.reasons.values())
    rows = [
        element(
            "tr",
            element("td", reason, chart.share([(states.get(reason, "failed"), number)], most, 10, f"{number:,}")),
            element("td", f"{number:,} ({_percent(number / whole)})", class_="number"),
        )
        for reason, number in shown
    ]
    table = element("table", element("tbody", *rows), class_="bars")
    return element(
        "section",
        element("h2", "Failed and silent devices by reason"),
        element(
            "p", f"{_count(whole, 'device')}. The reason is the device's own." if whole else "None.", class_="soft"
        ),
        table if rows else None,
    )


def _devices(story: Story, totals: Mapping[str, int]) -> Markup:
    heads = ("Device", "Wave", "Version", "State", "Reason", "Took")
    options = [element("option", group.words, value=group.key) for group in GROUPS if totals[group.key]]
    form = element(
        "form",
        element(
            "input", type="search", name="words", placeholder="Search name, id, reason, story", aria_label="Search"
        ),
        element("select", element("option", "all states", value=""), *options, name="state", aria_label="State"),
        element("output", class_="soft"),
        hidden=True,
    )
    dated = story.began is not None and int(story.began // 86_400) != int(story.updated // 86_400)
    names = [text(wave.name, 60) for wave in story.waves]
    # those that need somebody come first
    urgency = {group.key: number for number, group in enumerate(reversed(GROUPS))}
    urgency["newer"] = len(GROUPS)
    devices = sorted(story.devices, key=lambda one: urgency[_GROUP_OF[one.state].key])
    rows = "\n".join(_row(one, names[one.wave - 1], dated) for one in devices)
    return element(
        "section",
        element("h2", "Devices"),
        element(
            "p", "Those that need attention come first. A name opens the device's story; times are UTC.", class_="soft"
        ),
        form,
        # tr and td need no end tag: a fifth of the page
        element(
            "table",
            element("thead", element("tr", *(element("th", element("span", one), scope="col") for one in heads))),
            element("tbody", Markup(f"\n{rows}\n")),
        ),
        id="devices",
        class_="rows",
        data_table="devices",
    )


def _row(one: DeviceStory, wave: str, dated: bool) -> str:
    name, device_id = text(one.name or one.device_id, 80), text(one.device_id, 80)
    title = f"<details><summary>{name}</summary><ol>{_events(one, dated)}</ol></details>" if one.events else name
    versions = f"{_number(one.before)} → {_number(one.running)}"
    took = "" if one.took is None else _clock_duration(one.took)
    return (
        f'<tr><td>{title}<code>{device_id}</code><td>{wave}<td>{versions}<td class="state {_GROUP_OF[one.state].key}">'
        f"{one.state.value}<td>{text(one.reason)}<td>{took}"
    )


def _events(one: DeviceStory, dated: bool) -> str:
    events, left_out = list(one.events), len(one.events) - _MOST_EVENTS
    items = [f"<li>{_time(when, dated)} {text(said)}" for when, said in events]
    if left_out > 0:
        half = _MOST_EVENTS // 2
        items[half:-half] = [f"<li>… {left_out:,} more, which the journal has"]
    return "".join(items)


def _about(story: Story) -> Markup:
    image = story.image
    facts = [
        ("Image", f"{image.name} {image.version}"),
        ("Version number", str(image.version_number)),
        ("Image id", image.id),
        ("SHA-256", image.sha256),
        ("Size", f"{image.size:,} bytes" if image.size else ""),
        ("Partner", story.partner_id),
        ("Device type", story.device_type_id),
        ("Account", story.account_id),
        ("Plan", story.digest),
        ("Left out of the plan", "; ".join(f"{why}: {number:,}" for why, number in story.left_out.items())),
    ]
    rows = [join(element("dt", name), element("dd", value)) for name, value in facts if value]
    rows += [join(element("dt", "Client"), element("dd", f"{_moment(when)}: {who}")) for when, who in story.runs[-20:]]
    return element("section", element("h2", "About this rollout"), element("dl", *rows))


# ---- words and numbers ----------------------------------------------------------------------------------------------------


def _grouped(counts: Mapping[State, int]) -> dict[str, int]:
    return {group.key: sum(max(counts.get(state, 0), 0) for state in group.states) for group in GROUPS}


def _image(story: Story) -> str:
    return f"{story.image.name} {story.image.version}".strip() or story.image.id


def _number(version: int | None) -> str:
    return "unknown" if version is None else str(version)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _percent(part: float) -> str:
    return f"{part * 100:.3g}%"


def _moment(when: float) -> str:
    return f"{chart.day(when)} {chart.clock(when)}"


def _time(when: float, dated: bool) -> str:
    return _moment(when) if dated else chart.clock(when)


def _duration(seconds: float) -> str:
    return duration_text(float(max(0, round(seconds))))


def _clock_duration(seconds: float) -> str:
    """Hours, minutes and seconds in a form that sorts."""
    whole = max(0, math.floor(seconds))
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
