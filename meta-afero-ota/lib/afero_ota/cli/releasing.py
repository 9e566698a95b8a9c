# SPDX-License-Identifier: MIT
"""Commands for the folder of releases: release, affected."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping
from typing import Any

from .. import config, errors
from ..release import affected as search
from ..release import collecting
from ..rollout import direct
from ..service import running_version
from . import options as shared
from .output import Output, table

FOLDER = "releases"


def add(commands: shared.Commands) -> None:
    command = commands.add("release", release, "keep a payload and all that belongs to it in the folder of releases")
    _add_folder(command)
    command.add_argument(
        "payload", metavar="PAYLOAD", nargs="?", help="the payload to keep (default: slot A of imageFiles)"
    )
    command.add_argument(
        "--with",
        dest="more",
        metavar="FILE",
        action="append",
        nargs="+",
        default=[],
        help="keep these files too, such as kas's dump, lock file and provenance attestation",
    )
    command.add_argument(
        "--journal",
        metavar="FILE",
        help=f"journal of the upload (default: {shared.JOURNAL_FILE} when it is there)",
    )
    command.add_argument(
        "--plan", metavar="FILE", action="append", default=[], help="also keep this plan and the journal of its rollout"
    )
    command.add_argument(
        "--check", action="store_true", help="keep nothing: verify every file of every release instead"
    )

    command = commands.add("affected", affected, "say which releases and devices have a package or a CVE")
    shared.add_network(command)
    _add_folder(command)
    command.add_argument(
        "query", metavar="QUERY", help="openssl, 'openssl<3.0.14', 'openssl>=3.0,<3.0.14', or CVE-2024-4741"
    )
    command.add_argument("--no-devices", action="store_true", help="do not ask the service which devices run what")


def _add_folder(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "-r", "--releases", metavar="FOLDER", default=FOLDER, help="the folder of releases (default: %(default)s)"
    )


def release(options: argparse.Namespace, output: Output) -> None:
    if options.check:
        return _check(options, output)
    payload = options.payload or shared.settings(options, output).image_file
    journals = [options.journal or shared.JOURNAL_FILE]
    more = [path for paths in options.more for path in paths]
    done = collecting.collect(options.releases, payload, more, journals, options.plan)
    said = "kept" if "" in done.written else "is kept already"
    added = "".join(f"; added {path}" for path in done.written if path)
    data = {"release": done.path, "changed": bool(done.written), "written": [path or "." for path in done.written]}
    output.result(data, f"{done.path}: {said}{added}")


def _check(options: argparse.Namespace, output: Output) -> None:
    found = collecting.releases_in(options.releases)
    faults: list[errors.Fault] = []
    for path in found:
        try:
            collecting.verify(path)
            output.detail(f"{path}: every file is as it was written")
        except errors.ConfigError as error:
            faults += error.faults
    if faults:
        raise errors.ConfigError(faults, where=f"the releases in {options.releases}")
    output.result({"releases": found}, f"{len(found)} releases in {options.releases}: every file is as it was written")


def affected(options: argparse.Namespace, output: Output) -> None:
    query = search.parse(options.query)
    found = search.look(options.releases, query)
    running: list[tuple[str, int | None]] = []
    if not options.no_devices:
        cloud = shared.connect(options, output, shared.settings(options, output, config.PUBLISH_NEEDS))
        for row in cloud.devices(direct.account(cloud)):
            if str(row.get("deviceTypeId", cloud.device_type_id)) == cloud.device_type_id:
                running.append((str(row.get("deviceId")), running_version(row)))
    answer = search.answer(found, running)
    data = {
        "query": query.text,
        "affected": [_document(one, answer.devices) for one in answer.releases],
        "fixes": [_document(one, answer.devices) for one in answer.fixes],
        "silent": [_document(one, answer.devices) for one in answer.silent],
        "unknownDevices": list(answer.unknown),
    }
    output.document(data, _shown(query, found, answer, not options.no_devices))


def _document(one: search.Release, devices: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **{key: value for key, value in dataclasses.asdict(one).items() if key not in ("affected", "contains")},
        "devices": list(devices.get(one.version_number, ())),
    }


def _shown(query: search.Query, found: list[search.Release], answer: search.Answer, asked: bool) -> str:
    lines = []
    header = ("state", "name", "version", "number", "devices", "found")
    rows = [
        (
            state,
            one.name,
            one.version,
            one.version_number,
            len(answer.devices.get(one.version_number, ())) if asked else "not asked",
            ", ".join(one.found),
        )
        for state, chosen in (("affected", answer.releases), ("fixed", answer.fixes), ("unknown", answer.silent))
        for one in chosen
    ]
    if rows:
        lines += [table(header, rows), ""]
    devices = [device for one in answer.releases for device in answer.devices.get(one.version_number, ())]
    if devices:
        lines += ["devices that run an affected release:", *(f"  {device}" for device in devices), ""]
    lines.append(_summary(query, found, answer, len(devices) if asked else None))
    return "\n".join(lines)


def _summary(query: search.Query, found: list[search.Release], answer: search.Answer, devices: int | None) -> str:
    if not any(one.contains for one in found):
        what = "mentions" if query.cve else "contains"
        said = f"none of {len(found)} releases {what} {query.cve or query.name}"
    else:
        said = f"{len(answer.releases)} of {len(found)} releases are affected by {query.text}"
        if devices is not None:
            said += f"; {devices} {'device runs' if devices == 1 else 'devices run'} one of them"
    if answer.silent:
        why = "a CVE report that mentions it" if query.cve else "a list of packages"
        said += f"; releases without {why}: {len(answer.silent)}"
    if answer.unknown:
        said += f"; devices that run a version that is not among the releases, or show none: {len(answer.unknown)}"
    return said
