# SPDX-License-Identifier: MIT
SUMMARY = "The payload of an image as a RAUC bundle, signed with its owner's key"
DESCRIPTION = "Made by meta-rauc's class, except for the signature: the PIN of its key is kept out of everything that BitBake writes."
HOMEPAGE = "https://developer.afero.io"
LICENSE = "MIT"
SRC_URI = ""

require afero-ota-bundle.inc
