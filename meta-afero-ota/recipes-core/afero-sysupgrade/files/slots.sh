#!/bin/sh
# SPDX-License-Identifier: MIT
# What sysupgrade and its helpers share: messages, slots and the U-Boot environment. Sourced by them, not run.
# Uses only what busybox in OE-Core's configuration has: no long options, no flock, mountpoint, timeout, blockdev, head -c or dd conv=.
# shellcheck disable=SC2034 # most of it is used by the scripts that source this file

PATH=/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL
umask 022

WORK_DIR=/run/afero-ota
# shellcheck source=/dev/null
. /usr/lib/afero-ota/settings.sh

# whether systemd's journal has our output without logger
JOURNALED=''
[ -z "$JOURNAL_STREAM" ] || [ "$(stat -L -c %d:%i "/proc/$$/fd/1" 2>/dev/null)" != "$JOURNAL_STREAM" ] || JOURNALED=1

SAID=''
say() {
    SAID="$SAID$TAG: $*
"
    [ -n "$JOURNALED" ] || logger -t "$TAG" "$*" 2>/dev/null
    echo "$TAG: $*"
}

say_setting_faults() {
    printf '%s' "$SETTING_FAULTS" | while read -r fault; do
        say "$CONF: $fault"
    done
}

uptime_seconds() {
    read -r seconds _ </proc/uptime
    echo "${seconds%.*}"
}

mounted() {
    grep -q " $1 " /proc/mounts
}

# version_number <RECORD: its versionNumber, without leading zeros; nothing when there is none
version_number() {
    dd bs=65536 count=1 2>/dev/null | tr -d '\n' |
        sed -n 's/.*"versionNumber"[[:space:]]*:[[:space:]]*"\{0,1\}0*\([0-9]\{1,20\}\)[",}[:space:]].*/\1/p'
}

# the folder is root's alone: in it, files of the other slot with their set-user bits come into sight
make_work_dir() {
    mkdir -p "$WORK_DIR" && chmod 0700 "$WORK_DIR"
}

# find_slots: sets SLOT (the running one, A or B) and OTHER, ROOT_DEVICE and OTHER_DEVICE, and TRIAL when U-Boot counts this start
# as one of a new system's tries. When it fails, REASON says why.
find_slots() {
    SLOT='' ROOT_DEVICE='' TRIAL=''
    # shellcheck disable=SC2013 # words are meant
    for word in $(cat /proc/cmdline); do
        case $word in
        rauc.slot=*) SLOT=${word#*=} ;;
        root=*) ROOT_DEVICE=${word#*=} ;;
        afero_ota.trial=1) TRIAL=1 ;;
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

# read_env: sets ORDER, CONFIRMED, TRYING and REFUSED from the U-Boot environment; fails when there is no valid copy of it
read_env() {
    ENVIRONMENT=$(fw_printenv 2>/dev/null) || ENVIRONMENT=''
    ORDER=$(env_value BOOT_ORDER)
    CONFIRMED=$(env_value AFERO_OTA_CONFIRMED)
    TRYING=$(env_value AFERO_OTA_TRYING)
    REFUSED=$(env_value AFERO_OTA_REFUSED)
    [ -n "$ORDER" ]
}

env_value() {
    printf '%s\n' "$ENVIRONMENT" | sed -n "s/^$1=//p"
}

# on_trial: the running system is new and its starts are counted, so that restarting it leads back to the old one. U-Boot's word
# counts as well, for a new system that cannot read the environment.
on_trial() {
    [ "$CONFIRMED" != "$SLOT" ] || return 1
    [ -n "$TRIAL" ] || { [ -n "$TRYING" ] && [ "${ORDER%% *}" = "$SLOT" ]; }
}

# write_env NAME=VALUE...: in one write, which replaces the older of the two copies: all or nothing. Then reads it back.
write_env() {
    printf '%s\n' "$@" | fw_setenv -s - >/dev/null 2>&1 || return 1
    sync
    ENVIRONMENT=$(fw_printenv 2>/dev/null) || return 1
    for pair in "$@"; do
        [ "$(env_value "${pair%%=*}")" = "${pair#*=}" ] || return 1
    done
}

# restart: an orderly one, and a hard one should init not get that far
restart() {
    sync
    $REBOOT
    sleep "$REBOOT_PATIENCE"
    sync
    # twice: once would ask systemd, which may be what hangs
    reboot -f -f
    sleep 60
}
