#!/bin/sh
# SPDX-License-Identifier: MIT
# Engine for tar archives, plain or compressed: into a fresh ext4, then compared with the image's manifest and listing as it is read
# back from the medium. Sourced by sysupgrade, not run.
# shellcheck disable=SC2034 # used by sysupgrade
# shellcheck source=/dev/null
. "$LIB/tar-members.sh"
ENGINE_PROGRAMS="mkfs.ext4 tar"
ENGINE_PROVES_ORIGIN=''
ARCHIVE=$CONTENT # another engine has it in a container

unpack() {
    case $FORMAT in
    gzip) gzip -dc ;;
    xz) xzcat ;;
    zstd) zstd -dcq ;;
    tar) cat ;;
    esac <"$ARCHIVE"
}

# unpacked TAR-OPTION...: run tar on the unpacked image; true when both programs succeeded
unpacked() {
    rm -f "$WORK/unpack.ok" "$WORK/tar.ok"
    {
        unpack && echo ok >"$WORK/unpack.ok"
    } 2>"$WORK/unpack.err" | {
        tar "$@" && echo ok >"$WORK/tar.ok"
        # the checksum of the compressed stream comes last: let it be read to the end
        cat >/dev/null
    } 2>"$WORK/tar.err"
    [ -s "$WORK/unpack.ok" ] && [ -s "$WORK/tar.ok" ]
}

# why unpacking failed: the first line that a program said
unpack_error() {
    sed -n '1p' "$WORK/unpack.err" "$WORK/tar.err" 2>/dev/null | sed -n '1p'
}

# the image's versionNumber without any check, for the report of an update that is refused early
engine_version() {
    unpack | tar -xOf - ./etc/full-ota-record.json | version_number
}

# everything that can be known before the slot is touched; sets VERSION
engine_check() {
    check_archive
}

engine_install() {
    install_archive
}

check_archive() {
    case $FORMAT in xz) tool=xzcat ;; *) tool=$FORMAT ;; esac
    command -v "$tool" >/dev/null || fail 5 "the image is of the kind $FORMAT, but this device has no program $tool"
    check_members
    mkdir "$WORK/new" || fail 4 "$WORK_DIR is full"
    read_slot_files || fail 5 "the slot files cannot be read from the image: is /run full?"
    VERSION=$(version_number <"$WORK/new/full-ota-record.json")
    check_compatible "$WORK/new/compatible"
    check_version
    check_lists
    check_size
    format_slot -n || fail 4 "mkfs.ext4 does not take the options of this device: $(sed -n '1p' "$WORK/mkfs")"
}

install_archive() {
    take_slot_out
    # not even with a lost environment may U-Boot find an old mark in a slot that is half overwritten
    dd if=/dev/zero of="$OTHER_DEVICE" bs=4096 count=16 2>/dev/null || fail 20 "$OTHER_DEVICE cannot be written"
    sync
    step "formatting $OTHER_DEVICE"
    format_slot || fail 20 "$OTHER_DEVICE cannot be formatted: $(sed -n '1p' "$WORK/mkfs")"
    mount_slot rw 20
    step "unpacking $SIZE KiB in $ENTRIES entries"
    unpacked -xpf - -C "$MOUNT" || fail 20 "the image cannot be unpacked into slot $OTHER: $(unpack_error)"
    step "flushing"
    flush_slot 20
    verify_slot
}

# all numbers in KiB; sets what format_slot needs
check_size() {
    inodes=$((CAPACITY / 16))
    [ "$inodes" -gt $((ENTRIES * 2)) ] || inodes=$((ENTRIES * 2))
    if [ "$CAPACITY" -lt 262144 ]; then journal=4; else journal=16; fi
    needed=$((SIZE + inodes / 4 + journal * 1024 + CAPACITY / 64 + 1024))
    [ $needed -le "$CAPACITY" ] || fail 7 "the image needs $needed KiB, slot $OTHER has $CAPACITY KiB"
}

format_slot() {
    # shellcheck disable=SC2086 # lists of options
    mkfs.ext4 -q -F -b 4096 -m 1 -N $inodes -J size=$journal -O "$MKFS_FEATURES" -L "root$OTHER" $MKFS_OPTIONS "$@" "$OTHER_DEVICE" >"$WORK/mkfs" 2>&1
}

verify_slot() {
    step "verifying slot $OTHER, read back from $OTHER_DEVICE"
    check_file_system
    mount_slot ro 21
    cmp -s "$MOUNT$OTA_DIR/manifest" "$WORK/new/manifest" || fail 21 "the manifest in slot $OTHER is not the image's"
    (cd "$MOUNT" && sha256sum -c etc/afero-ota/manifest) >"$WORK/sums" 2>/dev/null ||
        fail 21 "contents differ from the manifest: $(sed -n 's/: FAILED.*//p' "$WORK/sums" | sed -n '1,3p' | tr '\n' ' ')"
    list_slot || fail 21 "slot $OTHER cannot be listed: is /run full?"
    same "$WORK/listing" "$WORK/found" || fail 21 "modes, owners or links differ from the listing: $(cat "$WORK/difference")"
    unmount_slot 21
}

# what is in the slot, in the form of the image's listing
list_slot() {
    (
        cd "$MOUNT" || exit 1
        find . -xdev ! -type l -exec stat -c '%f %u %g %n' '{}' + || exit 1
        QUOTING_STYLE=shell-always
        export QUOTING_STYLE
        find . -xdev -type l -exec stat -c '%N' '{}' + || exit 1
    ) >"$WORK/stat" || return 1
    sed -e "s/^'\(.*\)' -> '\(.*\)'\$/link - - \1 -> \2/" -e '/^41c0 0 0 \.\/lost+found$/d' "$WORK/stat" >"$WORK/found" || return 1
    echo END >>"$WORK/found"
}
