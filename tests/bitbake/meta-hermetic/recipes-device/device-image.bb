# SPDX-License-Identifier: MIT
SUMMARY = "A system that boots in QEMU and takes updates"

require recipes-image/hermetic-image.inc

IMAGE_INSTALL = "busybox debian-tools debian-kernel device-base hello-data"

python () {
    if not d.getVar("HERMETIC_DEBIAN"):
        raise bb.parse.SkipRecipe("HERMETIC_DEBIAN is not set")
}
