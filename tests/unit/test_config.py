# SPDX-License-Identifier: MIT
"""The configuration from file, settings and environment: validated, or all faults reported at once."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from afero_ota import config, credentials, errors

AUTH = base64.b64encode(b"client:secret").decode()
GOOD = {
    "Comments": "as Afero ships it",
    "description": "OTA image description",
    "name": "Gateway",
    "version": "1.0",
    "url": "dummy",
    "username": "dev@example.com",
    "userpw": "hunter2-canary",
    "auth-string": AUTH,
    "deviceTypeId": "a6542896-8464-48e1-b12f-664a57e4e703",
    "partnerId": "4f7de484-cf23-478d-90a7-412104d5120b",
    "imageFiles": {"a": "hub_update.bin"},
}
EVERYTHING = (*config.RECORD_NEEDS, *config.PUBLISH_NEEDS)


Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a configuration file and returns its path."""

    def write(document: Any, name: str = "partner-ota-conf.json") -> str:
        path = tmp_path / name
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        path.chmod(0o600)
        return str(path)

    return write


def faults_of(path: str | None, needs: Collection[str] = ()) -> str:
    with pytest.raises(errors.ConfigError) as caught:
        config.load(path, {}, {}, needs)
    return str(caught.value)


def test_aferos_configuration_file_is_read_unchanged(write: Write) -> None:
    loaded = config.load(write(GOOD), {"build_number": "2"}, {}, EVERYTHING)
    assert (loaded.name, loaded.version, loaded.build_number) == ("Gateway", "1.0", "2")
    assert loaded.credentials.userpw.reveal() == "hunter2-canary"
    assert loaded.service_url == "https://api.afero.io"
    assert loaded.warnings == ()


def test_yaml_and_json_files_give_the_same_configuration(write: Write) -> None:
    text = yaml.safe_dump(GOOD)
    assert config.load(write(text, "conf.yml"), {}, {}).name == config.load(write(GOOD), {}, {}).name


@pytest.mark.parametrize("slot", ["A", "a"])
def test_the_slot_of_the_image_file_may_be_upper_or_lower_case(write: Write, slot: str) -> None:
    assert config.load(write({**GOOD, "imageFiles": {slot: "x.bin"}}), {}, {}).image_file == "x.bin"


def test_a_setting_overrides_the_file_unless_it_is_empty(write: Write) -> None:
    loaded = config.load(write(GOOD), {"name": "Other", "version": ""}, {})
    assert (loaded.name, loaded.version) == ("Other", "1.0")


def test_secrets_from_the_environment_override_the_file(write: Write) -> None:
    loaded = config.load(write(GOOD), {}, {"AFERO_OTA_USERPW": "from-env"})
    assert loaded.credentials.userpw.reveal() == "from-env"


def test_a_secret_command_runs_only_when_the_secret_is_used(write: Write, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    document = {key: value for key, value in GOOD.items() if key != "userpw"}
    path = write({**document, "userpw-command": f"touch {marker}; echo from-command"})
    loaded = config.load(path, {}, {}, config.LOGIN_NEEDS)
    assert not marker.exists()
    assert loaded.credentials.userpw.reveal() == "from-command"


def test_a_failing_secret_command_is_named(write: Write) -> None:
    path = write({**GOOD, "userpw": "", "userpw-command": "exit 3"})
    with pytest.raises(errors.ConfigError, match="userpw-command.*exit status 3"):
        config.load(path, {}, {}).credentials.userpw.reveal()


def test_a_secret_command_with_invalid_output_is_named(write: Write) -> None:
    path = write({**GOOD, "auth-string": "", "auth-string-command": "echo what is this"})
    with pytest.raises(errors.ConfigError, match="auth-string-command.*not the base64 form"):
        config.load(path, {}, {}).credentials.auth_string.reveal()


def test_a_secret_command_that_is_not_text_is_reported_under_its_own_key(write: Write) -> None:
    assert "userpw-command in" in faults_of(write({**GOOD, "userpw": "", "userpw-command": 3}))


def test_a_secret_is_redacted_when_printed(write: Write) -> None:
    loaded = config.load(write(GOOD), {}, {})
    assert "canary" not in repr(loaded) + str(loaded.credentials) + f"{loaded.credentials.userpw}"


def test_an_unreadable_file_is_the_only_fault_reported() -> None:
    message = faults_of("/nowhere/conf.json", needs=EVERYTHING)
    assert "/nowhere/conf.json: cannot be read" in message
    assert "not set" not in message


def test_all_missing_fields_are_reported_together_by_name() -> None:
    message = faults_of(None, needs=EVERYTHING)
    for name in (
        "name",
        "version",
        "buildNumber",
        "partnerId",
        "deviceTypeId",
        "username",
        "userpw",
        "auth-string",
    ):
        assert f"- {name}: not set" in message


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "x" * 36}, "name in .*36 characters, at most 35"),
        ({"description": "x" * 501}, "description in .*501 characters, at most 500"),
        ({"tags": ["x" * 36]}, "tags in .*36 characters"),
        ({"tags": ["a,b"]}, "comma"),
        ({"tags": 3}, "tags in .*expected a list"),
        ({"version": 1.1}, "version in .*the number 1.1, expected text: put it in quotes"),
        ({"version": "1 0"}, "contains a space"),
        ({"buildNumber": "12a"}, "buildNumber in .*not a number"),
        ({"buildNumber": -1}, "buildNumber in .*not a number"),
        ({"debugBuild": "perhaps"}, "neither yes nor no"),
        ({"imageFiles": {"b": "x"}}, 'has no slot "A"'),
        ({"imageFiles": {"A": 3}}, "imageFiles in .*the number 3"),
        ({"serviceUrl": "http://api.afero.io"}, "https is required"),
        ({"serviceUrl": "http://127.0.0.1.evil.example"}, "https is required"),
        ({"serviceUrl": "https://me:pw@api.afero.io"}, "user name"),
        ({"serviceUrl": "api.afero.io"}, "is not a URL|https is required"),
        ({"auth-string": "not base64!"}, "auth-string in .*base64"),
        ({"partnerId": True}, "partnerId in .*true or false"),
        ({"name": "line\nbreak"}, "control character"),
    ],
)
def test_an_invalid_value_is_reported_with_its_key_and_what_is_expected(
    write: Write, change: Mapping[str, Any], said: str
) -> None:
    with pytest.raises(errors.ConfigError, match=said):
        config.load(write({**GOOD, **change}), {}, {})


def test_an_invalid_secret_is_reported_without_its_value(write: Write) -> None:
    assert "canary" not in faults_of(write({**GOOD, "auth-string": "canary canary", "userpw": "canary\n"}))


@pytest.mark.parametrize(
    "url", ["https://api.afero.io/", "http://127.0.0.1:8080", "http://localhost:1", "http://[::1]:8080"]
)
def test_a_service_url_is_https_or_http_to_localhost(write: Write, url: str) -> None:
    assert config.load(write({**GOOD, "serviceUrl": url}), {}, {}).service_url == url.rstrip("/")


@pytest.mark.parametrize("text", ["", "[1]", "{", "null", '"x"', "\x00"])
def test_a_file_that_is_not_a_mapping_is_reported_with_its_path(write: Write, text: str) -> None:
    assert "partner-ota-conf.json" in faults_of(write(text))


@pytest.mark.parametrize("name", ["nowhere.json", "nowhere.yml"])
def test_a_missing_file_is_reported_with_its_path(name: str) -> None:
    assert f"{name}: cannot be read" in faults_of(name)


def test_there_is_a_warning_if_others_can_read_a_file_with_secrets(write: Write) -> None:
    path = write(GOOD)
    os.chmod(path, 0o644)
    assert "chmod 600" in " ".join(config.load(path, {}, {}).warnings)


def test_the_warning_about_an_unknown_key_suggests_the_closest_known_one(write: Write) -> None:
    loaded = config.load(write({**GOOD, "deviceTypeID": "x"}), {}, {})
    assert "did you mean 'deviceTypeId'?" in " ".join(loaded.warnings)


def test_a_misspelt_key_is_named_together_with_the_fault_it_causes(write: Write) -> None:
    document = {key: value for key, value in GOOD.items() if key != "deviceTypeId"}
    message = faults_of(write({**document, "deviceTypeID": "x"}), needs=config.PUBLISH_NEEDS)
    assert "one fault" in message and "deviceTypeId: not set" in message
    assert "did you mean 'deviceTypeId'?" in message


def test_faults_can_name_bitbake_variables_instead_of_keys() -> None:
    with pytest.raises(errors.ConfigError) as caught:
        config.load(None, {"tags": "x" * 36}, {}, ("partner_id",), config.spell_variable)
    assert [fault.field for fault in caught.value.faults] == ["AFERO_OTA_TAGS", "AFERO_OTA_PARTNER_ID"]


def test_without_a_configuration_file_all_missing_fields_are_one_fault() -> None:
    no_file = errors.Fault("configuration file", "none named", "name one")
    with pytest.raises(errors.ConfigError) as caught:
        config.load(None, {"service_url": "http://api.afero.io"}, {}, EVERYTHING, no_file=no_file)
    assert [fault.field for fault in caught.value.faults] == ["configuration file", "serviceUrl"]
    with pytest.raises(errors.ConfigError, match="/nowhere.json: cannot be read"):
        config.load("/nowhere.json", {}, {}, EVERYTHING, no_file=no_file)


KEYS = (
    [key for key, _, _ in config.FIELDS.values()]
    + list(credentials.SECRETS)
    + [f"{name}-command" for name in credentials.SECRETS]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=60),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(document=st.dictionaries(st.sampled_from(KEYS), VALUES), as_yaml=st.booleans())
def test_any_values_give_a_configuration_or_faults_that_name_their_keys(
    tmp_path: Path, document: Mapping[str, Any], as_yaml: bool
) -> None:
    path = tmp_path / ("fuzz.yml" if as_yaml else "fuzz.json")
    text = yaml.safe_dump(document) if as_yaml else json.dumps(document)
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    try:
        config.load(str(path), {}, {})
    except errors.ConfigError as error:
        assert all(any(key in fault.field for key in [*KEYS, "fuzz"]) for fault in error.faults)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200), as_yaml=st.booleans())
def test_any_bytes_give_a_configuration_or_faults_that_name_the_file(
    tmp_path: Path, content: bytes, as_yaml: bool
) -> None:
    path = tmp_path / ("bytes.yml" if as_yaml else "bytes.json")
    path.write_bytes(content)
    try:
        config.load(str(path), {}, {})
    except errors.ConfigError as error:
        assert error.faults and all(str(path) in fault.field for fault in error.faults)
