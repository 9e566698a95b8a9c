# SPDX-License-Identifier: MIT
"""The tasks of afero-ota.bbclass: values out of the datastore, one library call, messages. The only module that knows BitBake.

Variables are read through `_value`, whose name BitBake's parser cannot follow: what belongs into a task's signature is said
by `[vardeps]` in the class, and a path or a device list never becomes part of one. Functions whose code decides what is in
the image are called by their full name, so that a change of that code reruns the task.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from typing import TYPE_CHECKING

import bb

import afero_ota.files
import afero_ota.manifest
import afero_ota.payload
import afero_ota.record
import afero_ota.report
import afero_ota.slot

from . import checks, config, context, credentials, errors, journal, publish, rollout, service, text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any, Callable

PREFIX = "AFERO_OTA_"
SLOT_FSTYPES = ("tar", "tar.gz", "tar.xz", "tar.zst")
DATA_FOLDER = "/data"


def configure(d: Any) -> None:
    """Check the configuration of an image and connect its tasks; runs while the recipe is parsed.

    A fault skips the recipe, with all faults in the reason: that stops a build that wants this image before its first task,
    and no other build.
    """
    path, mode = _conf_path(d), _mode(d)
    _redact_server_log(d)
    for file in filter(None, (path, mode if mode not in ("cloud", "offline") else "")):
        bb.parse.mark_dependency(d, file)
    faults = _variable_faults(d)
    if _value(d, "AFERO_OTA_AB") not in ("", "0", "1"):
        problem = f'is "{_value(d, "AFERO_OTA_AB")}", expected 0 or 1'
        faults.append(errors.Fault("AFERO_OTA_AB", problem, 'write: AFERO_OTA_AB = "1" for two system slots'))
    needs: tuple[str, ...] = ()
    if mode == "cloud":
        # secrets may come from the environment, which the parse cache does not know
        d.setVar("BB_DONT_CACHE", "1")
        needs = (*config.RECORD_NEEDS, *config.PUBLISH_NEEDS)
        if not path:
            faults.append(_no_file())
        faults += _missing_modules()
    warnings: tuple[str, ...] = ()
    try:
        settings = _load(d, needs)
        warnings = settings.warnings
        wanted = _wanted(d, settings, mode)
    except errors.ConfigError as error:
        warnings = warnings or error.warnings
        faults += error.faults or [errors.Fault(PREFIX + "CONF", str(error), "then run the same command again")]
    if faults:
        raise bb.parse.SkipRecipe(str(errors.ConfigError(faults, warnings)))
    for warning in warnings:
        bb.warn(warning)
    d.setVar("AFERO_OTA_REQUEST", json.dumps(wanted, sort_keys=True))
    d.setVar("AFERO_OTA_PAYLOAD", os.path.join("${AFERO_OTA_DEPLOYDIR}", os.path.basename(settings.image_file)))
    if mode == "cloud":
        d.appendVarFlag("do_rootfs", "depends", " ${PN}:do_create_ota_record")
    elif mode != "offline":
        d.appendVarFlag("do_rootfs", "file-checksums", f" {afero_ota.record.find_file(mode)}:True")


def configure_slots(d: Any) -> None:
    """Check what an image for two slots adds to the configuration; runs while the recipe is parsed."""
    fstype = _value(d, "AFERO_OTA_IMAGE_FSTYPE")
    if fstype not in SLOT_FSTYPES:
        problem = f'is "{fstype}", but sysupgrade installs archives only ({", ".join(SLOT_FSTYPES)})'
        fault = errors.Fault("AFERO_OTA_IMAGE_FSTYPE", problem, 'write: AFERO_OTA_IMAGE_FSTYPE = "tar.gz"')
        raise bb.parse.SkipRecipe(str(errors.ConfigError([fault])))


def slot_settings(d: Any) -> None:
    """Part of do_rootfs: the files that make this root file system one of two slots, and its user data elsewhere."""
    root, disk = _value(d, "IMAGE_ROOTFS"), _value(d, "AFERO_OTA_DISK")
    boot_files = [_value(d, f"AFERO_OTA_BOOT_{name}") for name in ("KERNEL", "FDT", "INITRAMFS")]
    keep, paths = (_value(d, f"AFERO_OTA_{name}").split() for name in ("KEEP", "DATA_PATHS"))
    with _errors():
        afero_ota.slot.write_settings(
            root, _value(d, "AFERO_OTA_COMPATIBLE"), disk, list(filter(None, boot_files)), keep
        )
        afero_ota.slot.use_data_partition(root, afero_ota.slot.partition(disk, 4), DATA_FOLDER, paths)


def slot_contents(d: Any) -> None:
    """Last part of do_image: manifest and listing of the finished root file system."""
    with _errors():
        for warning in afero_ota.slot.write_contents(_value(d, "IMAGE_ROOTFS")):
            bb.warn(warning)


def create_record(d: Any) -> None:
    """do_create_ota_record: keep the cloud's record for AFERO_OTA_REQUEST in the work folder."""
    if _mode(d) != "cloud":
        bb.plain(f'{_value(d, "PN")}: AFERO_OTA_RECORD is "{_mode(d)}": there is no record to ask the cloud for')
        return
    with _errors():
        wanted = json.loads(_value(d, "AFERO_OTA_REQUEST"))
        with _cloud(d, config.PUBLISH_NEEDS) as work:
            record, created = publish.ensure_record(work, wanted["record"])
        path = os.path.join(_value(d, "AFERO_OTA_RECORD_DIR"), afero_ota.record.FILE_NAME)
        afero_ota.files.write_text(path, afero_ota.record.dumps(afero_ota.record.as_created(record)))
        verb = "created" if created else "found"
        _plain(
            f"OTA record {verb}: {record.name} {record.version}, versionNumber {record.version_number}, id {record.id}"
        )


def install_record(d: Any) -> None:
    """Part of do_rootfs: /etc/full-ota-record.json in the root file system, and a copy beside the image for packaging."""
    with _errors():
        record = _record(d)
        afero_ota.record.install(record, _value(d, "IMAGE_ROOTFS"))
        folder, name, link = (_value(d, key) for key in ("IMGDEPLOYDIR", "IMAGE_NAME", "IMAGE_LINK_NAME"))
        text = afero_ota.record.dumps(afero_ota.record.as_created(record))
        afero_ota.files.write_text(os.path.join(folder, f"{name}.{afero_ota.record.FILE_NAME}"), text)
        if link and link != name:
            os.symlink(
                f"{name}.{afero_ota.record.FILE_NAME}", os.path.join(folder, f"{link}.{afero_ota.record.FILE_NAME}")
            )


def package(d: Any) -> None:
    """do_package_ota: the image archive as payload, manifest and report beside it, all handed to sstate."""
    with _errors():
        image = os.path.join(_value(d, "DEPLOY_DIR_IMAGE"), _value(d, "IMAGE_LINK_NAME") or _value(d, "IMAGE_NAME"))
        record = afero_ota.record.read(f"{image}.{afero_ota.record.FILE_NAME}")
        target = _payload_in(d, _value(d, "AFERO_OTA_STAGING"))
        made = afero_ota.payload.package(f"{image}.{_value(d, 'AFERO_OTA_IMAGE_FSTYPE')}", target, _progress(d))
        afero_ota.manifest.write(
            made,
            {
                "image": _value(d, "PN"),
                "machine": _value(d, "MACHINE"),
                "distro": f"{_value(d, 'DISTRO')} {_value(d, 'DISTRO_VERSION')}",
                "fstype": _value(d, "AFERO_OTA_IMAGE_FSTYPE"),
                "version": record.version,
                "record": dict(record.fields),
                "buildTime": afero_ota.manifest.build_time(_value(d, "SOURCE_DATE_EPOCH")),
                "layers": _layers(d),
                "packages": afero_ota.manifest.packages(f"{image}.manifest"),
            },
        )
        report = afero_ota.report.markdown(afero_ota.manifest.read(target))
        afero_ota.files.write_text(target + afero_ota.report.SUFFIX, report)
        _plain(f"OTA payload of {record.name} {record.version}, {made.size} bytes: {_payload_path(d)}")


def upload(d: Any) -> None:
    """do_upload_ota: the packaged image is in the cloud and offered to its device type afterwards."""
    with _errors(), _cloud(d, config.PUBLISH_NEEDS) as work:
        _publish(d, work)


def deploy(d: Any) -> None:
    """do_deploy_ota: as upload, then push to AFERO_OTA_DEVICES."""
    with _errors():
        devices = rollout.read_devices(rollout.split_ids(_value(d, "AFERO_OTA_DEVICES")), _value(d, "TOPDIR"))
        with _cloud(d, config.PUBLISH_NEEDS) as work:
            done = _publish(d, work)
            if not devices:
                bb.plain(
                    'AFERO_OTA_DEVICES names no device, so nothing was pushed; write: AFERO_OTA_DEVICES = "ID ID" or "@file"'
                )
                return
            outcomes = rollout.push(work, rollout.Image(done.image_id, done.record.version_number), devices)
        for outcome in outcomes:
            _plain(f"device {outcome.device_id}: {outcome.result}" + (f", {outcome.detail}" if outcome.detail else ""))
        failed = [outcome.device_id for outcome in outcomes if not outcome.ok]
        if failed:
            raise errors.OtaError(
                f"not pushed: {' '.join(failed)}. Mend what is said above and run the same command again."
            )


# ---- the datastore ---------------------------------------------------------------------------------------------------


def _value(d: Any, name: str) -> str:
    return (d.getVar(name) or "").strip()


def _conf_path(d: Any) -> str:
    path = _value(d, PREFIX + "CONF")
    return os.path.join(_value(d, "TOPDIR"), path) if path else ""


def _mode(d: Any) -> str:
    """Where the record comes from: cloud, offline, or the absolute path of a record file."""
    word = _value(d, PREFIX + "RECORD") or ("cloud" if _value(d, PREFIX + "CONF") else "offline")
    return word if word in ("cloud", "offline") else os.path.join(_value(d, "TOPDIR"), word)


def _variable_faults(d: Any) -> list[errors.Fault]:
    """Names that start like ours and are none of ours, and secrets that were made variables."""
    names = {name.split(":")[0] for name in d if name.startswith(PREFIX)}
    secrets = names & set(credentials.SECRETS.values())
    known = {name for name in names if d.getVarFlag(name, "doc")}
    found = [
        errors.Fault(
            name,
            "a secret is the value of a BitBake variable, which ends up in testdata.json, signatures and logs",
            "remove it from the configuration and from BB_ENV_PASSTHROUGH_ADDITIONS; write it in the AFERO_OTA_CONF file, or export it",
        )
        for name in sorted(secrets)
    ]
    return config.unknown_names(names - secrets, known) + found


def _no_file() -> errors.Fault:
    return errors.Fault(
        PREFIX + "CONF",
        "not set, but a record of the cloud needs an account",
        'write: AFERO_OTA_CONF = "/path/to/partner-ota-conf.json"',
    )


def _missing_modules() -> list[errors.Fault]:
    import importlib.util

    needed = [("requests", "python3-requests", "requests")]
    absent = [names for names in needed if importlib.util.find_spec(names[0]) is None]
    return [
        errors.Fault(names[0], errors.missing_module(*names), "then run the same command again") for names in absent
    ]


def _environment(d: Any) -> Mapping[str, str]:
    """The environment that bitbake was started in, as far as the secrets are concerned; never through a variable."""
    origin = d.getVar("BB_ORIGENV", False)
    values = {name: origin.getVar(name, False) if origin else None for name in credentials.SECRETS.values()}
    return {name: value for name, value in values.items() if value}


def _redact_server_log(d: Any) -> None:
    """Take secrets of the environment out of BitBake's server log, where BitBake writes its caller's whole environment."""
    values = [form.encode() for value in _environment(d).values() for form in (value, repr(value)[1:-1])]
    path = os.path.join(_value(d, "TOPDIR"), "bitbake-cookerdaemon.log")
    if not values or not os.path.exists(path):
        return
    # in place and of equal length, since the server has the file open
    with open(path, "r+b") as stream:
        content = stream.read()
        for value in values:
            start = content.find(value)
            while start >= 0:
                stream.seek(start)
                stream.write(b"*" * len(value))
                start = content.find(value, start + len(value))


def _load(d: Any, needs: Sequence[str]) -> config.Config:
    settings = {field: _value(d, PREFIX + suffix) for field, (_, suffix, _) in config.FIELDS.items()}
    return config.load(_conf_path(d) or None, settings, _environment(d), needs, config.spell_variable)


def _wanted(d: Any, settings: config.Config, mode: str) -> dict[str, Any]:
    """What is asked of the cloud, or of the offline record, in public values only: the signature of the record."""
    if mode == "offline":
        settings = dataclasses.replace(
            settings,
            name=settings.name or _value(d, "PN")[: checks.NAME_LIMIT],
            version=settings.version or _value(d, "DISTRO_VERSION") or "0",
            build_number=settings.build_number or "0",
        )
    body = afero_ota.record.wanted(settings)
    if mode == "cloud":
        return {"record": body, "service": settings.service_url, "partner": settings.partner_id}
    if mode == "offline":
        return {"record": body}
    version = body["version"] if settings.version and settings.build_number else ""
    _check_given(afero_ota.record.read(mode), mode, settings.name, version)
    return {"record": None}


def _check_given(record: afero_ota.record.OtaRecord, path: str, name: str, version: str) -> None:
    pairs = (("name", record.name, name), ("version", record.version, version))
    faults = [
        errors.Fault(
            field,
            f"the record {path} has {there!r}, the configuration says {said!r}",
            "make the record again, or correct the configuration",
        )
        for field, there, said in pairs
        if said and there != said
    ]
    if faults:
        raise errors.ConfigError(faults)


def _record(d: Any) -> afero_ota.record.OtaRecord:
    mode = _mode(d)
    if mode == "offline":
        return afero_ota.record.offline(json.loads(_value(d, "AFERO_OTA_REQUEST"))["record"])
    if mode == "cloud":
        mode = os.path.join(_value(d, "AFERO_OTA_RECORD_DIR"), afero_ota.record.FILE_NAME)
    return afero_ota.record.read(mode)


def _payload_in(d: Any, folder: str) -> str:
    return os.path.join(folder, os.path.relpath(_payload_path(d), _value(d, "DEPLOY_DIR_IMAGE")))


def _payload_path(d: Any) -> str:
    return _value(d, "AFERO_OTA_PAYLOAD")


def _layers(d: Any) -> dict[str, str]:
    import oe.buildcfg  # here, since a layer listed before OE-Core is parsed before OE-Core's library can be found

    revisions = oe.buildcfg.get_layer_revisions(d)
    return {
        name: f"{branch}:{revision}{' (modified)' if modified else ''}"
        for _, name, branch, revision, modified in revisions
        if revision.isalnum()  # not "<unknown>": the layer is in no repository
    }


# ---- the library's callers -------------------------------------------------------------------------------------------


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
def _cloud(d: Any, needs: Sequence[str]) -> Iterator[context.Context]:
    """A client for the image's partner and device type, the image's journal, and BitBake's log and progress bar."""
    # a task's environment is empty but for PATH and its like: give back the proxy and the certificates
    os.environ.update(bb.fetch2.get_fetcher_environment(d))
    _redact_server_log(d)
    if not _conf_path(d) and not _environment(d):
        raise errors.ConfigError([_no_file()])
    settings = _load(d, needs)
    cloud = service.connect(settings, log=_note)
    with journal.Journal(_value(d, "AFERO_OTA_JOURNAL")) as log:
        progress = _progress(d)
        yield context.Context(
            cloud, log, _note, lambda what, done, total: progress(done, total) if what == "uploading" else None
        )


def _publish(d: Any, work: context.Context) -> publish.Publication:
    path = _payload_path(d)
    record = afero_ota.record.OtaRecord(afero_ota.manifest.read(path).get("record") or {})
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
