#!/bin/sh
# SPDX-License-Identifier: MIT
# Engine for RAUC bundles. Sourced by sysupgrade, not run.
# shellcheck source=/dev/null
. "$LIB/engine-foreign.sh"

foreign_install() {
    rauc install "$IMAGE"
}
