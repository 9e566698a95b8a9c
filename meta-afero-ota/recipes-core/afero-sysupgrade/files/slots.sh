#!/bin/sh
# SPDX-License-Identifier: MIT
# What sysupgrade and its helpers share: settings, messages, slots and the U-Boot environment. Read by them, not run.
# Only what busybox in OE-Core's configuration has: no long options, no flock, mountpoint, timeout, blockdev or dd conv=.
# shellcheck disable=SC2034 # most of it is used by the scripts that read this file

PATH=/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL
umask 022

OTA_DIR=/etc/afero-ota
DATA_DIR=/data
WORK_DIR=/run/afero-ota
TRIES=3
REBOOT=reboot
# shellcheck disable=SC1091
[ ! -r $OTA_DIR/sysupgrade.conf ] || . $OTA_DIR/sysupgrade.conf

STATE_DIR=$DATA_DIR/afero-ota

say() {
    logger -t "$TAG" "$*" 2>/dev/null
    echo "$TAG: $*"
}

# find_slots: SLOT and OTHER are A and B, ROOT_DEVICE and OTHER_DEVICE their block devices; else REASON says why not
find_slots() {
    SLOT='' ROOT_DEVICE=''
    # shellcheck disable=SC2013 # words are meant
    for word in $(cat /proc/cmdline); do
        case $word in
        rauc.slot=*) SLOT=${word#*=} ;;
        root=*) ROOT_DEVICE=${word#*=} ;;
        esac
    done
    case $SLOT in
    A) OTHER=B ;;
    B) OTHER=A ;;
    *)
        REASON="the kernel's command line names no slot (rauc.slot=A or B): was this system started by boot.scr of afero-ota-boot?"
        return 1
        ;;
    esac
    disk=${ROOT_DEVICE%[23]}
    device_a=${SLOT_A:-${disk}2}
    device_b=${SLOT_B:-${disk}3}
    if [ "$SLOT" = A ]; then own=$device_a OTHER_DEVICE=$device_b; else own=$device_b OTHER_DEVICE=$device_a; fi
    if [ "$(readlink -f "$own")" != "$(readlink -f "$ROOT_DEVICE")" ]; then
        REASON="slot $SLOT runs, which is $own, but the root device is '$ROOT_DEVICE'"
        return 1
    fi
    OTHER_DEVICE=$(readlink -f "$OTHER_DEVICE")
    if [ ! -b "$OTHER_DEVICE" ] || [ "$OTHER_DEVICE" = "$(readlink -f "$ROOT_DEVICE")" ]; then
        REASON="the device of slot $OTHER is no block device of its own: '$OTHER_DEVICE'"
        return 1
    fi
}

# read_env: ORDER, TRYING and REFUSED from the U-Boot environment; fails when no valid copy is there
read_env() {
    ENVIRONMENT=$(fw_printenv 2>/dev/null) || return 1
    ORDER=$(env_value BOOT_ORDER)
    TRYING=$(env_value AFERO_OTA_TRYING)
    REFUSED=$(env_value AFERO_OTA_REFUSED)
    [ -n "$ORDER" ]
}

env_value() {
    printf '%s\n' "$ENVIRONMENT" | sed -n "s/^$1=//p"
}

# write_env NAME=VALUE...: all in one write of the older of the two copies, so all or none; read back
write_env() {
    printf '%s\n' "$@" | fw_setenv -s - >/dev/null 2>&1 || return 1
    sync
    ENVIRONMENT=$(fw_printenv 2>/dev/null) || return 1
    for pair in "$@"; do
        [ "$(env_value "${pair%%=*}")" = "${pair#*=}" ] || return 1
    done
}

# restart: an orderly one, then a hard one should init not come to it
restart() {
    sync
    $REBOOT
    sleep "${REBOOT_PATIENCE:-60}"
    sync
    reboot -f
    sleep 60
}
