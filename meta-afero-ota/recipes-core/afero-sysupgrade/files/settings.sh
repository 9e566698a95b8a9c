#!/bin/sh
# SPDX-License-Identifier: MIT
# The settings of sysupgrade and its helpers, from /etc/afero-ota/sysupgrade.conf. Sourced by slots.sh, not run.
# What is wrong in that file is collected in SETTING_FAULTS, and the default is used instead.
# shellcheck disable=SC2034 # used by the scripts that source this file

OTA_DIR=/etc/afero-ota
CONF=$OTA_DIR/sysupgrade.conf
SETTINGS="DATA_DIR SLOT_A SLOT_B TRIES HEALTH_TIMEOUT FREE_IMAGE ALLOW_LOCAL REBOOT REBOOT_PATIENCE MKFS_FEATURES MKFS_OPTIONS"
SETTING_FAULTS=''

DATA_DIR=/data
SLOT_A='' SLOT_B=''
TRIES=3
HEALTH_TIMEOUT=120
FREE_IMAGE=0
ALLOW_LOCAL=0
REBOOT=reboot
REBOOT_PATIENCE=60
MKFS_FEATURES=^metadata_csum,^metadata_csum_seed,^64bit,^orphan_file
MKFS_OPTIONS="-E lazy_itable_init=0,lazy_journal_init=0"

setting_fault() {
    SETTING_FAULTS="$SETTING_FAULTS$*
"
}

# read_settings: a file that the shell cannot read would end this one, and with it the confirmation of a new system
read_settings() {
    [ -r "$CONF" ] || return
    if ! sh -n "$CONF" 2>/dev/null; then
        setting_fault "it cannot be read as a shell script, so none of it is used"
        return
    fi
    # shellcheck source=/dev/null
    said=$(. "$CONF" 2>&1 >/dev/null; echo read)
    case $said in
    read) ;;
    # a value with a blank that is not quoted, for example: the shell takes what follows for a program
    *read) setting_fault "${said%?read}" ;;
    *)
        setting_fault "it ends the shell that reads it, so none of it is used: $said"
        return
        ;;
    esac
    # shellcheck source=/dev/null
    . "$CONF" >/dev/null 2>&1
    while read -r line || [ -n "$line" ]; do
        case $line in '' | '#'*) continue ;; esac
        # a line that is no assignment is named in full
        name=${line%%=*}
        case $name in *[!A-Za-z_0-9]*) name=$line ;; esac
        case " $SETTINGS " in
        *" $name "*) ;;
        *) setting_fault "'$name' is no setting" ;;
        esac
    done <"$CONF"
}

# whole NAME LOWEST HIGHEST DEFAULT: the setting is a whole number
whole() {
    value=''
    eval "value=\$$1"
    case $value in
    '' | *[!0-9]* | 0?* | ??????*) ;;
    *) if [ "$value" -ge "$2" ] && [ "$value" -le "$3" ]; then return; fi ;;
    esac
    setting_fault "$1='$value' is no whole number from $2 to $3, so $4 is used"
    eval "$1=$4"
}

read_settings
whole TRIES 1 9 3
whole HEALTH_TIMEOUT 1 86400 120
whole FREE_IMAGE 0 1 0
whole ALLOW_LOCAL 0 1 0
whole REBOOT_PATIENCE 0 3600 60
case $DATA_DIR in
/?*) ;;
*)
    setting_fault "DATA_DIR='$DATA_DIR' is no absolute path, so /data is used"
    DATA_DIR=/data
    ;;
esac
if ! command -v "${REBOOT%% *}" >/dev/null; then
    setting_fault "REBOOT='$REBOOT' is no program, so reboot is used"
    REBOOT=reboot
fi
STATE_DIR=$DATA_DIR/afero-ota
