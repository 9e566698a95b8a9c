# SPDX-License-Identifier: MIT
"""Commands that bring an image into the cloud and list what is there."""

from __future__ import annotations

import argparse
import functools
import json
import os
from collections.abc import Mapping
from typing import Any

from .. import config, errors, manifest, payload, publish, record, service
from ..files import write_text
from ..release import collecting
from . import options as shared
from .output import Output, date


def add(commands: shared.Commands) -> None:
    command = commands.add("record", create_record, "create or find the record of a build and write its file")
    shared.add_network(command)
    shared.add_build(command)
    command.add_argument(
        "-o", "--output", metavar="FILE", default=record.FILE_NAME, help="record file to write (default: %(default)s)"
    )

    command = commands.add("package", package, "make the payload and its manifest from an image archive")
    command.add_argument("archive", metavar="ARCHIVE", help="the image: tar.gz, ext4.gz, wic.gz, …")
    command.add_argument(
        "-o", "--output", metavar="FILE", help="payload to write (default: slot A of imageFiles, else hub_update.bin)"
    )
    command.add_argument(
        "--record",
        metavar="FILE",
        help=f"the record in the image, for the manifest (default: {record.FILE_NAME} when it is there)",
    )

    command = commands.add("upload", upload, "upload a payload and offer it to its device type")
    shared.add_network(command)
    shared.add_build(command)
    command.add_argument("payload", metavar="PAYLOAD", nargs="?", help="file to upload (default: slot A of imageFiles)")
    command.add_argument(
        "--record", metavar="FILE", help=f"the record in the image (default: the manifest's, else {record.FILE_NAME})"
    )

    command = commands.add("list", list_images, "list the images of the device type, newest last")
    shared.add_network(command)
    command.add_argument("--pool", action="store_true", help="list the partner's records instead, associated or not")
    command.add_argument("--name", help="only records of this name")
    command.add_argument(
        "--tag", action="append", default=[], help="only records with this tag (may be repeated: all of them)"
    )


def create_record(options: argparse.Namespace, output: Output) -> None:
    loaded = shared.settings(options, output, (*config.RECORD_NEEDS, "partner_id", *config.LOGIN_NEEDS))
    with shared.context(options, output, shared.connect(options, output, loaded)) as context:
        found, created = publish.ensure_record(context, record.wanted(loaded))
    found = record.as_created(found)
    write_text(options.output, record.dumps(found))
    verb = "created" if created else "found"
    text = f"record {verb}: {found.name} {found.version}, versionNumber {found.version_number}, id {found.id}; written to {options.output}"
    output.result({"created": created, "file": options.output, "record": dict(found.fields)}, text)


def package(options: argparse.Namespace, output: Output) -> None:
    loaded = shared.settings(options, output)
    facts: dict[str, Any] = {"source": os.path.basename(options.archive)}
    path = options.record or record.FILE_NAME
    if options.record or os.path.exists(record.find_file(path)):
        inside = record.read(path)
        facts.update(version=inside.version, record=dict(inside.fields))
    target = options.output or loaded.image_file
    with output.progress() as show:
        made = payload.package(options.archive, target, functools.partial(show, "packaging") if show else None)
    written = manifest.write(made, facts)
    text = f"payload: {made.path}, {made.size} bytes, SHA-256 {made.sha256}; manifest: {written}"
    output.result({"payload": made.path, "size": made.size, "sha256": made.sha256, "manifest": written}, text)


def upload(options: argparse.Namespace, output: Output) -> None:
    needs = (*(config.RECORD_NEEDS if options.build_number else ()), *config.PUBLISH_NEEDS)
    loaded = shared.settings(options, output, needs)
    path = options.payload or loaded.image_file
    payload.check_file(path)
    collecting.verify_around(path)
    cloud = shared.connect(options, output, loaded)
    wanted = _record_to_upload(options, loaded, cloud, path)
    with shared.context(options, output, cloud) as context:
        done = publish.publish_file(context, wanted, path)
    output.warn(done.warnings)
    facts = {
        "changed": done.changed,
        "imageId": done.image_id,
        "record": dict(done.record.fields),
        "sha256": done.payload.sha256,
        "size": done.payload.size,
        "url": done.url,
    }
    verb = "uploaded" if done.changed else "nothing to do, uploaded before"
    text = f"{wanted.name} {wanted.version}: {verb}; versionNumber {wanted.version_number}, image id {done.image_id}"
    output.result(facts, text)


def _record_to_upload(
    options: argparse.Namespace, loaded: config.Config, cloud: service.OtaService, path: str
) -> record.OtaRecord:
    if options.record and options.build_number:
        raise errors.ConfigError("give either --record or -n, not both")
    if options.record:
        return record.read(options.record)
    if options.build_number:
        wanted = record.wanted(loaded)
        found = cloud.find_record(wanted["name"], wanted["version"])
        if found is None:
            # creating it now would send an image that does not hold its own record
            raise errors.RefusedError(
                f"{wanted['name']} {wanted['version']} has no record; make it with `afero-ota record -n {options.build_number}` and put it into the image"
            )
        return found
    if os.path.exists(manifest.path_of(path)):
        fields = manifest.read(path).get("record")
        if isinstance(fields, dict):
            return record.loads(json.dumps(fields), manifest.path_of(path))
    if os.path.exists(record.find_file(record.FILE_NAME)):
        return record.read(record.FILE_NAME)
    raise errors.ConfigError("which record belongs to this payload? Give -n BUILD, or --record FILE")


def list_images(options: argparse.Namespace, output: Output) -> None:
    cloud = shared.connect(options, output, shared.settings(options, output, config.PUBLISH_NEEDS))
    tags = ",".join(options.tag)
    items = [dict(item.fields) for item in cloud.records(tags=tags)] if options.pool else list(cloud.images(tags=tags))
    # what several tags mean to the service is not documented
    items = [
        item
        for item in items
        if set(options.tag) <= set(item.get("tags") or []) and options.name in (None, item.get("name"))
    ]
    items.sort(key=lambda item: int(item["versionNumber"]) if str(item.get("versionNumber", "")).isdigit() else 0)
    identity = "record id" if options.pool else "image id"
    header = (identity, "number", "version", "name", "created", "state", "description")
    output.rows(header, [_row(item) for item in items], items)


def _row(item: Mapping[str, Any]) -> tuple[object, ...]:
    return (
        *(item.get(key, "") for key in ("id", "versionNumber", "version", "name")),
        date(item.get("createdTimestamp")),
        "uploaded" if item.get("url") else "no image yet",
        item.get("description", ""),
    )
