#!/bin/sh
# SPDX-License-Identifier: MIT
# Engine for RAUC bundles, format verity. RAUC decides whether the owner has signed the bundle, and gives access to its content
# through dm-verity; the archive in it is then installed as engine-tar.sh does it. Sourced by sysupgrade, not run.
#
# `rauc mount` checks the same as `rauc install`. `rauc install` would be another way to write a slot: it formats with the defaults of
# mke2fs, does not read back what it wrote, and leaves the size, the kernel and the members of the archive to chance.
# shellcheck disable=SC2034 # used by sysupgrade
# shellcheck source=/dev/null
. "$LIB/engine-tar.sh"
ENGINE_PROGRAMS="$ENGINE_PROGRAMS rauc"
ENGINE_PROVES_ORIGIN=1

# the build number of a bundle that nobody has verified, for the report of an update that is refused early
engine_version() {
    rauc info --no-verify --output-format=shell "$CONTENT" 2>/dev/null | sed -n "s/^RAUC_MF_BUILD='\([0-9]*\)'\$/\1/p"
}

# only what the owner has signed is looked at any further
engine_check() {
    step "asking RAUC for the signature"
    rauc info --output-format=shell "$CONTENT" >"$WORK/bundle" 2>"$WORK/rauc" || refuse_bundle
    compatible=$(sed -n "s/^RAUC_MF_COMPATIBLE='\(.*\)'\$/\1/p" "$WORK/bundle")
    [ "$compatible" = "$(cat "$OTA_DIR/compatible")" ] ||
        fail 6 "the bundle is for '$compatible', this device is '$(sed -n '1p' "$OTA_DIR/compatible")'"
    # later versions of RAUC quote the number, too
    grep -q "^RAUC_MF_IMAGES='\{0,1\}1'\{0,1\}\$" "$WORK/bundle" || fail 5 "the bundle has not one image, as it must"
    mount_bundle
    ARCHIVE=$BUNDLE/$(sed -n "s/^RAUC_IMAGE_NAME_0='\([^\/']*\)'\$/\1/p" "$WORK/bundle")
    if [ ! -f "$ARCHIVE" ] || ! detect_format "$ARCHIVE" || [ "$FORMAT" = rauc ]; then fail 5 "the bundle's image is no archive"; fi
    check_archive
}

engine_install() {
    install_archive
}

mount_bundle() {
    mkdir -p "${BUNDLE%/*}"
    rauc --mount="${BUNDLE%/*}" mount "$CONTENT" >"$WORK/rauc" 2>&1 || fail 4 "the bundle cannot be mounted: $(rauc_said)"
    mounted "$BUNDLE" || fail 4 "the bundle is not mounted at $BUNDLE"
}

# a signature that does not match what it signs is damage; everything else is a question of who signed, and when
refuse_bundle() {
    case $(rauc_said) in
    *"Verify error"* | *signer*) fail 11 "RAUC does not trust the bundle's signer: $(rauc_said)" ;;
    *) fail 5 "the bundle is damaged or not signed: $(rauc_said)" ;;
    esac
}

# what RAUC said last; its progress goes to the same place
rauc_said() {
    grep -v '^rauc-Message' "$WORK/rauc" | tail -n 1
}
