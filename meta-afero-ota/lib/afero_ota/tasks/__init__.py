# SPDX-License-Identifier: MIT
"""The tasks of afero-ota.bbclass: values out of the datastore, one call of the library, messages.

This package is the only part of the library that knows BitBake. Which change reruns which task:

- BitBake hashes the functions of this module without a leading underscore, and the variables that they name literally, into
  the tasks that call them by their full name. So these functions decide what is in the image and its payload, and call
  `d.getVar("NAME")`; what must not count is excluded by name in the layer's configuration.
- The modules that they call are in the tasks' `[file-checksums]`, in the classes.
- Functions with a leading underscore, and the other modules of this package, talk to people and to the cloud only.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
from typing import TYPE_CHECKING

import bb

from .. import (
    config,
    context,
    errors,
    files,
    health,
    journal,
    manifest,
    publish,
    rollout,
    sbom,
    service,
    signing,
    slot,
    text,
)
from .. import payload as payloads
from .. import record as records
from .. import report as reports
from ..release import collecting
from ..report import commits, facts, packages
from ..rollout import campaign, ledger, planning, story, telling
from . import parsing as parsing  # for the classes and the layer's configuration
from .configuration import conf_path, earlier_reports, environment, hide_secrets, load, no_file, record_source

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any, Callable

DATA_FOLDER = "/data"
ATTESTATION = "attestation/kas-build.provenance.json"  # of `kas build --provenance true`, in the build folder


def slot_settings(d: Any) -> None:
    """Part of do_rootfs: the files that make this root file system one of two slots, and its user data elsewhere."""
    root, disk = d.getVar("IMAGE_ROOTFS"), d.getVar("AFERO_OTA_DISK").strip()
    boot_files = [
        d.getVar("AFERO_OTA_BOOT_KERNEL").strip(),
        d.getVar("AFERO_OTA_BOOT_FDT").strip(),
        d.getVar("AFERO_OTA_BOOT_INITRAMFS").strip(),
    ]
    with _errors():
        slot.write_settings(
            root,
            d.getVar("AFERO_OTA_COMPATIBLE").strip(),
            disk,
            [path for path in boot_files if path],
            d.getVar("AFERO_OTA_KEEP").split(),
            d.getVar("AFERO_OTA_ENGINE"),
        )
        health.write(root, health.parse(d.getVar("AFERO_OTA_HEALTH_CHECKS")))
        slot.use_data_partition(root, slot.partition(disk, 4), DATA_FOLDER, d.getVar("AFERO_OTA_DATA_PATHS").split())


def slot_contents(d: Any) -> None:
    """Last part of do_image: manifest and listing of the finished root file system."""
    with _errors():
        for warning in slot.write_contents(d.getVar("IMAGE_ROOTFS")):
            bb.warn(warning)


def create_record(d: Any) -> None:
    """do_create_ota_record: keep the cloud's record for AFERO_OTA_REQUEST in the work folder."""
    source = record_source(d)
    if source != "cloud":
        bb.plain(f'{d.getVar("PN")}: AFERO_OTA_RECORD is "{source}": there is no record to ask the cloud for')
        return
    with _errors():
        wanted = json.loads(d.getVar("AFERO_OTA_REQUEST"))["record"]
        with _cloud(d) as work:
            record, created = publish.ensure_record(work, wanted)
        path = os.path.join(d.getVar("AFERO_OTA_RECORD_DIR"), records.FILE_NAME)
        files.write_text(path, records.dumps(records.as_created(record)))
        verb = "created" if created else "found"
        _plain(
            f"OTA record {verb}: {record.name} {record.version}, versionNumber {record.version_number}, id {record.id}"
        )


def install_record(d: Any) -> None:
    """Part of do_rootfs: /etc/full-ota-record.json in the root file system, and a copy beside the image for packaging."""
    source = record_source(d)
    with _errors():
        if source == "offline":
            record = records.offline(json.loads(d.getVar("AFERO_OTA_REQUEST"))["record"])
        elif source == "cloud":
            record = records.read(os.path.join(d.getVar("AFERO_OTA_RECORD_DIR"), records.FILE_NAME))
        else:
            record = records.read(source)
        records.install(record, d.getVar("IMAGE_ROOTFS"))
        write_beside(d, f".{records.FILE_NAME}", records.dumps(records.as_created(record)))


def list_packages(d: Any) -> None:
    """Last part of do_rootfs: what the packages of the image are, in a file beside it for the report."""
    import oe.packagedata  # here, as in `layers`

    folder = os.path.join(d.getVar("PKGDATA_DIR"), "runtime-reverse")
    names = manifest.packages(d.getVar("IMAGE_MANIFEST"))
    found = packages.collect(names, lambda name: oe.packagedata.read_pkgdatafile(os.path.join(folder, name)))
    write_beside(d, packages.SUFFIX, found)


def write_beside(d: Any, suffix: str, content: str) -> None:
    """A file beside the image, deployed together with it."""
    folder, name, link = d.getVar("IMGDEPLOYDIR"), d.getVar("IMAGE_NAME"), d.getVar("IMAGE_LINK_NAME")
    files.write_text(os.path.join(folder, name + suffix), content)
    if link and link != name:
        os.symlink(name + suffix, os.path.join(folder, link + suffix))


def package(d: Any) -> None:
    """do_package_ota: the image archive as payload; manifest, report and SBOM beside it; all handed to sstate."""
    deployed, fstype = d.getVar("DEPLOY_DIR_IMAGE"), d.getVar("AFERO_OTA_IMAGE_FSTYPE").strip()
    payload = d.getVar("AFERO_OTA_PAYLOAD")
    image = os.path.join(deployed, d.getVar("IMAGE_LINK_NAME") or d.getVar("IMAGE_NAME"))
    target = os.path.join(d.getVar("AFERO_OTA_STAGING"), os.path.relpath(payload, deployed))
    with _errors():
        record = records.read(f"{image}.{records.FILE_NAME}")
        source, content = f"{image}.{fstype}", {}
        if d.getVar("AFERO_OTA_ENGINE") == "rauc":
            content = {"engine": "rauc", "content": payloads.measure(source).sha256}
            source = os.path.join(deployed, f"{d.getVar('AFERO_OTA_BUNDLE')}-{d.getVar('MACHINE')}.raucb")
        made = payloads.package(source, target, _progress(d))
        limit = payloads.byte_count(d.getVar("AFERO_OTA_SIZE_LIMIT"))
        payloads.check_limit(made, limit)
        installed = manifest.packages(f"{image}.manifest")
        manifest.write(
            made,
            {
                **content,
                "image": d.getVar("PN"),
                "machine": d.getVar("MACHINE"),
                "distro": f"{d.getVar('DISTRO')} {d.getVar('DISTRO_VERSION')}",
                "fstype": fstype,
                "version": record.version,
                "record": dict(record.fields),
                "buildTime": manifest.build_time(d.getVar("SOURCE_DATE_EPOCH")),
                "layers": layers(d),
                "packages": installed,
                "recipes": recipes(d, installed),
                **sbom.keep(
                    written_about(d, image),
                    made,
                    "DATETIME" in d.getVar("IMAGE_VERSION_SUFFIX", False),
                    content.get("content", ""),
                ),
            },
        )
        since = _earlier(d)
        reports.write(
            facts.gather(target, manifest.read(target), packages.read(image + packages.SUFFIX), since),
            target,
            since[-1] if since else None,
            limit,
            payloads.byte_count(d.getVar("AFERO_OTA_SLOT_SIZE"), 1 << 20) if d.getVar("AFERO_OTA_AB") == "1" else 0,
            _commits(d, since),
        )
        _plain(f"OTA payload of {record.name} {record.version}, {made.size} bytes: {payload}")


def written_about(d: Any, image: str) -> dict[str, str]:
    """The files that OE-Core's classes wrote about the image, by kind; image: their path up to the suffix."""
    found = {}
    if bb.data.inherits_class("nospdx", d):
        pass
    elif bb.data.inherits_class("create-spdx-image-3.0", d):
        found["sbom"] = f"{image}.spdx.json"
    elif bb.data.inherits_class("create-spdx-2.2", d):
        found["sbom"] = f"{image}.spdx.tar.zst"
    reports = []
    if bb.data.inherits_class("vex", d):
        reports += [("vex", ".json"), ("vex", ".vex.json")]  # scarthgap's name, and later releases'
    if bb.data.inherits_class("cve-check", d):
        reports += [("cve", f".{d.getVar('CVE_CHECK_MANIFEST_JSON_SUFFIX')}"), ("cveText", ".cve")]
    if bb.data.inherits_class("sbom-cve-check", d):
        kinds = {"yocto-cve-check-manifest": "cve", "spdx3": "cveSpdx", "summary": "cveText"}
        exports = [d.getVarFlags(name) or {} for name in d.getVar("SBOM_CVE_CHECK_EXPORT_VARS").split()]
        reports += [(kinds[flags["type"]], flags["ext"]) for flags in exports if flags.get("type") in kinds]
    found.update({kind: image + suffix for kind, suffix in reports if os.path.exists(image + suffix)})
    return found


def recipes(d: Any, installed: Mapping[str, str]) -> dict[str, str]:
    """The recipes that the installed packages come from: name to version."""
    import oe.packagedata

    folder = os.path.join(d.getVar("PKGDATA_DIR"), "runtime-reverse")
    paths = [os.path.join(folder, name) for name in sorted(installed)]
    found = [oe.packagedata.read_pkgdatafile(path) for path in paths if os.path.exists(path)]
    return {data["PN"]: data["PV"] for data in found if "PN" in data and "PV" in data}


def bundle_record(d: Any) -> None:
    """Before do_configure of a bundle: version and build number of its manifest are those of the image's record."""
    image = f"{d.getVar('AFERO_OTA_BUNDLE_IMAGE')}{d.getVar('IMAGE_MACHINE_SUFFIX')}{d.getVar('IMAGE_NAME_SUFFIX')}"
    with _errors():
        record = records.read(os.path.join(d.getVar("DEPLOY_DIR_IMAGE"), f"{image}.{records.FILE_NAME}"))
        d.setVar("RAUC_BUNDLE_VERSION", record.version)
        d.setVar("RAUC_BUNDLE_BUILD", record.version_number)


def sign_bundle(d: Any) -> None:
    """do_bundle: the content that meta-rauc's class has laid out as a bundle, signed with the owner's key."""
    hide_secrets(d)
    with _errors():
        signing.bundle(d.getVar("BUNDLE_DIR"), os.path.join(d.getVar("B"), "bundle.raucb"), _signer(d))


def _signer(d: Any) -> signing.Signer:
    native = d.getVar("STAGING_LIBDIR_NATIVE")
    for name, folder in (("OPENSSL_ENGINES", "engines-3"), ("OPENSSL_MODULES", "ossl-modules")):
        if os.path.isdir(os.path.join(native, folder)):
            os.environ[name] = os.path.join(native, folder)
    pin = load(d).credentials.sign_pin
    return signing.Signer(
        d.getVar(signing.KEY).strip(),
        d.getVar(signing.CERT).strip(),
        d.getVar(signing.KEYRING).strip(),
        pin.reveal if pin.is_set else lambda: "",
        d.getVar("AFERO_OTA_SIGN_MODULE").strip(),
        os.path.join(d.getVar("STAGING_BINDIR_NATIVE"), "rauc"),
    )


def layers(d: Any) -> dict[str, str]:
    """The layers that have a revision: name to `branch:revision`, with a mark when a layer has local changes."""
    import oe.buildcfg  # here, since a layer listed before OE-Core is parsed before OE-Core's library can be found

    return {
        name: f"{branch}:{revision}{' (modified)' if modified else ''}"
        for _, name, branch, revision, modified in oe.buildcfg.get_layer_revisions(d)
        if revision.isalnum()  # not "<unknown>": the layer is in no repository
    }


def _earlier(d: Any) -> list[facts.Facts]:
    """The earlier images that the report compares with, oldest first; the task depends on the content of their files."""
    found = []
    for path in earlier_reports(d):
        try:
            if os.path.exists(path):
                found.append(facts.load(path))
            else:
                _note(f"AFERO_OTA_REPORT_SINCE: {path} is not there yet; the report does without it")
        except errors.ConfigError as error:
            # an image is not worse because of an older one's report
            bb.warn(text.message(error))
    return found


def _commits(d: Any, since: Sequence[facts.Facts]) -> dict[str, tuple[str, ...]]:
    if not since:
        return {}
    import oe.buildcfg  # here, as in `layers`

    folders = {name: path for path, name, *_ in oe.buildcfg.get_layer_revisions(d)}
    return commits.between(folders, since[-1].manifest.get("layers") or {}, layers(d))


def upload(d: Any) -> None:
    """do_upload_ota: put the payload into the cloud, offered to its device type, unless it is there already."""
    with _errors(), _cloud(d) as work:
        _publish(d, work)


def deploy(d: Any) -> None:
    """do_deploy_ota: as upload, then push to AFERO_OTA_DEVICES, or carry out AFERO_OTA_PLAN."""
    with _errors():
        devices = rollout.read_devices(rollout.split_ids(d.getVar("AFERO_OTA_DEVICES")), d.getVar("TOPDIR"))
        plan = (d.getVar("AFERO_OTA_PLAN") or "").strip()
        if devices and plan:
            raise errors.ConfigError(
                "AFERO_OTA_DEVICES and AFERO_OTA_PLAN exclude each other: a plan names its devices"
            )
        with _cloud(d) as work:
            done = _publish(d, work)
            if plan:
                _carry_out(work, os.path.join(d.getVar("TOPDIR"), plan), done)
            elif devices:
                _push(work, devices, done)
            else:
                bb.plain(
                    'AFERO_OTA_DEVICES names no device, so nothing was pushed; write: AFERO_OTA_DEVICES = "ID ID" or "@file"'
                )


def release(d: Any) -> None:
    """do_release_ota: keep the payload and all that belongs to it in AFERO_OTA_RELEASES."""
    top, plan = d.getVar("TOPDIR"), (d.getVar("AFERO_OTA_PLAN") or "").strip()
    with _errors():
        payload = d.getVar("AFERO_OTA_PAYLOAD")
        more = _matching(top, d.getVar("AFERO_OTA_RELEASE_FILES").split())
        attestation = os.path.join(top, ATTESTATION)
        if collecting.attested(attestation, str(manifest.read(payload)["sha256"])):
            more.append(attestation)
        elif os.path.exists(attestation):
            bb.warn(f"{attestation} is of another build: it does not name the payload, and is not kept")
        done = collecting.collect(
            os.path.join(top, d.getVar("AFERO_OTA_RELEASES").strip()),
            payload,
            more,
            [d.getVar("AFERO_OTA_JOURNAL")],
            [os.path.join(top, plan)] if plan else [],
        )
        _plain(f"OTA release {'kept' if done.written else 'is kept already'}: {done.path}")


def _matching(top: str, patterns: Sequence[str]) -> list[str]:
    found = {pattern: sorted(glob.glob(os.path.join(top, pattern))) for pattern in patterns}
    missing = [pattern for pattern, paths in found.items() if not paths and not glob.has_magic(pattern)]
    if missing:
        remedy = "correct the path, which starts at TOPDIR"
        faults = [errors.Fault("AFERO_OTA_RELEASE_FILES", f"{path}: no such file", remedy) for path in missing]
        raise errors.ConfigError(faults)
    return [path for paths in found.values() for path in paths]


def _push(work: context.Context, devices: Sequence[str], done: publish.Publication) -> None:
    outcomes = rollout.push(work, rollout.Image(done.image_id, done.record.version_number), devices)
    for outcome in outcomes:
        _plain(f"device {outcome.device_id}: {outcome.result}" + (f", {outcome.detail}" if outcome.detail else ""))
    failed = [outcome.device_id for outcome in outcomes if not outcome.ok]
    if failed:
        raise errors.OtaError(
            f"not pushed, or not known to be: {' '.join(failed)}. Mend what is said above and run the same command again."
        )


def _carry_out(work: context.Context, path: str, done: publish.Publication) -> None:
    plan = planning.read_for(path, done.record, work.service.partner_id)
    page = f"{os.path.splitext(path)[0]}.html"
    ending = campaign.carry_out(
        work.service, plan, ledger.path_of(path), [telling.Lines(plan, _plain, _note)], page=page, warn=bb.warn
    )
    _plain(f"rollout {ending.story.verdict.value}: {story.in_words(ending.story.totals)}; page: {page}")
    if ending.status:
        raise errors.OtaError(f"{errors.exit_statuses()[ending.status]}; {page} tells why")


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    """An error of the library ends the task with its message and no traceback."""
    try:
        yield
    except errors.OtaError as error:
        bb.fatal(text.message(error))


def _note(message: str) -> None:
    bb.note(text.visible(message))


def _plain(message: str) -> None:
    bb.plain(text.visible(message))


@contextlib.contextmanager
def _cloud(d: Any) -> Iterator[context.Context]:
    """A client for the image's partner and device type, the image's journal, and BitBake's log and progress bar."""
    # a task's environment is empty but for PATH and its like: give back the proxy and the certificates
    os.environ.update(bb.fetch2.get_fetcher_environment(d))
    hide_secrets(d)
    if not conf_path(d) and not environment(d):
        raise errors.ConfigError([no_file()])
    cloud = service.connect(load(d, config.PUBLISH_NEEDS), log=_note)
    with journal.Journal(d.getVar("AFERO_OTA_JOURNAL")) as log:
        progress = _progress(d)
        yield context.Context(
            cloud, log, _note, lambda what, done, total: progress(done, total) if what == "uploading" else None
        )


def _publish(d: Any, work: context.Context) -> publish.Publication:
    path = d.getVar("AFERO_OTA_PAYLOAD")
    record = records.OtaRecord(manifest.read(path).get("record") or {})
    done = publish.publish_file(work, record, path)
    for warning in done.warnings:
        bb.warn(text.visible(warning))
    verb = "uploaded" if done.changed else "nothing to do, uploaded before"
    _plain(
        f"OTA image {record.name} {record.version} {verb}: versionNumber {record.version_number}, image id {done.image_id}, {path}"
    )
    return done


def _progress(d: Any) -> Callable[[int, int], None]:
    """A callback that moves BitBake's own progress bar, once a percent."""
    last = -1

    def report(done: int, total: int) -> None:
        nonlocal last
        percent = 100 * done // total if total else 100
        if percent != last:
            last = percent
            bb.event.fire(bb.build.TaskProgress(percent), d)

    return report
