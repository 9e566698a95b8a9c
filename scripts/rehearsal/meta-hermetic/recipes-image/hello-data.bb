# SPDX-License-Identifier: MIT
SUMMARY = "A file, so that the image holds something"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"
INHIBIT_DEFAULT_DEPS = "1"

inherit allarch

HELLO ?= "hello"

do_install() {
    install -d ${D}${sysconfdir}
    echo "${HELLO}" > ${D}${sysconfdir}/hello
}
