# SPDX-License-Identifier: MIT
#
# Full-system over-the-air updates to Afero devices, from an image recipe:
#
#   inherit core-image afero-ota
#
# or, for an image that somebody else wrote, in local.conf or a distribution:
#
#   IMAGE_CLASSES:append:pn-core-image-minimal = " afero-ota"
#
# An ordinary build then puts the OTA record into /etc and makes hub_update.bin. On request:
#
#   bitbake -c upload_ota core-image-minimal     upload, and offer the image to its device type
#   bitbake -c deploy_ota core-image-minimal     the same, then push to AFERO_OTA_DEVICES, or by AFERO_OTA_PLAN
#   bitbake -c release_ota core-image-minimal    keep payload, SBOM, journals and configuration in AFERO_OTA_RELEASES
#
# Settings come from the AFERO_OTA_CONF file and from variables; a variable that is set takes precedence over the file.
# The secrets (username, userpw, auth-string, tokens) come from the file or from the environment, never from a variable.

AFERO_OTA_CONF ?= ""
AFERO_OTA_CONF[doc] = "Path of the configuration file; a relative path starts at TOPDIR. When it is set, the record comes from the cloud."

AFERO_OTA_RECORD ?= ""
AFERO_OTA_RECORD[doc] = "Where the OTA record comes from: cloud, offline, or the path of a record file. Default: cloud if AFERO_OTA_CONF is set, else offline."

AFERO_OTA_NAME ?= ""
AFERO_OTA_NAME[doc] = "Name of the record, at most 35 characters. Default: name in the file; offline: the image's name."

AFERO_OTA_DESCRIPTION ?= ""
AFERO_OTA_DESCRIPTION[doc] = "Description of the record, at most 500 characters. Default: description in the file."

AFERO_OTA_VERSION ?= ""
AFERO_OTA_VERSION[doc] = "Version without the build number, such as 1.0. Default: version in the file; offline: DISTRO_VERSION."

AFERO_OTA_BUILD_NUMBER ?= ""
AFERO_OTA_BUILD_NUMBER[doc] = "Build number, digits only. The record's version is VERSION.BUILD_NUMBER. Default: buildNumber in the file; offline: 0."

AFERO_OTA_DEBUG_BUILD ?= ""
AFERO_OTA_DEBUG_BUILD[doc] = "1 for a debug build: the record's version ends in d. Default: debugBuild in the file, else 0."

AFERO_OTA_TAGS ?= ""
AFERO_OTA_TAGS[doc] = "Tags of the record, separated by spaces, at most 35 characters each. Default: tags in the file."

AFERO_OTA_PARTNER_ID ?= ""
AFERO_OTA_PARTNER_ID[doc] = "The partner that owns the record. Default: partnerId in the file."

AFERO_OTA_DEVICE_TYPE_ID ?= ""
AFERO_OTA_DEVICE_TYPE_ID[doc] = "The device type that the image is offered to. Default: deviceTypeId in the file."

AFERO_OTA_SERVICE_URL ?= ""
AFERO_OTA_SERVICE_URL[doc] = "Base URL of the OTA service: https, or http to a loopback address. Default: serviceUrl in the file, else https://api.afero.io."

AFERO_OTA_IMAGE_FSTYPE ?= "tar.gz"
AFERO_OTA_IMAGE_FSTYPE[doc] = "The image type that becomes the payload: tar.xz, tar.zst, ext4.gz, squashfs, wic.gz, …"

AFERO_OTA_IMAGE_FILE ?= ""
AFERO_OTA_IMAGE_FILE[doc] = "File name of the payload. Default: slot A of imageFiles in the file, else hub_update.bin."

AFERO_OTA_SIZE_LIMIT ?= ""
AFERO_OTA_SIZE_LIMIT[doc] = "The most bytes that the payload may have, such as 64M: the room in the /tmp of the smallest device. A larger payload fails the build."

AFERO_OTA_REPORT_SINCE ?= ""
AFERO_OTA_REPORT_SINCE[doc] = "Earlier images that the report compares with: .report.json files, the oldest first; from TOPDIR unless absolute. One that does not exist is left out."

AFERO_OTA_DEVICES ?= ""
AFERO_OTA_DEVICES[doc] = "Devices that deploy_ota pushes to: ids separated by spaces, or @file."

AFERO_OTA_PLAN ?= ""
AFERO_OTA_PLAN[doc] = "The plan of a rollout that deploy_ota carries out instead, a file of afero-ota plan; from TOPDIR unless absolute."

AFERO_OTA_RELEASES ?= "${TOPDIR}/releases"
AFERO_OTA_RELEASES[doc] = "The folder in which release_ota keeps releases; from TOPDIR unless absolute."

AFERO_OTA_RELEASE_FILES ?= ""
AFERO_OTA_RELEASE_FILES[doc] = "Files that release_ota keeps besides, such as kas files: paths or patterns, from TOPDIR unless absolute."

# Internal to the class; no need to set them.
AFERO_OTA_REQUEST[doc] = "Set by the class: the record that is wanted, as JSON."
AFERO_OTA_PAYLOAD[doc] = "Set by the class: where the payload is deployed."
AFERO_OTA_RECORD_DIR = "${WORKDIR}/ota-record"
AFERO_OTA_RECORD_DIR[doc] = "Where do_create_ota_record keeps the record."
AFERO_OTA_STAGING = "${WORKDIR}/deploy-${PN}-ota"
AFERO_OTA_STAGING[doc] = "What do_package_ota hands to sstate."
AFERO_OTA_DEPLOYDIR = "${DEPLOY_DIR_IMAGE}/${PN}-ota"
AFERO_OTA_DEPLOYDIR[doc] = "Folder of the payload, its manifest, report and SBOM, one per machine and image."
AFERO_OTA_JOURNAL = "${LOG_DIR}/afero-ota/${MACHINE}-${PN}.jsonl"
AFERO_OTA_JOURNAL[doc] = "The journal of what was sent; survives a clean."

inherit afero-ota-ab-settings
inherit_defer ${@'afero-ota-ab' if d.getVar('AFERO_OTA_AB') == '1' else ''}

IMAGE_FSTYPES:append = " ${AFERO_OTA_IMAGE_FSTYPE}"
# scarthgap would put access and change times into the archive, which differ from build to build (later releases leave them out)
IMAGE_CMD_TAR:append = " --pax-option=delete=atime,delete=ctime"

# OE-Core runs these tasks in the build folder, whose path would be part of their signatures and so of the payload's. Nothing in
# an image depends on that path, and builds in different folders should share a payload.
do_rootfs[vardepsexclude] += "do_rootfs[dirs]"
do_image[vardepsexclude] += "do_image[dirs]"
do_image_complete[vardepsexclude] += "do_image_complete[dirs]"

python () {
    afero_ota.tasks.parsing.configure(d)
}

python do_create_ota_record () {
    afero_ota.tasks.create_record(d)
}
addtask create_ota_record
do_create_ota_record[doc] = "Finds the OTA record in the cloud, or creates it."
do_create_ota_record[network] = "1"
do_create_ota_record[file-checksums] += "${AFERO_OTA_LIBRARY}/files.py:True ${AFERO_OTA_LIBRARY}/record.py:True"
# one lock for all configurations of a build folder, since two of them may want the same record
do_create_ota_record[lockfiles] = "${TOPDIR}/afero-ota.lock"

python afero_ota_install_record () {
    afero_ota.tasks.install_record(d)
}
afero_ota_install_record[doc] = "Part of do_rootfs: puts the OTA record into /etc."
ROOTFS_POSTPROCESS_COMMAND:append = " afero_ota_install_record"

python afero_ota_list_packages () {
    afero_ota.tasks.list_packages(d)
}
afero_ota_list_packages[doc] = "Part of do_rootfs: keeps beside the image what its packages are, for the report."
# after OE-Core has written the image's manifest
ROOTFS_POSTUNINSTALL_COMMAND:append = " afero_ota_list_packages"
do_rootfs[file-checksums] += "\
    ${AFERO_OTA_LIBRARY}/files.py:True \
    ${AFERO_OTA_LIBRARY}/manifest.py:True \
    ${AFERO_OTA_LIBRARY}/record.py:True \
    ${AFERO_OTA_LIBRARY}/report/packages.py:True \
"

python do_package_ota () {
    afero_ota.tasks.package(d)
}
addtask package_ota after do_image_complete before do_build
do_package_ota[doc] = "Makes the payload, hub_update.bin, its manifest and its report from the image, and puts the SBOM beside them."
SSTATETASKS += "do_package_ota"
do_package_ota[file-checksums] += "\
    ${AFERO_OTA_LIBRARY}/files.py:True \
    ${AFERO_OTA_LIBRARY}/manifest.py:True \
    ${AFERO_OTA_LIBRARY}/payload.py:True \
    ${AFERO_OTA_LIBRARY}/record.py:True \
    ${AFERO_OTA_LIBRARY}/report/__init__.py:True \
    ${AFERO_OTA_LIBRARY}/report/changes.py:True \
    ${AFERO_OTA_LIBRARY}/report/chart.py:True \
    ${AFERO_OTA_LIBRARY}/report/commits.py:True \
    ${AFERO_OTA_LIBRARY}/report/contents.py:True \
    ${AFERO_OTA_LIBRARY}/report/cves.py:True \
    ${AFERO_OTA_LIBRARY}/report/facts.py:True \
    ${AFERO_OTA_LIBRARY}/report/findings.py:True \
    ${AFERO_OTA_LIBRARY}/report/image_changes.py:True \
    ${AFERO_OTA_LIBRARY}/report/image_markdown.py:True \
    ${AFERO_OTA_LIBRARY}/report/image_page.py:True \
    ${AFERO_OTA_LIBRARY}/report/packages.py:True \
    ${AFERO_OTA_LIBRARY}/report/page.css:True \
    ${AFERO_OTA_LIBRARY}/report/page.py:True \
    ${AFERO_OTA_LIBRARY}/report/table.js:True \
    ${AFERO_OTA_LIBRARY}/report/treemap.py:True \
    ${AFERO_OTA_LIBRARY}/report/words.py:True \
    ${AFERO_OTA_LIBRARY}/sbom.py:True \
    ${AFERO_OTA_LIBRARY}/text.py:True \
"
do_package_ota[cleandirs] = "${AFERO_OTA_STAGING}"
do_package_ota[sstate-inputdirs] = "${AFERO_OTA_STAGING}"
do_package_ota[sstate-outputdirs] = "${DEPLOY_DIR_IMAGE}"

python do_package_ota_setscene () {
    sstate_setscene(d)
}
addtask do_package_ota_setscene
do_package_ota_setscene[doc] = "Takes the payload from shared state."

python do_upload_ota () {
    afero_ota.tasks.upload(d)
}
addtask upload_ota after do_package_ota
do_upload_ota[doc] = "Uploads the payload and offers it to the device type; only when asked for."
do_upload_ota[network] = "1"
do_upload_ota[nostamp] = "1"
do_upload_ota[lockfiles] = "${TOPDIR}/afero-ota.lock"

python do_deploy_ota () {
    afero_ota.tasks.deploy(d)
}
addtask deploy_ota after do_package_ota
do_deploy_ota[doc] = "As upload_ota, then pushes the image to AFERO_OTA_DEVICES, or carries out AFERO_OTA_PLAN; only when asked for."
do_deploy_ota[network] = "1"
do_deploy_ota[nostamp] = "1"
do_deploy_ota[lockfiles] = "${TOPDIR}/afero-ota.lock"

python do_release_ota () {
    afero_ota.tasks.release(d)
}
addtask release_ota after do_package_ota
do_release_ota[doc] = "Keeps the payload and all that belongs to it in AFERO_OTA_RELEASES; only when asked for."
do_release_ota[nostamp] = "1"
do_release_ota[lockfiles] = "${TOPDIR}/afero-ota.lock"
