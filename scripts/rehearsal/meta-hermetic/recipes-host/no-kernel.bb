# SPDX-License-Identifier: MIT
SUMMARY = "Stands in for a kernel: the images are never booted"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"
PROVIDES = "virtual/kernel"
INHIBIT_DEFAULT_DEPS = "1"
ALLOW_EMPTY:${PN} = "1"

inherit allarch

do_shared_workdir() {
    :
}
addtask shared_workdir after do_compile before do_install

do_deploy() {
    :
}
addtask deploy after do_install
