# SPDX-License-Identifier: MIT
"""Commands that push images to devices, and show what was done."""

from __future__ import annotations

import argparse
import os

from .. import config, errors, journal, rollout
from . import options as shared
from .output import Output


def add(commands: shared.Commands) -> None:
    command = commands.add("deploy", deploy, "push an image to devices")
    shared.add_network(command)
    command.add_argument(
        "-i", "--image-id", metavar="IMAGE_ID", required=True, help="id of the image, from upload or list"
    )
    command.add_argument(
        "-d", "--device", metavar="DEVICE", action="append", nargs="+", required=True, help="device ids, or @FILE"
    )
    command.add_argument(
        "--again", action="store_true", help="also push to devices that the journal says were pushed this image before"
    )
    command.epilog = (
        "Several devices: the exit status is that of the first failure that a repeat will not mend, else 6 when the network "
        "failed, else 7 when a device is busy with another update."
    )

    command = commands.add("status", status, "show what the journal says was done")
    command.add_argument(
        "--journal", metavar="FILE", default=shared.JOURNAL_FILE, help="journal to read (default: %(default)s)"
    )


def deploy(options: argparse.Namespace, output: Output) -> int:
    loaded = shared.settings(options, output, config.PUBLISH_NEEDS)
    devices = rollout.read_devices(word for words in options.device for word in words)
    if not devices:
        raise errors.ConfigError("no device named: give ids after -d, or @FILE")
    cloud = shared.connect(options, output, loaded)
    image = rollout.find_image(cloud, options.image_id)
    with shared.context(options, output, cloud, output.detail) as context:
        outcomes = rollout.push(context, image, devices, options.again)
    rows = [(outcome.device_id, outcome.result, outcome.detail) for outcome in outcomes]
    output.rows(("device", "result", "detail"), rows)
    return rollout.exit_status(outcomes)


def status(options: argparse.Namespace, output: Output) -> None:
    if not os.path.exists(options.journal):
        raise errors.ConfigError(f"{options.journal}: no such journal; name one with --journal")
    entries = journal.read(options.journal)
    shown = ("time", "step", "outcome")
    rows = [
        (
            *(entry.get(key, "") for key in shown),
            " ".join(f"{key}={value}" for key, value in entry.items() if key not in (*shown, "tool")),
        )
        for entry in entries
    ]
    output.rows((*shown, "facts"), rows, entries)
