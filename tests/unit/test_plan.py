# SPDX-License-Identifier: MIT
"""The plan file: what is written is read back, and whatever was changed by hand is refused with every fault."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from afero_ota import plan
from afero_ota.errors import ConfigError
from afero_ota.plan import Image, Plan, Rules, Target, Wave

IMAGE = Image("49867", "Gateway", "1.0.2", 7112, "ab" * 32, 59_282_871)
CANARY = Wave("canary", (Target("0123456789012345", "Bern 1", 7001),), Rules(in_flight=1, soak=1800))
REST = Wave("rest", (Target("1e10", "Zürich \U0001f600 \u2028\x1b", None), Target("a: b #\"'\\", "", 0)))
PLAN = Plan(
    "p-1", "t-1", "a-1", IMAGE, (CANARY, REST), selection={"seed": 3}, left_out={"runs this version already": 2}
)

seconds = st.integers(0, 366 * 86_400 * 10).map(lambda tenths: tenths / 10)
shares = st.integers(0, 1000).map(lambda thousandths: thousandths / 1000)
words = st.text(min_size=1, max_size=20).filter(str.strip)
rules = st.builds(
    Rules,
    in_flight=st.integers(1, 1000),
    start_limit=seconds,
    finish_limit=seconds,
    offline_limit=seconds,
    abort_share=shares,
    abort_minimum=st.integers(1, 1000),
    abort_on=st.lists(words, max_size=3).map(tuple),
    min_success=shares,
    soak=seconds,
)
targets = st.builds(Target, words, st.text(max_size=10), st.none() | st.integers(0, 2**63 - 1))


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    devices = draw(st.lists(targets, min_size=1, max_size=12, unique_by=lambda target: target.device_id))
    cuts = sorted(draw(st.sets(st.integers(1, len(devices) - 1), max_size=3))) if len(devices) > 1 else []
    parts = [devices[i:j] for i, j in zip([0, *cuts], [*cuts, len(devices)])]
    common = draw(rules)
    waves = tuple(Wave(draw(words), tuple(part), draw(st.just(common) | rules)) for part in parts)
    image = Image(
        draw(words), draw(words), draw(words), draw(st.integers(1, 2**63 - 1)), "0" * 64, draw(st.integers(0, 2**40))
    )
    return Plan(draw(words), draw(words), draw(words), image, waves, common, {"seed": 1}, {"x": 2})


@settings(deadline=None)
@given(plans())
def test_what_is_written_is_read_back(one: Plan) -> None:
    text = plan.dump(one)
    assert plan.load(text, "plan.yml", one.partner_id) == one
    assert plan.dump(plan.load(text, "plan.yml")) == text


def test_a_device_takes_one_line_and_people_can_read_it() -> None:
    text = plan.dump(PLAN)
    assert '  - {id: "0123456789012345", name: "Bern 1", running: "7001"}\n' in text
    assert (
        "inFlight: 10\n" in text
        and "soak: 30m\n" in text
        and "finishLimit: 1h\n" in text
        and "abortShare: 10%\n" in text
    )
    assert text.splitlines()[-1] == f"digest: {PLAN.digest}"


def test_the_digest_covers_every_value() -> None:
    other = [
        replace(PLAN, partner_id="p-2"),
        replace(PLAN, image=replace(IMAGE, sha256="cd" * 32)),
        replace(PLAN, waves=(REST, CANARY)),
        replace(PLAN, waves=(replace(CANARY, devices=(Target("0123456789012345", "Bern 1", 7002),)), REST)),
        replace(PLAN, waves=(replace(CANARY, rules=Rules(in_flight=2, soak=1800)), REST)),
        replace(PLAN, left_out={}),
    ]
    assert len({one.digest for one in [PLAN, *other]}) == 1 + len(other)


def edited(change: Callable[[dict[str, Any]], object], sealed: bool = True) -> str:
    """The plan's file after a change by somebody who knows how to make the digest, or does not."""
    data = yaml.safe_load(plan.dump(PLAN))
    change(data)
    if sealed:
        data["digest"] = plan.digest(data)
    return str(yaml.safe_dump(data, sort_keys=False))


def faults(text: str, partner_id: str = "p-1") -> str:
    with pytest.raises(ConfigError) as caught:
        plan.load(text, "plan.yml", partner_id)
    return str(caught.value)


def test_a_change_by_hand_is_found() -> None:
    said = faults(edited(lambda data: data["waves"][0]["devices"][0].update(id="someone-else"), sealed=False))
    assert "digest: does not fit the plan" in said and "afero-ota plan" in said
    assert faults(plan.dump(PLAN).replace("abortShare: 10%", "abortShare: 90%")).count("digest") == 1


def test_what_says_the_same_in_other_words_is_the_same_plan() -> None:
    assert plan.load("# reviewed by R.\n" + edited(lambda data: None, sealed=False), "plan.yml") == PLAN


def test_a_plan_of_another_partner_is_refused() -> None:
    assert "partnerId: is 'p-1', and the configuration's is p-2" in faults(plan.dump(PLAN), "p-2")


WRONG: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda d: d.update(waves=[]), "waves: there is none"),
    (lambda d: d.update(waves="all"), "waves: there is none"),
    (lambda d: d["waves"][0].update(devices=[]), "wave 1: has no devices"),
    (lambda d: d["waves"][1]["devices"].append({"id": "1e10"}), "wave 2, device 3: 1e10 is also wave 2, device 1"),
    (lambda d: d["waves"][1]["devices"][0].update(id=10), "wave 2, device 1: id: 10 is no text"),
    (lambda d: d["waves"][1]["devices"][0].update(running="x"), "running: 'x' is not a number"),
    (lambda d: d["waves"][1]["devices"][0].update(name=5), "name: 5 is no text"),
    (lambda d: d["waves"][1]["devices"].append("1e11"), "wave 2, device 3: is no mapping"),
    (lambda d: d["waves"][0].update(color="red"), "wave 1: has the unknown key 'color'"),
    (lambda d: d["image"].update(versionNumber="seven"), "image.versionNumber: 'seven' is not a number"),
    (lambda d: d["image"].update(versionNumber=2**63), "image.versionNumber: "),
    (lambda d: d["image"].update(versionNumber=0), "image.versionNumber: 0 is not a number from 1"),
    (lambda d: d["image"].update(sha256="AB"), "image.sha256: 'AB' is no SHA-256"),
    (lambda d: d["image"].pop("id"), "image: lacks id"),
    (lambda d: d.update(accountId=None), "lacks accountId"),
    (lambda d: d.update(plan=2), "plan: the format is 2"),
    (lambda d: d.update(extra=1), "has the unknown key 'extra'"),
    (lambda d: d.pop("digest"), "lacks digest"),
    (lambda d: d["rules"].update(inFlight=0), "rules.inFlight: 0 is no number of devices"),
    (lambda d: d["rules"].update(inFlight=True), "rules.inFlight: True is no number"),
    (lambda d: d["rules"].update(abortShare="110%"), "rules.abortShare: '110%' is no share"),
    (lambda d: d["rules"].update(abortOn="refused"), "rules.abortOn: 'refused' is no list"),
    (lambda d: d["rules"].update(soak="soon"), "rules.soak: 'soon' is no duration"),
    (lambda d: d["rules"].update(soak=-1), "rules.soak: -1 is not between"),
    (lambda d: d["rules"].update(soak=float("nan")), "rules.soak: nan is no duration"),
    (lambda d: d["rules"].update(sook=1), "rules: has the unknown key 'sook'"),
    (lambda d: d.update(selection=[1]), "selection: is no mapping"),
]


@pytest.mark.parametrize(("change", "said"), WRONG, ids=[said for _, said in WRONG])
def test_a_wrong_value_is_named(change: Callable[[dict[str, Any]], object], said: str) -> None:
    text = edited(change, sealed=False)
    assert said in faults(text)


def test_all_faults_are_said_at_once() -> None:
    def spoil(data: dict[str, Any]) -> None:
        for change, _ in WRONG[4:8]:
            change(data)
        data["rules"]["soak"] = "soon"

    said = faults(edited(spoil))
    assert said.startswith("5 faults in the plan:") and all(text in said for _, text in WRONG[4:8])


@pytest.mark.parametrize(
    "text", ["", "- 1", "a: [", "plan: 1\nplan: 1", "a: &a [*a]", "? [1]\n: 2", "!!python/object:x {}", "x\0"]
)
def test_what_is_no_plan_is_said_to_be_none(text: str) -> None:
    assert "plan.yml" in faults(text)


@settings(deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_a_plan_or_a_list_of_faults(text: str) -> None:
    with pytest.raises(ConfigError):
        plan.load(text, "plan.yml")


@settings(deadline=None)
@given(seconds)
def test_a_duration_is_read_as_it_is_written(value: float) -> None:
    assert plan.duration(plan.duration_text(value)) == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "value"), [("90", None), ("90s", 90), (90, 90), ("1h30m", 5400), ("1d", 86_400), ("m", None), ("", None)]
)
def test_durations(text: object, value: float | None) -> None:
    if value is None:
        with pytest.raises(ValueError, match="duration"):
            plan.duration(text)
    else:
        assert plan.duration(text) == value


def test_a_plan_of_ten_thousand_devices_is_written_and_read_in_seconds() -> None:
    large = replace(PLAN, waves=(Wave("all", tuple(Target(f"{i:016x}", f"Bern {i}", 7001) for i in range(10_000))),))
    began = time.process_time()
    assert plan.load(plan.dump(large), "plan.yml") == large
    assert time.process_time() - began < 20
