# SPDX-License-Identifier: MIT
SUMMARY = "Named by OE-Core's update-rc.d class; nothing of it is needed at run time here"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"
INHIBIT_DEFAULT_DEPS = "1"
ALLOW_EMPTY:${PN} = "1"

inherit allarch
RPROVIDES:${PN} = "initscripts-functions"
