# SPDX-License-Identifier: MIT
"""The OTA record: the cloud's entry for one version of an image, and the copy of it in the image's /etc."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import ConfigError, Fault
from .files import write_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from .config import Config

HUB_IMAGE = 5  # firmware type of a whole Linux image; docs/API-OTAEndpoints.md
FILE_NAME = "full-ota-record.json"
CLASSIC_FILE_NAME = "full_ota_record.json"  # what Afero's tools and device software read
CONTENT_TAG = "sha256:"  # our tag that identifies the content of the version
SBOM_TAG = "sbom:"  # our tag that identifies the SBOM of the content
_TAG_LENGTH = 35  # characters a tag may have


@dataclass(frozen=True)
class OtaRecord:
    """A record as the cloud returned it; unknown fields are kept, since an association must repeat them unchanged."""

    fields: Mapping[str, Any]

    def _text(self, key: str) -> str:
        value = self.fields.get(key)
        return "" if value is None else str(value)

    @property
    def id(self) -> str:
        """The pool record's own id (never the one used to push)."""
        return self._text("id")

    @property
    def name(self) -> str:
        return self._text("name")

    @property
    def version(self) -> str:
        return self._text("version")

    @property
    def version_number(self) -> str:
        """The cloud's number of this version, digits; "0" for an offline record, "" when the answer left it out."""
        return self._text("versionNumber")

    @property
    def url(self) -> str:
        return self._text("url")

    @property
    def tags(self) -> list[str]:
        value = self.fields.get("tags")
        return [str(tag) for tag in value] if isinstance(value, list) else []

    @property
    def is_offline(self) -> bool:
        return self.version_number in ("", "0")

    @property
    def content_tag(self) -> str:
        """The tag that names the uploaded content, or "" when the version was not uploaded by this library."""
        return next((tag for tag in self.tags if tag.startswith(CONTENT_TAG)), "")

    @property
    def sbom_tag(self) -> str:
        """The tag that names the SBOM of the content, or "" when there is none."""
        return next((tag for tag in self.tags if tag.startswith(SBOM_TAG)), "")

    @property
    def own_tags(self) -> list[str]:
        """The tags that the configuration gave the record: all but those that the upload adds."""
        return [tag for tag in self.tags if not tag.startswith((CONTENT_TAG, SBOM_TAG))]

    def matches(self, name: str, version: str) -> bool:
        return (self._text("type"), self.name, self.version) == (str(HUB_IMAGE), name, version)


def full_version(version: str, build_number: str, debug: bool) -> str:
    """`<version>.<build number>`, with `d` for a debug build, as Afero's uploader forms it."""
    return f"{version}.{build_number}{'d' if debug else ''}"


def request(name: str, version: str, description: str, tags: list[str]) -> dict[str, Any]:
    """The body that asks the cloud for a new record; `description` only when there is one."""
    body: dict[str, Any] = {"name": name, "type": HUB_IMAGE, "version": version, "url": "", "tags": tags}
    if description:
        body["description"] = description
    return body


def wanted(settings: Config) -> dict[str, Any]:
    """The body that asks the cloud for the record of a configuration's build."""
    version = full_version(settings.version, settings.build_number, settings.debug_build)
    return request(settings.name, version, settings.description, list(settings.tags))


def offline(body: Mapping[str, Any]) -> OtaRecord:
    """A record for a build without an account: no id, versionNumber "0", never accepted for upload."""
    return OtaRecord(
        {**body, "id": "", "versionNumber": "0", "partnerId": "", "createdTimestamp": 0, "updatedTimestamp": 0}
    )


def as_created(record: OtaRecord) -> OtaRecord:
    """The record as it was created, without later changes in the cloud: the form that goes into an image.

    Without this, a build after the upload would contain a different record than the build that was uploaded.
    """
    fields = {key: value for key, value in record.fields.items() if key != "url2"}
    fields["url"] = ""
    fields["tags"] = record.own_tags
    if "createdTimestamp" in fields:
        fields["updatedTimestamp"] = fields["createdTimestamp"]
    return OtaRecord(fields)


def content_tag(sha256: str) -> str:
    """The tag for a payload's content: `sha256:` and the first 28 hexadecimal digits, 35 characters in all."""
    return (CONTENT_TAG + sha256.lower())[:_TAG_LENGTH]


def sbom_tag(sha256: str) -> str:
    """The tag for an SBOM: `sbom:` and the first 30 hexadecimal digits, 35 characters in all; "" without an SBOM."""
    return (SBOM_TAG + sha256.lower())[:_TAG_LENGTH] if sha256 else ""


def dumps(record: OtaRecord) -> str:
    """The record as text: sorted keys, four spaces, one line end; equal records give equal bytes."""
    return json.dumps(dict(record.fields), sort_keys=True, indent=4, ensure_ascii=False) + "\n"


def loads(text: str, source: str) -> OtaRecord:
    """The inverse of dumps. Raises ConfigError naming `source` when the text is not a record of a hub image."""
    remedy = "make it again: scripts/afero-ota record -n BUILD"
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError([Fault(source, f"is not JSON ({error})", remedy)]) from None
    if not isinstance(fields, dict):
        raise ConfigError([Fault(source, "is not a JSON object", remedy)])
    record = OtaRecord(fields)
    faults = []
    if str(fields.get("type")) != str(HUB_IMAGE):
        faults.append(
            Fault(source, f"type is {fields.get('type')!r}, expected {HUB_IMAGE} (a whole Linux image)", remedy)
        )
    if not re.fullmatch(r"[0-9]{1,20}", record.version_number):
        faults.append(Fault(source, f"versionNumber is {fields.get('versionNumber')!r}, expected digits", remedy))
    for key in ("name", "version"):
        if not isinstance(fields.get(key), str) or not fields[key]:
            faults.append(Fault(source, f"{key} is {fields.get(key)!r}, expected a text", remedy))
    if faults:
        raise ConfigError(faults)
    return record


def find_file(path: str) -> str:
    """The path, or its sibling under the other spelling of the record's file name when only that one exists."""
    folder, name = os.path.split(path)
    other = {FILE_NAME: CLASSIC_FILE_NAME, CLASSIC_FILE_NAME: FILE_NAME}.get(name)
    if other and not os.path.exists(path) and os.path.exists(os.path.join(folder, other)):
        return os.path.join(folder, other)
    return path


def read(path: str) -> OtaRecord:
    """Read a record file, under either spelling of its name. Raises ConfigError."""
    path = find_file(path)
    try:
        with open(path, encoding="utf-8") as stream:
            text = stream.read()
    except OSError as error:
        remedy = "make it: scripts/afero-ota record -n BUILD"
        raise ConfigError([Fault(path, f"the record cannot be read: {error.strerror}", remedy)]) from None
    except UnicodeDecodeError:
        raise ConfigError(
            [Fault(path, "is not UTF-8 text", "make it again: scripts/afero-ota record -n BUILD")]
        ) from None
    return loads(text, path)


def install(record: OtaRecord, root: str) -> None:
    """Put the record into a root file system: /etc/full-ota-record.json, and a link under the underscore name."""
    folder = os.path.join(root, "etc")
    write_text(os.path.join(folder, FILE_NAME), dumps(as_created(record)))
    link = os.path.join(folder, CLASSIC_FILE_NAME)
    if os.path.lexists(link):
        os.unlink(link)
    os.symlink(FILE_NAME, link)
