#!/bin/sh
# SPDX-License-Identifier: MIT
""":"  # this line and the next are for a shell: Python may have to be installed first
exec "$(dirname "$(readlink -f "$0")")/run" core "$0" "$@"

Drop-in replacement for Afero's uploader: same options, default file, output lines and exit statuses.

What differs is listed in docs/migration.md; above all, it can be run again after any failure.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from typing import Any, NoReturn

import bootstrap

bootstrap.prepare("core")
from afero_ota import config, context, errors, files, journal, publish, record, service, text  # noqa: E402

# exit statuses of Afero's tool, as a shell sees them
LOGIN_FAILED, USAGE, NO_RECORD, NO_DEVICE_TYPE = 247, 246, 245, 243
# the status for the step that failed; any other failure happened while looking at the cloud
STEP_FAILED = {
    journal.Step.CREATE_RECORD: 254,
    journal.Step.UPLOAD: 252,
    journal.Step.MOVE: 251,
    journal.Step.SET_URL: 249,
    journal.Step.ASSOCIATE: 248,
    journal.Step.DISSOCIATE: 248,
}
LOOK_FAILED = 255
# what Afero's tool says when it begins a step
LINES = {
    journal.Step.UPLOAD: "Upload the OTA Image .....",
    journal.Step.SET_URL: "Update OTA Record with the storage URL",
    journal.Step.ASSOCIATE: "Associate the Image with the deviceTypeId and ParnerId .....",
}


class Stop(Exception):
    """Ends the tool with a message and a status."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


def announce(entry: journal.Entry) -> None:
    """Print the line of a step that begins."""
    line = LINES.get(journal.Step(entry["step"]))
    if line and entry["outcome"] == journal.Outcome.STARTED.value:
        print(line, flush=True)


def say(message: str) -> None:
    print(text.visible(message))


def main() -> int:
    options = parse_arguments()
    log = journal.Journal(observer=announce)
    try:
        settings = config.load(
            options.conf,
            {
                "build_number": options.buildNum,
                "debug_build": options.debug,
                "service_url": os.environ.get("AFERO_OTA_SERVICE_URL"),
            },
            os.environ,
            (*config.RECORD_NEEDS, *config.PUBLISH_NEEDS),
        )
        cloud = service.connect(settings)
        cloud.login()
        print("Got access_token")
        run(options, settings, context.Context(cloud, log, say))
    except Stop as stop:
        say(str(stop))
        return stop.status
    except errors.OtaError as error:
        print(f"Error: {text.message(error)}")
        return status_of(error, log)
    except OSError as error:
        print(f"Error: {text.message(error)}")
        return NO_RECORD
    return 0


def run(options: argparse.Namespace, settings: config.Config, work: context.Context) -> None:
    wanted = record.wanted(settings)
    file = os.path.join("" if options.s else bitbake_tmpdir(), record.CLASSIC_FILE_NAME)
    print("Check for existence -> \n")
    if options.createOTARecord:
        create(work, wanted, file)
    else:
        upload(work, settings, wanted["version"], file)


def create(work: context.Context, wanted: dict[str, Any], file: str) -> None:
    print("Start to create record .....")
    found, created = publish.ensure_record(work, wanted)
    say(
        "OTA record is created"
        if created
        else f"OTA record exists: found it under versionNumber {found.version_number}"
    )
    content = record.dumps(record.as_created(found))
    # device software and the documentation spell the name differently: keep both
    for path in (file, os.path.join(os.path.dirname(file), record.FILE_NAME)):
        files.write_text(path, content)
    print(f"OTA Record output to: {file}")


def upload(work: context.Context, settings: config.Config, version: str, file: str) -> None:
    if not os.path.exists(record.find_file(file)):
        raise Stop(
            NO_RECORD,
            f"ERROR: No OTA Record for HUB image: {settings.name}, version={version} in {file}. Create OTA Record first",
        )
    kept = record.read(file)
    if kept.version != version:
        raise Stop(
            NO_RECORD,
            f"The command request ver({version}) is different from OTA Record ver({kept.version}). Check your command",
        )
    done = publish.publish_file(work, kept, settings.image_file)
    for warning in done.warnings:
        say(f"Warning: {warning}")
    if not done.changed:
        say(f"A image with type, version already uploaded:{record.HUB_IMAGE}, {version}. Exit")
        return
    say(f"Image Id: {done.image_id}")
    print("Done!")


def bitbake_tmpdir() -> str:
    """TMPDIR of the BitBake build in the current folder."""
    remedy = "run this in a build folder with BitBake's environment, or use -s to keep the record in the current folder"
    try:
        done = subprocess.run(["bitbake", "-e"], stdout=subprocess.PIPE, text=True)
    except OSError as error:
        raise Stop(NO_RECORD, f"Error: bitbake cannot be run ({error.strerror}); {remedy}") from None
    lines = [line for line in done.stdout.splitlines() if line.startswith("TMPDIR=")]
    if not lines:
        raise Stop(NO_RECORD, f"Error: bitbake does not tell TMPDIR; {remedy}")
    return lines[-1].split("=", 1)[1].strip('"')


def status_of(error: errors.OtaError, log: journal.Journal) -> int:
    if isinstance(error, errors.ConfigError):
        return NO_DEVICE_TYPE if [fault.field for fault in error.faults] == ["deviceTypeId"] else USAGE
    if isinstance(error, errors.AuthError):
        return LOGIN_FAILED
    last = log.entries[-1] if log.entries else None
    if last is None or last["outcome"] != journal.Outcome.FAILED.value:
        return LOOK_FAILED
    return STEP_FAILED.get(journal.Step(last["step"]), LOOK_FAILED)


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(message)
        self.print_help()
        sys.exit(USAGE)


def parse_arguments() -> argparse.Namespace:
    # argparse completes long options, so that the documented --d is --debug
    parser = Parser(description="Create an OTA record, or upload the OTA image that belongs to it.")
    parser.add_argument(
        "-c",
        "--conf",
        metavar="FILE",
        default="partner-ota-conf.json",
        help="configuration file (default: %(default)s)",
    )
    parser.add_argument(
        "-d", "--debug", action="store_true", default=None, help="build type debug (defaults to release)"
    )
    parser.add_argument(
        "-s", action="store_true", help="do not ask BitBake for TMPDIR: the record is in the current folder"
    )
    parser.add_argument("-n", "--buildNum", metavar="N", required=True, help="build number")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--createOTARecord", action="store_true", help="create an OTA record, or")
    action.add_argument("--uploadOTAImage", action="store_true", help="upload the OTA image of the record")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
