#!/bin/sh
# SPDX-License-Identifier: MIT
# The slot that does not run: mounted, flushed, taken out of use, completed, switched to. Sourced by sysupgrade, not run.
# `fail` is sysupgrade's; OTHER, OTHER_DEVICE and the rest come from find_slots.
# shellcheck disable=SC2034 # CAPACITY is the engines'
MOUNT=$WORK_DIR/slot
# nothing in the slot is for the running system to use
MOUNT_OPTIONS=noatime,nosuid,nodev,noexec

check_other_slot() {
    block=/sys/class/block/${OTHER_DEVICE##*/}
    numbers=$(cat "$block/dev") || fail 4 "$OTHER_DEVICE is no block device that the kernel knows"
    ! awk -v numbers="$numbers" '$3 == numbers { found = 1 } END { exit !found }' /proc/self/mountinfo ||
        fail 4 "slot $OTHER ($OTHER_DEVICE) is mounted"
    CAPACITY=$(($(cat "$block/size") / 2)) # sectors of 512 bytes, to KiB
}

# mount_slot MODE STATUS: MODE is rw or ro, STATUS the one to fail with
mount_slot() {
    mkdir -p "$MOUNT"
    mount -t ext4 -o "$MOUNT_OPTIONS,$1" "$OTHER_DEVICE" "$MOUNT" || fail "$2" "$OTHER_DEVICE cannot be mounted"
}

unmount_slot() {
    umount "$MOUNT" || fail "$1" "$MOUNT cannot be unmounted"
}

# U-Boot reads ext4 without its journal, and what is verified must come from the medium: so unmount, and empty the caches
flush_slot() {
    sync
    unmount_slot "$1"
    sync
    echo 3 >/proc/sys/vm/drop_caches
    ! command -v blockdev >/dev/null || blockdev --flushbufs "$OTHER_DEVICE" 2>/dev/null
}

check_file_system() {
    e2fsck -fn "$OTHER_DEVICE" >"$WORK/fsck" 2>&1 || fail 21 "the file system of slot $OTHER is damaged: $(tail -n 1 "$WORK/fsck")"
}

# From here on U-Boot does not start the other slot, whatever is in it. The running system is the one to come back to.
take_slot_out() {
    step "slot $OTHER goes out of use"
    write_env "BOOT_ORDER=$SLOT" "BOOT_${SLOT}_LEFT=$TRIES" "BOOT_${OTHER}_LEFT=0" "AFERO_OTA_CONFIRMED=$SLOT" ||
        fail 22 "the U-Boot environment cannot be written"
}

# real_folder FOLDER: each part of its path in the slot is a directory; a link would lead into the running system
real_folder() {
    rest=$1/
    path=$MOUNT
    while [ -n "${rest#/}" ]; do
        rest=${rest#/}
        path=$path/${rest%%/*}
        rest=/${rest#*/}
        [ -d "$path" ] && [ ! -L "$path" ] || return 1
    done
}

copy_kept_files() {
    : >"$WORK/kept" || fail 20 "$WORK_DIR is full"
    [ -r "$OTA_DIR/keep" ] || return 0
    while read -r kept; do
        case $kept in
        '' | '#'*) continue ;;
        # what identifies the new system, and the folders of it
        /etc | /etc/afero-ota* | /etc/full*ota*record.json | /etc/ota_type_*.hdr | *..* | */ | [!/]*)
            say "$kept is not kept: no new system may get it from the old one"
            continue
            ;;
        esac
        [ -e "$kept" ] || [ -L "$kept" ] || continue
        if mounted "$kept"; then
            say "$kept is not kept: something is mounted there, so it is no file of this slot"
            continue
        fi
        if ! real_folder "${kept%/*}"; then
            say "$kept is not kept: the new system has no directory ${kept%/*}"
            continue
        fi
        rm -rf "${MOUNT:?}$kept"
        cp -a "$kept" "$MOUNT$kept" || fail 20 "$kept cannot be copied into slot $OTHER"
        # of the copy, since the original may be written to at any time
        (cd "$MOUNT" && find ".$kept" -type f -exec sha256sum '{}' +) >>"$WORK/kept" || fail 20 "$kept cannot be read back"
        step "kept $kept"
    done <"$OTA_DIR/keep"
}

write_header() {
    # no engine brings them; left over, they would lie
    rm -rf "$MOUNT$OTA_DIR/hdr" "$MOUNT$OTA_DIR/complete" "$MOUNT"/etc/ota_type_*.hdr
    mkdir "$MOUNT$OTA_DIR/hdr" || fail 20 "the folder for the version header cannot be made in slot $OTHER"
    [ -n "$HEADER" ] || return 0
    if ! cp "$HEADER" "$MOUNT$OTA_DIR/hdr/" || ! cp "$HEADER" "$MOUNT/etc/"; then
        fail 20 "the version header cannot be written into slot $OTHER"
    fi
}

verify_header_and_kept_files() {
    for copy in "$MOUNT$OTA_DIR/hdr/${HEADER##*/}" "$MOUNT/etc/${HEADER##*/}"; do
        [ -n "$HEADER" ] || break
        cmp -s "$HEADER" "$copy" || fail 21 "the version header in slot $OTHER is not the image's"
    done
    [ ! -s "$WORK/kept" ] || (cd "$MOUNT" && sha256sum -c "$WORK/kept") >/dev/null 2>&1 ||
        fail 21 "a kept file in slot $OTHER is not what was copied"
}

# version header, kept files and, last of all, the mark that makes the slot one that U-Boot may start
complete_slot() {
    step "completing slot $OTHER"
    mount_slot rw 20
    real_folder "$OTA_DIR" || fail 20 "$OTA_DIR is no directory in the new system"
    write_header
    copy_kept_files
    flush_slot 20
    mount_slot ro 21
    verify_header_and_kept_files
    mount -o "remount,$MOUNT_OPTIONS,rw" "$MOUNT" || fail 20 "$MOUNT cannot be made writable"
    echo "$HASH" >"$MOUNT$OTA_DIR/complete" || fail 20 "slot $OTHER cannot be marked complete"
    flush_slot 20
    check_file_system
    mount_slot ro 21
    [ "$(cat "$MOUNT$OTA_DIR/complete")" = "$HASH" ] || fail 21 "slot $OTHER is not marked complete, though it was written"
    unmount_slot 21
}

# before it, U-Boot starts the running system; after it, the new one
switch_slots() {
    step "switching to slot $OTHER"
    write_env "BOOT_ORDER=$OTHER $SLOT" "BOOT_${OTHER}_LEFT=$TRIES" "BOOT_${SLOT}_LEFT=$TRIES" \
        "AFERO_OTA_TRYING=$HASH" "AFERO_OTA_TRYING_VERSION=$VERSION" || fail 22 "the U-Boot environment cannot be written"
}
