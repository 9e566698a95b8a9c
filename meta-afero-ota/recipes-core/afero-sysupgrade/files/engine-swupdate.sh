#!/bin/sh
# SPDX-License-Identifier: MIT
# Engine for SWUpdate images. Sourced by sysupgrade, not run.
# shellcheck source=/dev/null
. "$LIB/engine-foreign.sh"

foreign_install() {
    # shellcheck disable=SC2086 # options
    swupdate $SWUPDATE_OPTIONS -i "$IMAGE"
}
