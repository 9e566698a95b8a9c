# SPDX-License-Identifier: MIT
# Only for builds that say MACHINEOVERRIDES .= ":beaglebone-green-wireless"; no other build's signature changes.
FILESEXTRAPATHS:prepend:beaglebone-green-wireless := "${THISDIR}/${PN}:"
SRC_URI:append:beaglebone-green-wireless = " file://wl1835.cfg"
