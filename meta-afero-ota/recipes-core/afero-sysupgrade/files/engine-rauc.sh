#!/bin/sh
# SPDX-License-Identifier: MIT
# Engine for RAUC bundles. Sourced by sysupgrade, not run.
# shellcheck source=/dev/null
. "$LIB/engine-foreign.sh"
# shellcheck disable=SC2034 # used by image.sh
ENGINE_PROVES_ORIGIN=1

foreign_install() {
    rauc install "$IMAGE"
}
