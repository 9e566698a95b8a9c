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
from afero_ota import config, errors, journal, rollout, service  # noqa: E402

# exit statuses of Afero's tool, as a shell sees them
LIST_FAILED, PUSH_FAILED, LOGIN_FAILED, USAGE = 254, 253, 247, 246
ROW = "{0:<10}  {1:<15}  {2:<30}  {3:<30}"


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
        print(f"Error: {error}")
        return LOGIN_FAILED
    except errors.ConfigError as error:
        print(f"Error: {error}")
        return USAGE
    except errors.OtaError as error:
        print(f"Error: {error}")
        return LIST_FAILED if options.list else PUSH_FAILED


def show(cloud: service.OtaService) -> None:
    images = list(cloud.images())
    print("\n----  List of HUB FULL OTA images ---- \n")
    print(f"partnerId   : {cloud.partner_id}")
    print(f"deviceTypeId: {cloud.device_type_id}\n")
    print(f"Total Number of Images: {len(images)}")
    print(ROW.format("Image Id", "Version", "Name", "Description"))
    print(ROW.format("-" * 10, "-" * 15, "-" * 30, "-" * 30))
    for image in images:
        print(ROW.format(*(str(image.get(key, "")) for key in ("id", "version", "name", "description"))).rstrip())


def deploy(cloud: service.OtaService, image_id: str, device: str) -> int:
    print("Initiate OTA Image deploying ..... ")
    image = next((image for image in cloud.images() if str(image.get("id")) == image_id), None)
    if image is None:
        raise errors.RefusedError(
            f"there is no image {image_id} for device type {cloud.device_type_id}; --list shows the ids"
        )
    [outcome] = rollout.push(
        cloud, image_id, str(image.get("versionNumber", "")), [device], journal.Journal(), lambda text: None
    )
    if outcome.result == "pushed":
        print("\nRequest accepted for processing\n")
    else:
        print(f"{outcome.device_id}: {outcome.result}, {outcome.detail}")
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
