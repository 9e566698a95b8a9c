# SPDX-License-Identifier: MIT
"""Record → upload → associate. Looks at what the cloud has and does only what is missing, so it can be stopped anywhere and run again.

The cloud keeps no hash of an image, so the record gets the tag `sha256:<28 digits>` together with the image's URL. The tag
tells every later run, on any machine, whether this content was uploaded. With an SBOM the record gets `sbom:<30 digits>` too.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, TypeVar

from . import manifest, sbom
from . import payload as payloads
from . import record as records
from .errors import ConflictError, NetworkError, RefusedError, UnknownOutcomeError
from .journal import Outcome, Step
from .record import OtaRecord

if TYPE_CHECKING:
    from .context import Context
    from .payload import Payload
    from .service import OtaService

_LOOKS = (0.0, 1.0, 2.0, 4.0)  # seconds before each attempt to find something that may appear late
_CREATE_ATTEMPTS = 5
_UPLOAD_ATTEMPTS = 3

Found = TypeVar("Found")


@dataclass(frozen=True)
class Publication:
    """What the cloud holds now. `changed` is False when there was nothing to do; `image_id` is the id that push takes."""

    record: OtaRecord
    payload: Payload
    url: str
    image_id: str
    changed: bool
    warnings: tuple[str, ...] = ()


def ensure_record(context: Context, wanted: Mapping[str, Any]) -> tuple[OtaRecord, bool]:
    """Find the record of (type 5, name, version), or create it. Returns it, and whether this call created it.

    wanted: the body from record.wanted(). Recovers a record whose 201 never arrived; creates no second one.
    """
    service, journal = context.service, context.journal
    name, version = wanted["name"], wanted["version"]
    for _ in range(_CREATE_ATTEMPTS):
        found = _listed_record(context, name, version)
        if found is not None:
            journal.note(Step.RECORD, Outcome.FOUND, **_ids(found))
            return found, False
        try:
            with journal.step(Step.CREATE_RECORD, name=name, version=version) as facts:
                created = service.create_record(wanted)
                facts.update(_ids(created))
        except (UnknownOutcomeError, ConflictError) as error:
            context.log(f"{error}; looking whether the record is there")
            failure: Exception = error
            found = _look(lambda: service.find_record(name, version))
        else:
            # the answer had no number, but the list has it
            found = created if created.version_number else _look(lambda: service.find_record(name, version))
            failure = NetworkError(
                f"the service created {name} {version}, but does not list it. Run the same command again."
            )
        if found is not None:
            journal.note(Step.RECORD, Outcome.CREATED, **_ids(found))
            return found, True
        if isinstance(failure, ConflictError):
            raise ConflictError(
                f"{failure}. The name and version are taken, and not by partner {service.partner_id}: use another build number."
            )
    raise failure


def _listed_record(context: Context, name: str, version: str) -> OtaRecord | None:
    """The record, or None when the service says that there is none; waits for one that exists and is not listed yet."""
    service = context.service
    found = service.find_record(name, version)
    if found is None and service.record_exists(name, version):
        context.log(f"the service says that {name} {version} exists; waiting for it to be listed")
        found = _look(lambda: service.find_record(name, version))
        if found is None:
            raise ConflictError(
                f"the service says that {name} {version} exists, but does not list it for partner {service.partner_id}. "
                "Use another build number."
            )
    return found


def publish_file(context: Context, record: OtaRecord, path: str) -> Publication:
    """Measure the payload at `path`, compare it with the manifest beside it if there is one, and `publish` it.

    Raises what publish raises, and ConfigError when the file is missing, empty, or not the one that was packaged, or when the
    same is true of the SBOM and the reports beside it.
    """
    payload, content, described = payloads.measure(path, context.progress_of("hashing")), "", ""
    if os.path.exists(manifest.path_of(path)):
        document = manifest.read(path)
        manifest.verify(payload, document)
        sbom.verify(os.path.dirname(path), document)
        content = str(document.get("content") or "")
        described = str((document.get("sbom") or {}).get("sha256") or "")
    return publish(context, record, payload, content, described)


def publish(
    context: Context, record: OtaRecord, payload: Payload, content: str = "", sbom_sha256: str = ""
) -> Publication:
    """Upload the payload as the content of `record` and associate it with the service's device type.

    record: as it is in the image; must be in the cloud under the same number, name and version. content: SHA-256 of what a
    signed payload holds, which tells whether it is in the cloud already: each signature makes another file. Empty: the payload.
    sbom_sha256: of the payload's SBOM.
    Raises RefusedError for an offline or unknown record, ConflictError when the version has another content.
    """
    service, journal = context.service, context.journal
    known = _known(service, record)
    tag, sbom_tag = records.content_tag(content or payload.sha256), records.sbom_tag(sbom_sha256)
    image = service.image(record.version_number)
    if image is not None and image.get("url"):
        warnings = (*_compare(OtaRecord(image), known, tag, record), *_compare_sbom(OtaRecord(image), known, sbom_tag))
        context.log(f"{record.name} {record.version} is uploaded and associated already: nothing to do")
        facts = {"sha256": payload.sha256, "image": _image_id(image), **_ids(known)}
        journal.note(Step.PUBLISH, Outcome.NOTHING_TO_DO, **facts)
        return Publication(known, payload, str(image["url"]), _image_id(image), False, warnings)
    if image is not None:
        # Afero's tool leaves such images behind; whether the association follows a later url is not documented
        context.log(f"{record.name} {record.version} is associated without an image: taking the association away first")
        with journal.step(Step.DISSOCIATE, **_ids(record)):
            service.dissociate(record.version_number)
    if known.url and known.content_tag and known.content_tag != tag:
        raise _other_content(record)
    if not (known.url and known.content_tag == tag):
        known = _set_content(context, known, payload, [tag, sbom_tag] if sbom_tag else [tag])
    return _associate(context, known, payload)


def _known(service: OtaService, record: OtaRecord) -> OtaRecord:
    if record.is_offline:
        raise RefusedError(
            f"the image carries an offline record ({record.name} {record.version}, versionNumber 0), which the cloud does not know. "
            'Build it with a record of the cloud: AFERO_OTA_RECORD = "cloud", or the path of a record file.'
        )
    # the list may lag behind a record that was just created
    known = _look(lambda: service.find_version(record.version_number))
    if known is None:
        raise RefusedError(
            f"the image carries versionNumber {record.version_number} ({record.name} {record.version}), which partner "
            f"{service.partner_id} at {service.base_url} does not have. Make the record there and build the image again."
        )
    if (known.name, known.version) != (record.name, record.version):
        raise RefusedError(
            f"versionNumber {record.version_number} is {known.name} {known.version} in the cloud, but {record.name} "
            f"{record.version} in the image. Make the record again and build the image again."
        )
    return known


def _compare(image: OtaRecord, known: OtaRecord, tag: str, record: OtaRecord) -> tuple[str, ...]:
    there = image.content_tag or known.content_tag
    if there and there != tag:
        raise _other_content(record)
    if there:
        return ()
    return (
        f"{record.name} {record.version} was uploaded by another tool, which did not note the content: "
        "it cannot be said whether it is this image.",
    )


def _compare_sbom(image: OtaRecord, known: OtaRecord, sbom_tag: str) -> tuple[str, ...]:
    there = image.sbom_tag or known.sbom_tag
    if not sbom_tag or there == sbom_tag:
        return ()
    said = f"names another SBOM ({there}…)" if there else "names no SBOM"
    return (f"the record of the cloud {said}, and is not changed any more; that of this payload is {sbom_tag}…",)


def _other_content(record: OtaRecord) -> ConflictError:
    return ConflictError(
        f"{record.name} {record.version} (versionNumber {record.version_number}) was uploaded already with another content. "
        "A version's content never changes: build with a new build number (AFERO_OTA_BUILD_NUMBER, or -n) and upload that."
    )


def _set_content(context: Context, known: OtaRecord, payload: Payload, added: Sequence[str]) -> OtaRecord:
    service, url = context.service, _send(context, payload)
    tags = [*known.own_tags, *added]
    with context.journal.step(Step.SET_URL, url=url, sha256=payload.sha256, **_ids(known)):
        service.update_record(known, url, tags)
    # the association must repeat the record exactly as the pool has it now
    updated = _look(lambda: _with_url(service, known.version_number, url))
    if updated is None:
        raise NetworkError(
            f"the record {known.version_number} does not show its new url yet. Run the same command again."
        )
    return updated


def _with_url(service: OtaService, version_number: str, url: str) -> OtaRecord | None:
    found = service.find_version(version_number)
    return found if found is not None and found.url == url else None


def _send(context: Context, payload: Payload) -> str:
    """Upload and move; returns the URL of the moved file. A refused move means that the upload has to be repeated."""
    service, journal = context.service, context.journal
    for attempt in range(1, _UPLOAD_ATTEMPTS + 1):
        last = attempt == _UPLOAD_ATTEMPTS
        with journal.step(Step.UPLOAD, sha256=payload.sha256, size=payload.size) as facts:
            identifier = service.upload_binary(payload.path, payload.size, context.progress_of("uploading"))
            facts["identifier"] = identifier
        if identifier.lower() != payload.sha256.lower():
            problem = f"the service computed {identifier or 'no hash'} of what it received, the file has SHA-256 {payload.sha256}"
            if last:
                raise RefusedError(
                    f"{problem}. Nothing was associated. Check the network path (a proxy that changes content?) and upload again."
                )
            context.log(f"{problem}; uploading again")
            continue
        try:
            with journal.step(Step.MOVE, sha256=payload.sha256) as facts:
                url = facts["url"] = service.move_to_repository(identifier)
        except (RefusedError, ConflictError) as error:
            if last:
                raise
            context.log(f"{error}; uploading again")
            continue
        if url:
            return url
        if last:
            break
        context.log("the service moved the image, but named no URL; uploading again")
    raise NetworkError(
        f"{service.base_url}: the service names no repository URL for the uploaded image. Run the same command again."
    )


def _associate(context: Context, known: OtaRecord, payload: Payload) -> Publication:
    service, ids = context.service, {"deviceType": context.service.device_type_id, **_ids(known)}
    with context.journal.step(Step.ASSOCIATE, sha256=payload.sha256, **ids) as facts:
        try:
            image: Mapping[str, Any] | None = service.associate(known)
        except ConflictError:
            context.log("the service says that it is associated already")
            image = None
        if not image or not image.get("id"):
            image = _look(lambda: service.image(known.version_number))
        if image is None:
            raise NetworkError("the association is not shown by the service yet. Run the same command again.")
        facts["image"] = _image_id(image)
    return Publication(known, payload, known.url, _image_id(image), True)


def _image_id(image: Mapping[str, Any]) -> str:
    return str(image.get("id") or "")


def _ids(record: OtaRecord) -> dict[str, str]:
    return {"record": record.id, "versionNumber": record.version_number}


def _look(find: Callable[[], Found | None]) -> Found | None:
    """What `find` returns, tried a few times with growing pauses; None when it never found anything."""
    for pause in _LOOKS:
        time.sleep(pause)
        found = find()
        if found is not None:
            return found
    return None
