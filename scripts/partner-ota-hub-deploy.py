#!/bin/sh
# SPDX-License-Identifier: MIT
""":"  # this line and the next are for a shell: Python may have to be installed first
exec "$(dirname "$(readlink -f "$0")")/run" core "$0" "$@"

Drop-in replacement for Afero's deploy tool: same options, default file, output lines and exit statuses.

What differs is listed in docs/migration.md.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import NoReturn

import bootstrap

bootstrap.prepare("core")
from afero_ota import config, context, errors, journal, rollout, service, text  # noqa: E402

# exit statuses of Afero's tool, as a shell sees them
LIST_FAILED, PUSH_FAILED, LOGIN_FAILED, USAGE = 254, 253, 247, 246
COLUMNS = {"Image Id": 10, "Version": 15, "Name": 30, "Description": 30}  # title and width


def main() -> int:
    options = parse_arguments()
    try:
        url = os.environ.get("AFERO_OTA_SERVICE_URL")
        settings = config.load(options.conf, {"service_url": url}, os.environ, config.PUBLISH_NEEDS)
        cloud = service.connect(settings)
        cloud.login()
        print("Got access_token")
        if options.list:
            show(cloud)
            return 0
        return deploy(cloud, options.imageId, options.device)
    except errors.AuthError as error:
        print(f"Error: {text.message(error)}")
        return LOGIN_FAILED
    except errors.ConfigError as error:
        print(f"Error: {text.message(error)}")
        return USAGE
    except errors.OtaError as error:
        print(f"Error: {text.message(error)}")
        return LIST_FAILED if options.list else PUSH_FAILED


def show(cloud: service.OtaService) -> None:
    images = list(cloud.images())
    print("\n----  List of HUB FULL OTA images ---- \n")
    print(f"partnerId   : {text.visible(cloud.partner_id)}")
    print(f"deviceTypeId: {text.visible(cloud.device_type_id)}\n")
    print(f"Total Number of Images: {len(images)}")
    print(row(*COLUMNS))
    print(row(*("-" * width for width in COLUMNS.values())))
    for image in images:
        print(row(*(image.get(key, "") for key in ("id", "version", "name", "description"))))


def row(*cells: object) -> str:
    """One line of the list, columns as wide as in Afero's tool."""
    return "  ".join(text.pad(text.visible(cell), width) for cell, width in zip(cells, COLUMNS.values())).rstrip()


def deploy(cloud: service.OtaService, image_id: str, device: str) -> int:
    print("Initiate OTA Image deploying ..... ")
    image = rollout.find_image(cloud, image_id)
    [outcome] = rollout.push(context.Context(cloud, journal.Journal()), image, [device])
    if outcome.result is rollout.Result.PUSHED:
        print("\nRequest accepted for processing\n")
    else:
        print(text.visible(f"{outcome.device_id}: {outcome.result}, {outcome.detail}"))
    return 0 if outcome.ok else PUSH_FAILED


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(message)
        self.print_help()
        sys.exit(USAGE)


def parse_arguments() -> argparse.Namespace:
    parser = Parser(description="Deploy an OTA image to a device.")
    parser.add_argument(
        "-c",
        "--conf",
        metavar="FILE",
        default="partner-ota-conf.json",
        help="configuration file (default: %(default)s)",
    )
    parser.add_argument(
        "-l",
        "--list",
        action="store_true",
        help="list the OTA images for the partner and device type only, without deploying",
    )
    parser.add_argument("-d", "--device", metavar="ID", help="device that receives the OTA image")
    parser.add_argument(
        "-i", "--imageId", "--image", metavar="ID", help="id of the uploaded OTA image, as --list shows it"
    )
    options = parser.parse_args()
    if not options.list and not (options.device and options.imageId):
        parser.error("Please specify deviceId and imageId for OTA deployment")
    return options


if __name__ == "__main__":
    sys.exit(main())
