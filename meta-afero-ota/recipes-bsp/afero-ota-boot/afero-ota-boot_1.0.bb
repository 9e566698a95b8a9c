# SPDX-License-Identifier: MIT
SUMMARY = "boot.scr: U-Boot's choice between two system slots"
DESCRIPTION = "The script that U-Boot loads from the boot partition: counts the tries of a slot and falls back to the other one."
HOMEPAGE = "https://developer.afero.io"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

DEPENDS = "u-boot-tools-native"

SRC_URI = "file://boot.cmd"
# scarthgap has no UNPACKDIR
S = "${@d.getVar('UNPACKDIR') or d.getVar('WORKDIR')}"
B = "${WORKDIR}/build"

inherit afero-ota-ab-settings deploy kernel-arch

INHIBIT_DEFAULT_DEPS = "1"
PACKAGE_ARCH = "${MACHINE_ARCH}"

# a package would be empty: the script belongs into the boot partition, which no update writes
inherit nopackages

python () {
    if d.getVar("AFERO_OTA_AB") != "1":
        raise bb.parse.SkipRecipe('needs AFERO_OTA_AB = "1" in the configuration')
}

do_configure[noexec] = "1"
do_install[noexec] = "1"

do_compile() {
    # the board's part, then the common one
    {
        echo "mmc=${AFERO_OTA_BOOT_MMC}"
        echo "slots=${@afero_ota.slot.partition(d.getVar('AFERO_OTA_DISK'), '')}"
        echo "boot=${AFERO_OTA_BOOT_COMMAND}"
        echo "kernel=${AFERO_OTA_BOOT_KERNEL}"
        echo "fdt=${AFERO_OTA_BOOT_FDT}"
        echo "initramfs=${AFERO_OTA_BOOT_INITRAMFS}"
        echo 'args="${AFERO_OTA_BOOT_ARGS}"'
        for address in ${AFERO_OTA_BOOT_ADDRESSES}; do
            echo "$address"
        done
        cat ${S}/boot.cmd
    } > ${B}/boot.cmd
    mkimage -A ${UBOOT_ARCH} -T script -C none -n afero-ota -d ${B}/boot.cmd ${B}/boot.scr
}
do_compile[file-checksums] += "${AFERO_OTA_LIBRARY}/slot.py:True"

do_deploy() {
    install -m 0644 ${B}/boot.scr ${DEPLOYDIR}/boot.scr
}
addtask deploy after do_compile before do_build
