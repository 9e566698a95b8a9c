# SPDX-License-Identifier: MIT
SUMMARY = "Stands in for the programs that afero-sysupgrade needs on a device, where images are never booted"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"
INHIBIT_DEFAULT_DEPS = "1"
ALLOW_EMPTY:${PN} = "1"
RPROVIDES:${PN} = "e2fsprogs-e2fsck e2fsprogs-mke2fs e2fsprogs-resize2fs libubootenv-bin rauc util-linux-partx util-linux-sfdisk zstd"

inherit allarch

python () {
    if d.getVar("HERMETIC_DEBIAN"):
        raise bb.parse.SkipRecipe("debian-tools has the real ones")
}
