#!/bin/sh
# SPDX-License-Identifier: MIT
# What sysupgrade asks of every image, whatever its kind. Sourced by sysupgrade, not run.
# shellcheck disable=SC2034 # used by sysupgrade and the engines
CONTENT=''

# hubby may put the next update in place of this one: from here on the image is the file that was opened, whatever its path leads to
open_image() {
    exec 3<"$IMAGE"
    CONTENT=/proc/$$/fd/3
}

# has_bytes FILE OFFSET BYTES: whether they are there; BYTES without NUL, which the shell cannot hold
has_bytes() {
    [ "$(dd if="$1" bs=1 skip="$2" count="${#3}" 2>/dev/null | tr -d '\0')" = "$3" ]
}

# detect_format FILE: sets FORMAT, or fails
detect_format() {
    if has_bytes "$1" 0 "$(printf '\037\213')"; then
        FORMAT=gzip
    elif has_bytes "$1" 0 "$(printf '\3757zXZ')"; then
        FORMAT=xz
    elif has_bytes "$1" 0 "$(printf '\050\265\057\375')"; then
        FORMAT=zstd
    elif has_bytes "$1" 257 ustar; then
        FORMAT=tar
    elif has_bytes "$1" 0 hsqs; then
        FORMAT=rauc
    else
        return 1
    fi
}

# the image and the header that lie there are those that this update began with
same_image() {
    [ "$(stat -L -c %d:%i "$IMAGE" 2>/dev/null)" = "$(stat -L -c %d:%i "$CONTENT" 2>/dev/null)" ]
}
same_header() {
    [ -n "$LOCAL" ] || cmp -s "$OFFERED_HEADER" "$HEADER"
}

# check_local: no cloud vouches for a local image; its engine must, or the integrator has said that nobody need
check_local() {
    if [ -z "$LOCAL" ] || [ -n "$ENGINE_PROVES_ORIGIN" ] || [ "$ALLOW_LOCAL" = 1 ]; then return; fi
    fail 4 "this device does not install local images of the kind $FORMAT: set ALLOW_LOCAL=1 in $CONF to allow it"
}

# hubby may have been about to replace both when we began: then image and header do not belong together
check_offer() {
    if same_image && same_header; then return; fi
    fail 5 "the image or its version header was replaced while it was checked"
}

check_not_refused() {
    if [ "$HASH" = "$REFUSED" ] || grep -qs "^$HASH" "$STATE_DIR/rolled-back"; then
        fail 9 "the image $HASH was installed before and did not come up (to allow it again: fw_setenv AFERO_OTA_REFUSED; rm $STATE_DIR/rolled-back)"
    fi
}

# older A B: whether number A is less than B, both of any length
older() {
    awk -v a="$1" -v b="$2" 'BEGIN { exit !(length(a) < length(b) || (length(a) == length(b) && a "" < b "")) }'
}

# check_version: VERSION, the image's, is not older than what runs
check_version() {
    running=$(version_number </etc/full-ota-record.json)
    [ -n "$VERSION" ] || fail 5 "the image's /etc/full-ota-record.json has no versionNumber"
    if older "$VERSION" "${running:-0}"; then
        [ -e "$STATE_DIR/allow-downgrade" ] ||
            fail 8 "the image has versionNumber $VERSION, older than the running ${running:-0}; to allow it once: touch $STATE_DIR/allow-downgrade"
        say "versionNumber $VERSION is older than the running ${running:-0}: allowed by $STATE_DIR/allow-downgrade"
    fi
}

# check_compatible FILE
check_compatible() {
    cmp -s "$1" "$OTA_DIR/compatible" ||
        fail 6 "the image is for '$(sed -n '1p' "$1")', this device is '$(sed -n '1p' "$OTA_DIR/compatible")'"
}
