# SPDX-License-Identifier: MIT
"""What happens while an image recipe is parsed: its configuration is checked, and what its tasks need is set.

A fault skips the recipe, with all faults in the reason. That stops a build that wants this image before its first task, and
no other build.
"""

from __future__ import annotations

import dataclasses
import glob
import importlib.util
import json
import os
from typing import TYPE_CHECKING

import bb

from .. import checks, config, credentials, errors, health, payload, signing, text
from .. import record as records
from .configuration import conf_path, earlier_reports, hide_secrets, load, no_file, record_source

if TYPE_CHECKING:
    from typing import Any

ENGINES = ("tar", "rauc")
BUNDLE = "afero-ota-bundle"  # the recipe of this layer
SLOT_FSTYPES = ("tar", "tar.gz", "tar.xz", "tar.zst")


def library(d: Any) -> str:
    """The folder of this library; what is being parsed depends on its files from now on.

    BitBake imports the library while it parses the configuration, and does not watch it. Without this, a server that stays in
    memory would go on with the old library, and BitBake 2.8 would use cached recipes with its signatures.
    """
    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    for path in sorted(glob.glob(f"{folder}/**/*.py", recursive=True)):
        bb.parse.mark_dependency(d, path)
    return folder


def configure(d: Any) -> None:
    """Check the configuration of an image, set AFERO_OTA_REQUEST and AFERO_OTA_PAYLOAD, and connect its tasks."""
    library(d)
    hide_secrets(d)
    path, source = conf_path(d), record_source(d)
    for file in filter(None, (path, source if source not in ("cloud", "offline") else "")):
        bb.parse.mark_dependency(d, file)
    faults = _variable_faults(d)
    needs: tuple[str, ...] = ()
    if source == "cloud":
        # secrets may come from the environment, which the parse cache does not know
        d.setVar("BB_DONT_CACHE", "1")
        needs = (*config.RECORD_NEEDS, *config.PUBLISH_NEEDS)
        if not path:
            faults.append(no_file())
        faults += _missing_modules()
    warnings: tuple[str, ...] = ()
    try:
        settings = load(d, needs)
        warnings = settings.warnings
        request = _request(d, settings, source)
    except errors.ConfigError as error:
        warnings = warnings or error.warnings
        faults += error.faults or [errors.Fault("AFERO_OTA_CONF", str(error), "then run the same command again")]
    if faults:
        raise bb.parse.SkipRecipe(text.visible_lines(errors.ConfigError(faults, warnings)))
    for warning in warnings:
        bb.warn(text.visible(warning))
    d.setVar("AFERO_OTA_REQUEST", json.dumps(request, sort_keys=True))
    d.setVar("AFERO_OTA_PAYLOAD", os.path.join("${AFERO_OTA_DEPLOYDIR}", os.path.basename(settings.image_file)))
    _connect_package(d)
    if source == "cloud":
        d.appendVarFlag("do_rootfs", "depends", " ${PN}:do_create_ota_record")
    elif source != "offline":
        d.appendVarFlag("do_rootfs", "file-checksums", f" {records.find_file(source)}:True")


def _connect_package(d: Any) -> None:
    """What do_package_ota depends on: earlier reports, and the tasks of other classes that write what it keeps beside the payload."""
    for file in earlier_reports(d):
        bb.parse.mark_dependency(d, file)
        d.appendVarFlag("do_package_ota", "file-checksums", f" {file}:{os.path.exists(file)}")
    if bb.data.inherits_class("create-spdx-image-3.0", d) and not bb.data.inherits_class("nospdx", d):
        d.appendVarFlag("do_package_ota", "depends", " ${PN}:do_create_image_sbom_spdx")
        if bb.data.inherits_class("sbom-cve-check", d):
            d.appendVarFlag("do_package_ota", "depends", " ${PN}:do_sbom_cve_check")


def configure_slots(d: Any) -> None:
    """Check what an image for two slots adds to the configuration."""
    faults = []
    fstype = d.getVar("AFERO_OTA_IMAGE_FSTYPE").strip()
    if fstype not in SLOT_FSTYPES:
        problem = f'is "{fstype}", but sysupgrade installs archives only ({", ".join(SLOT_FSTYPES)})'
        faults.append(errors.Fault("AFERO_OTA_IMAGE_FSTYPE", problem, 'write: AFERO_OTA_IMAGE_FSTYPE = "tar.gz"'))
    check = d.getVar("XZ_INTEGRITY_CHECK").strip()
    if fstype == "tar.xz" and check != "crc32":
        problem = f'is "{check}", which busybox does not verify: damage would be found only in the other slot'
        faults.append(errors.Fault("XZ_INTEGRITY_CHECK", problem, 'write: XZ_INTEGRITY_CHECK = "crc32"'))
    try:
        health.parse(d.getVar("AFERO_OTA_HEALTH_CHECKS"))
    except errors.ConfigError as error:
        faults += error.faults
    if faults:
        raise bb.parse.SkipRecipe(text.visible_lines(errors.ConfigError(faults)))


def configure_bundle(d: Any) -> None:
    """Check who signs, before the first task of a build that wants this bundle."""
    if d.getVar("AFERO_OTA_ENGINE") != "rauc":
        raise bb.parse.SkipRecipe('AFERO_OTA_ENGINE is not "rauc"')
    library(d)
    hide_secrets(d)
    # certificates expire and files change, also while the parse cache is valid
    d.setVar("BB_DONT_CACHE", "1")
    faults = signing.faults(*(d.getVar(name).strip() for name in (signing.KEY, signing.CERT, signing.KEYRING)))
    if faults:
        raise bb.parse.SkipRecipe(text.visible_lines(errors.ConfigError(faults, where="the signing key")))


def _variable_faults(d: Any) -> list[errors.Fault]:
    """Misspelt variables, secrets that were made variables, and switches that are neither on nor off."""
    names = {name.split(":")[0] for name in d if name.startswith("AFERO_OTA_")}
    secrets = names & set(credentials.SECRETS.values())
    faults = config.unknown_names(names - secrets, {name for name in names if d.getVarFlag(name, "doc")})
    faults += [
        errors.Fault(
            name,
            "a secret is the value of a BitBake variable, which ends up in testdata.json, signatures and logs",
            "remove it from the configuration and from BB_ENV_PASSTHROUGH_ADDITIONS; write it in the AFERO_OTA_CONF file, or export it",
        )
        for name in sorted(secrets)
    ]
    faults += _switch_fault(d, "AFERO_OTA_AB", "for two system slots")
    faults += _switch_fault(d, "AFERO_OTA_DATA_GROW", "to enlarge the data partition on the device")
    for name, example in (("AFERO_OTA_SIZE_LIMIT", "64M"), ("AFERO_OTA_SLOT_SIZE", "512M")):
        try:
            payload.byte_count(d.getVar(name))
        except ValueError:
            problem = f'is "{d.getVar(name)}", expected a number, or one with K, M or G'
            faults.append(errors.Fault(name, problem, f'write: {name} = "{example}"'))
    return faults + _engine_faults(d)


def _engine_faults(d: Any) -> list[errors.Fault]:
    engine = d.getVar("AFERO_OTA_ENGINE")
    if engine not in ENGINES:
        remedy = 'write: AFERO_OTA_ENGINE = "rauc" for signed bundles'
        return [errors.Fault("AFERO_OTA_ENGINE", f'is "{engine}", expected {" or ".join(ENGINES)}', remedy)]
    if engine == "rauc" and d.getVar("AFERO_OTA_AB").strip() != "1":
        return [errors.Fault("AFERO_OTA_ENGINE", "is rauc, which needs two slots", 'write: AFERO_OTA_AB = "1"')]
    if engine == "rauc" and "rauc" not in d.getVar("BBFILE_COLLECTIONS").split():
        remedy = "add the layer meta-rauc, with kas: kas/rauc.yml"
        return [errors.Fault("AFERO_OTA_ENGINE", "is rauc, but the build has no layer rauc", remedy)]
    image, inside = d.getVar("PN"), d.getVar("AFERO_OTA_BUNDLE_IMAGE")
    if engine == "rauc" and d.getVar("AFERO_OTA_BUNDLE") == BUNDLE and image != inside:
        remedy = (
            f'write: AFERO_OTA_BUNDLE_IMAGE = "{image}"; each further image needs a bundle of its own: docs/signing.md'
        )
        return [errors.Fault("AFERO_OTA_BUNDLE_IMAGE", f"is {inside}, so {BUNDLE} does not hold {image}", remedy)]
    return []


def _switch_fault(d: Any, name: str, purpose: str) -> list[errors.Fault]:
    switch = d.getVar(name).strip()
    if switch in ("", "0", "1"):
        return []
    return [errors.Fault(name, f'is "{switch}", expected 0 or 1', f'write: {name} = "1" {purpose}')]


def _missing_modules() -> list[errors.Fault]:
    if importlib.util.find_spec("requests") is not None:
        return []
    problem = errors.missing_module("requests", "python3-requests", "requests")
    return [errors.Fault("requests", problem, "then run the same command again")]


def _request(d: Any, settings: config.Config, source: str) -> dict[str, Any]:
    """What is asked of the cloud, or of the offline record, in public values only."""
    if source == "offline":
        settings = dataclasses.replace(
            settings,
            name=settings.name or d.getVar("PN")[: checks.NAME_LIMIT],
            version=settings.version or d.getVar("DISTRO_VERSION") or "0",
            build_number=settings.build_number or "0",
        )
    body = records.wanted(settings)
    if source == "cloud":
        return {"record": body, "service": settings.service_url, "partner": settings.partner_id}
    if source == "offline":
        return {"record": body}
    version = body["version"] if settings.version and settings.build_number else ""
    _check_given(records.read(source), source, settings.name, version)
    return {"record": None}


def _check_given(record: records.OtaRecord, path: str, name: str, version: str) -> None:
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
