# SPDX-License-Identifier: MIT
"""Which image is meant: by its id, by the payload at hand, or the newest of the device type."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from .. import manifest
from ..errors import RefusedError
from ..service import OtaService

_BIGGEST = 2**63 - 1  # a versionNumber is a signed 64-bit attribute (docs/AttrRegistry.md)


def find(service: OtaService, image_id: str) -> Mapping[str, Any]:
    """The association with this id. Raises RefusedError when there is none, or it has no file."""
    image = next((image for image in service.images() if str(image.get("id")) == image_id), None)
    if image is None:
        raise RefusedError(
            f"device type {service.device_type_id} has no image with the id {image_id}; `afero-ota list` shows the ids "
            "(the id of a record is another number)"
        )
    return _with_file(image)


def newest(service: OtaService) -> Mapping[str, Any]:
    """The association with the highest versionNumber that has a file. Raises RefusedError when there is none."""
    images = [image for image in service.images() if image.get("url")]
    if not images:
        raise RefusedError(f"device type {service.device_type_id} has no image that was uploaded; upload one first")
    return max(images, key=version_number)


def of_payload(service: OtaService, payload: str) -> Mapping[str, Any] | None:
    """The association of the version that a payload's manifest names; None when there is no manifest or no such image."""
    if not os.path.exists(manifest.path_of(payload)):
        return None
    record = manifest.read(payload).get("record")
    number = str(record.get("versionNumber") or "") if isinstance(record, Mapping) else ""
    image = service.image(number) if number.strip("0") else None
    return _with_file(image) if image else None


def meant(service: OtaService, payload: str) -> tuple[Mapping[str, Any], str]:
    """The image when none is named, and which one that is, in words: that of the payload at hand, else the newest."""
    image = of_payload(service, payload)
    if image is not None:
        return image, f"image {name(image)}, from the manifest of {payload}"
    image = newest(service)
    return image, f"image {name(image)}, the newest of the device type"


def name(image: Mapping[str, Any]) -> str:
    """An image in words: id, name, version."""
    return f"{image.get('id')} ({image.get('name')} {image.get('version')}, versionNumber {image.get('versionNumber')})"


def version_number(image: Mapping[str, Any]) -> int:
    """The versionNumber as a number. Raises RefusedError when it is none."""
    text = str(image.get("versionNumber", ""))
    if not (text.isascii() and text.isdecimal()) or not 0 < int(text) <= _BIGGEST:
        raise RefusedError(
            f"image {image.get('id')}: the cloud says that its versionNumber is {text!r}, expected a number from 1 to {_BIGGEST}"
        )
    return int(text)


def _with_file(image: Mapping[str, Any]) -> Mapping[str, Any]:
    if not image.get("url"):
        raise RefusedError(f"image {image.get('id')} has no file in the cloud; upload it first")
    return image
