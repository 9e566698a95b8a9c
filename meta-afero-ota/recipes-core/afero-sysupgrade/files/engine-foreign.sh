#!/bin/sh
# SPDX-License-Identifier: MIT
# What engines have in common that install their image by another program: it checks signature, hardware and contents itself, before
# it writes, and finds the slot by the same variables. Here only afterwards. Sourced by such an engine, not run.
# shellcheck disable=SC2034 # used by sysupgrade
ENGINE_PROGRAMS=''
# 1 in an engine that installs nothing but what the owner's key signed
ENGINE_PROVES_ORIGIN=''

# the version is inside a format that only the program can read
engine_version() {
    :
}

engine_check() {
    :
}

engine_install() {
    take_slot_out
    step "$FORMAT installs the image"
    foreign_install || fail 23 "$FORMAT did not install the image (status $?)"
    ! mounted "$MOUNT" || fail 23 "$MOUNT is mounted"
    # the program may have switched already; not before the slot is complete
    take_slot_out
    mount_slot ro 23
    VERSION=$(version_number <"$MOUNT/etc/full-ota-record.json")
    check_compatible "$MOUNT$OTA_DIR/compatible"
    check_version
    unmount_slot 23
}
