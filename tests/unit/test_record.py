# SPDX-License-Identifier: MIT
"""The OTA record: version strings, the file, and the copy in an image."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from afero_ota import errors, files, record

CREATED = {
    "createdTimestamp": 1500000000000,
    "id": "11561",
    "name": "Gateway",
    "partnerId": "p",
    "tags": ["nightly"],
    "type": 5,
    "updatedTimestamp": 1500000000000,
    "url": "",
    "version": "1.0.2d",
    "versionNumber": "7112",
}


@pytest.mark.parametrize(("debug", "expected"), [(False, "1.0.2"), (True, "1.0.2d")])
def test_a_full_version_is_version_dot_build_number_with_d_for_debug(debug: bool, expected: str) -> None:
    assert record.full_version("1.0", "2", debug) == expected


def test_equal_records_give_equal_bytes_whatever_the_order_of_their_fields() -> None:
    backwards = dict(reversed(list(CREATED.items())))
    assert record.dumps(record.OtaRecord(CREATED)) == record.dumps(record.OtaRecord(backwards))


def test_a_written_record_reads_back_equal_with_sorted_keys_and_four_spaces(tmp_path: Path) -> None:
    path = str(tmp_path / "full-ota-record.json")
    files.write_text(path, record.dumps(record.OtaRecord(CREATED)))
    assert dict(record.read(path).fields) == CREATED
    assert (tmp_path / "full-ota-record.json").read_text() == json.dumps(CREATED, sort_keys=True, indent=4) + "\n"


@pytest.mark.parametrize(
    "there,asked", [(record.FILE_NAME, record.CLASSIC_FILE_NAME), (record.CLASSIC_FILE_NAME, record.FILE_NAME)]
)
def test_a_record_is_found_under_either_spelling_of_its_file_name(tmp_path: Path, there: str, asked: str) -> None:
    (tmp_path / there).write_text(record.dumps(record.OtaRecord(CREATED)))
    assert record.read(str(tmp_path / asked)).version_number == "7112"


def test_a_record_found_after_its_upload_installs_the_same_bytes_as_on_creation() -> None:
    later = {
        **CREATED,
        "url": "https://x/y",
        "updatedTimestamp": 1600000000000,
        "tags": ["nightly", record.content_tag("ab" * 32), record.sbom_tag("cd" * 32)],
    }
    assert record.dumps(record.as_created(record.OtaRecord(later))) == record.dumps(record.OtaRecord(CREATED))


def test_our_tags_are_exactly_as_long_as_a_tag_may_be() -> None:
    assert (len(record.content_tag("0" * 64)), len(record.sbom_tag("0" * 64))) == (35, 35)
    assert record.sbom_tag("AB" * 32) == "sbom:" + "ab" * 15


def test_an_installed_record_has_both_names_and_mode_0644(tmp_path: Path) -> None:
    record.install(record.OtaRecord(CREATED), str(tmp_path))
    record.install(record.OtaRecord(CREATED), str(tmp_path))
    assert os.readlink(tmp_path / "etc" / "full_ota_record.json") == "full-ota-record.json"
    assert json.loads((tmp_path / "etc" / "full_ota_record.json").read_text()) == CREATED
    assert (tmp_path / "etc" / "full-ota-record.json").stat().st_mode & 0o777 == 0o644


def test_an_offline_record_has_no_id_and_version_number_zero() -> None:
    offline = record.offline(record.request("Gateway", "1.0.2", "", []))
    assert (offline.id, offline.version_number, offline.is_offline) == ("", "0", True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("not json", "is not JSON"),
        ("[]", "not a JSON object"),
        (json.dumps({**CREATED, "type": 4}), "type is 4, expected 5"),
        (json.dumps({**CREATED, "versionNumber": "x"}), "versionNumber is 'x'"),
        (json.dumps({**CREATED, "name": ""}), "name is ''"),
    ],
)
def test_a_file_that_is_not_a_record_is_refused_with_its_name_and_the_reason(text: str, said: str) -> None:
    with pytest.raises(errors.ConfigError, match="here.json") as caught:
        record.loads(text, "here.json")
    assert said in str(caught.value)


def test_a_file_is_replaced_completely_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "record"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        files.write_text(str(path), "half \ud800")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["record"]
