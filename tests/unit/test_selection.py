# SPDX-License-Identifier: MIT
"""Which devices get an image, in what order, and in which waves."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afero_ota.errors import ConfigError
from afero_ota.rollout import selection
from afero_ota.rollout.selection import ALREADY, NEWER, OTHER_TYPE, TWICE, Candidate, Filters, Selection

HUBS = [
    Candidate("h1", "hub", "Bern 1", ("canary", "lab"), True, 7001),
    Candidate("h2", "hub", "Bern 2", ("lab",), False, 7002),
    Candidate("h3", "hub", "Cork 1", (), True, 7112),
    Candidate("h4", "hub", "Cork 2", (), True, 7113),
    Candidate("h5", "hub", "Cork 3", (), True, None),
    Candidate("x1", "other", "Bern 3", ("lab",), True, 7001),
]


def choose(**filters: object) -> Selection:
    return selection.select(HUBS, Filters(**filters), "hub", 7112)  # type: ignore[arg-type]


def chosen(**filters: object) -> set[str]:
    return {one.device_id for one in choose(**filters).chosen}


def test_without_a_filter_all_devices_of_the_type_that_need_the_image_are_chosen() -> None:
    assert chosen() == {"h1", "h2", "h5"}
    assert choose().left_out == {OTHER_TYPE: 1, ALREADY: 1, NEWER: 1}


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        ({"name": "bern *"}, {"h1", "h2"}),
        ({"name": "Cork [23]"}, {"h5"}),
        ({"tags": ("canary", "nothing")}, {"h1"}),
        ({"online": True}, {"h1", "h5"}),
        ({"online": False}, {"h2"}),
        ({"running": (7001,)}, {"h1"}),
        ({"ids": ("h1", "h3")}, {"h1"}),
        ({"name": "Bern*", "online": True, "tags": ("lab",)}, {"h1"}),
        ({"name": "nowhere"}, set()),
    ],
)
def test_filters(filters: dict[str, object], ids: set[str]) -> None:
    assert chosen(**filters) == ids


def test_unknown_and_foreign_ids_are_all_named() -> None:
    with pytest.raises(ConfigError) as caught:
        choose(ids=("h1", "h9", "x1", "h8"))
    assert [fault.field for fault in caught.value.faults] == ["h9", "x1", "h8"]
    assert "has no such device" in str(caught.value) and "is of device type other" in str(caught.value)


def test_an_id_that_is_named_twice_is_taken_once_and_said() -> None:
    assert choose(ids=("h1", "h2", "h1")).left_out == {TWICE: 1} and chosen(ids=("h1", "h1")) == {"h1"}


@pytest.mark.parametrize("filters", [{"percent": 0}, {"percent": 101}, {"percent": float("nan")}, {"count": 0}])
def test_a_share_that_is_none_is_refused(filters: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        choose(**filters)


ids = st.lists(st.text(min_size=1, max_size=4), min_size=2, max_size=40, unique=True)


@settings(deadline=None)
@given(ids, st.integers(), st.floats(0.01, 100), st.randoms(use_true_random=False))
def test_the_order_does_not_depend_on_who_else_is_there(
    names: list[str], seed: int, percent: float, dice: random.Random
) -> None:
    fleet = [Candidate(name, "hub", running=1) for name in names]
    whole = [one.device_id for one in selection.select(fleet, Filters(seed=seed), "hub", 7112).chosen]
    some = dice.sample(fleet, len(fleet) // 2)
    part = [one.device_id for one in selection.select(some, Filters(seed=seed), "hub", 7112).chosen]
    assert part == [name for name in whole if name in part]
    share = selection.select(fleet, Filters(seed=seed, percent=percent), "hub", 7112).chosen
    assert [one.device_id for one in share] == whole[: math.ceil(len(whole) * percent / 100)]


@settings(deadline=None)
@given(ids, st.integers(0, 50), st.lists(st.sampled_from(["1", "3", "10%", "12.5%"]), max_size=4))
def test_every_device_is_in_one_wave_and_the_order_stays(names: list[str], canaries: int, sizes: list[str]) -> None:
    fleet = [Candidate(name, "hub", running=1) for name in names if not name.isdecimal()]
    parts = selection.waves(fleet, [str(canaries)], sizes)
    assert [one for _, devices in parts for one in devices] == fleet
    assert all(devices for _, devices in parts)


def test_canaries_come_first_then_counts_and_percentages_then_the_rest() -> None:
    fleet = [Candidate(f"d{i}", "hub") for i in range(100)]
    parts = selection.waves(fleet, ["d7", "d3", "d7"], ["5", "50%"])
    assert [(name, len(devices)) for name, devices in parts] == [
        ("canary", 2),
        ("wave 1", 5),
        ("wave 2", 49),
        ("rest", 44),
    ]
    assert [one.device_id for one in parts[0][1]] == ["d7", "d3"]
    assert [name for name, _ in selection.waves(fleet)] == ["all"]


@pytest.mark.parametrize(
    ("canaries", "sizes", "said"),
    [
        (["gone"], [], "gone: is no canary"),
        ([], ["0"], "wave size 0"),
        ([], ["1.5"], "wave size 1.5"),
        ([], ["x"], "wave size x"),
        ([], ["60%", "50%"], "add up to 110 %"),
    ],
)
def test_waves_that_make_no_sense_are_refused(canaries: list[str], sizes: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        selection.waves([Candidate("d1"), Candidate("d2")], canaries, sizes)


def test_a_device_of_the_cloud_s_list_is_read() -> None:
    device = {
        "deviceId": "h1",
        "deviceTypeId": "hub",
        "friendlyName": "half \ud800",
        "deviceState": {"available": True},
        "deviceTags": [{"value": "lab"}, "junk", {"value": 5}, {}],
    }
    assert selection.candidate(device, 7001) == Candidate("h1", "hub", "half ?", ("lab",), True, 7001)
    assert selection.candidate({"deviceId": "h1", "deviceState": None, "deviceTags": None}, None) == Candidate("h1")
    assert selection.candidate({"deviceId": 5}, None) is None
