# SPDX-License-Identifier: MIT
"""The page of an image: valid, complete, harmless, and small enough for 5,000 packages."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from itertools import combinations

import html5lib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import images
from afero_ota.report import changes, image_page, page, treemap
from afero_ota.report.facts import Facts
from outline import Outline, contrast

HOSTILE = "</td></table><script>alert(1)</script><img src=//evil.example/x onerror=alert(2)>\"'&\x1b[2J\u202e"
BEFORE = images.facts(120)
AFTER = images.next_release(BEFORE)
CHANGES = changes.compare(BEFORE, AFTER)


def test_the_change_is_in_the_first_lines_of_the_page() -> None:
    text = Outline(image_page.html(AFTER, CHANGES)).text
    first = text[text.index("Afero OTA image core-image-minimal") :][:2000]
    for words in (
        "Gateway 1.0.3",
        "1 package changed, 1 added, 1 removed, 1 layer changed since Gateway 1.0.2",
        "31.3 MBpayload, +21.0 kB",
        "new: setuid /usr/bin/remote-shell -rwsr-xr-x (remote-shell)",
        "3.0.14-r1",
        "openssl: update to 3.0.14",
    ):
        assert words in first, words


@pytest.mark.parametrize(
    ("facts", "changed"),
    [
        (AFTER, CHANGES),
        (BEFORE, None),
        (BEFORE, changes.compare(BEFORE, BEFORE)),
        (Facts(images.manifest()), None),
        (Facts(images.manifest("1.0.3")), changes.compare(Facts(images.manifest(packages={"a": "1"})), AFTER)),
        (Facts({"file": "hub_update.bin", "sha256": "00", "size": 3}), None),
    ],
    ids=["changed", "alone", "same", "manifest only", "before without files", "bare payload"],
)
def test_whatever_is_known_gives_valid_html(facts: Facts, changed: changes.Changes | None) -> None:
    source = image_page.html(facts, changed, [("xz -9", 20_000_000), ("zstd -3", None)])
    # raises ParseError at the first fault
    html5lib.HTMLParser(strict=True).parse(source)
    assert facts.title in Outline(source).text


def test_the_page_tells_identity_packages_licences_kernel_room_and_download() -> None:
    text = Outline(image_page.html(AFTER, CHANGES, [("xz -9", 22_000_000), ("zstd -3", None)])).text
    for name, package in AFTER.packages.items():
        assert name in text and package.version in text and package.licence in text
    for words in (
        AFTER.manifest["sha256"],
        "As shipped to <homes>",
        "beaglebone-yocto",
        "The device's /tmp fits: 31.3 MB of 67.1 MB (47%).",
        "A system slot fits:",
        "10 Mbit/s25 s",
        "/boot/am335x-bonegreen-wireless.dtb",
        "no SBOM",
        "xz -922.0 MB",
        "no such program here",
        "1.0.1",
    ):
        assert words in text, words


def test_an_image_that_does_not_fit_says_so() -> None:
    text = Outline(image_page.html(replace(BEFORE, limit=1_000_000, slot=2_000_000))).text
    assert "The device's /tmp does not fit: 31.2 MB of 1.0 MB" in text and "A system slot does not fit" in text


def test_what_changed_has_an_area_of_its_own_in_the_map() -> None:
    source = image_page.html(AFTER, CHANGES)
    for kind, name in (("changed", "libcrypto3"), ("new", "remote-shell")):
        assert re.search(rf'class="{kind}"><rect[^>]*></rect><title>{name} ', source), name


def test_a_package_of_the_map_leads_to_its_row() -> None:
    source = image_page.html(AFTER)
    links = set(re.findall(r'href="#(p-\d+)"', source))
    assert len(links) > 80 and links <= set(re.findall(r'id="(p-\d+)"', source))


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=60))
def test_the_boxes_of_a_map_fill_it_by_size_and_do_not_overlap(sizes: list[int]) -> None:
    sizes.sort(reverse=True)
    boxes = treemap.squarify(sizes, (0, 0, 800, 400))
    assert len(boxes) == len(sizes)
    for size, (left, top, width, height) in zip(sizes, boxes):
        assert left >= -1e-6 and top >= -1e-6 and left + width <= 800 + 1e-6 and top + height <= 400 + 1e-6
        assert width * height == pytest.approx(800 * 400 * size / sum(sizes), rel=1e-6)
    for one, other in combinations(boxes, 2):
        wide = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
        high = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
        assert wide < 1e-6 or high < 1e-6


def test_the_same_facts_give_the_same_page() -> None:
    again = images.next_release(images.facts(120))
    assert image_page.html(again, changes.compare(images.facts(120), again)) == image_page.html(AFTER, CHANGES)


def test_the_page_may_load_and_run_nothing_but_its_own() -> None:
    source = image_page.html(AFTER, CHANGES)
    policy = re.search(r'<meta http-equiv="Content-Security-Policy" content="([^"]+)">', source)
    assert policy and policy[1].startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert not re.search(r"https?:|//\w|url\(|@import", re.sub(r"(?m)^ *// .*$", "", source))
    outline = Outline(source)
    assert not {name for _, name in outline.names if name.startswith("on") or name in ("style", "src")}
    links = {value for name, value in outline.attributes if name == "href"}
    assert all(link == "data:," or link.startswith("#p-") for link in links)


def hostile(text: str) -> str:
    """The page of an image in which every name, version, licence, path, revision and commit holds a text."""
    before = images.facts(6, suffix=text)
    after = images.next_release(before)
    # a path does not end in a slash
    files = {f"{path}{text}.": file._replace(content=file.content + text) for path, file in after.files.items()}
    known = {name: one._replace(version=text, licence=text, recipe=text) for name, one in after.packages.items()}
    document = {**after.manifest, **dict.fromkeys(("image", "machine", "distro", "fstype", "buildTime"), text)}
    document["record"] = {"name": text, "version": text, "versionNumber": text, "description": text, "tags": [text]}
    document["layers"] = {text: f"{text}:abc"}
    document["sbom"] = {"file": text, "format": text, "sha256": text, "size": 1}
    after = replace(after, manifest=document, files=files, packages=known, cves={text: text}, commits={text: (text,)})
    return image_page.html(after, changes.compare(replace(before, cves={"CVE-1": "Patched"}), after), [(text, 1)])


def test_a_hostile_text_adds_no_element_and_no_attribute() -> None:
    plain, attacked = Outline(hostile("harmless")), Outline(hostile(HOSTILE))
    assert set(attacked.tags) == set(plain.tags) and attacked.names == plain.names
    assert attacked.tags["script"] == 1 and attacked.tags["img"] == 0
    assert "<script>alert(1)</script>" in attacked.text
    assert r"\x1b[2J\u202e" in attacked.text and not re.search("[\x1b\u202e]", attacked.text)


@settings(max_examples=25, deadline=None)
@given(st.text(st.characters(), min_size=1, max_size=40))
def test_any_text_stays_text(text: str) -> None:
    source = hostile(text)
    source.encode()
    html5lib.HTMLParser(strict=True).parse(source)
    assert Outline(source).names == Outline(hostile("harmless")).names


def test_five_thousand_packages_that_all_changed_make_less_than_5_mb_in_seconds() -> None:
    before = images.facts(5_000, 20)
    files = {path: file._replace(content="0" * 16) for path, file in before.files.items()}
    known = {name: one._replace(version="0.9-r0") for name, one in before.packages.items()}
    after = replace(before, manifest=images.manifest("1.0.3"), files=files, packages=known)
    begin = time.process_time()
    source = image_page.html(after, changes.compare(before, after))
    assert time.process_time() - begin < 10
    assert len(after.files) > 100_000 and len(source.encode()) < 5_000_000
    assert source.count('<tr id="p-') == 5_000


def test_colours_of_the_map_leave_its_text_readable_in_both_schemes() -> None:
    """WCAG 2.2: 4.5 for text."""
    light, dark = re.findall(r":root \{(.*?)\}", page.own_file("page.css"), re.DOTALL)[:2]
    for scheme in (light, dark):
        colours = dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6})", scheme))
        for kind in ("same", "changed", "new", "gone"):
            assert contrast(colours["ink"], colours[kind]) >= 4.5, kind
