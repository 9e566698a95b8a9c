# SPDX-License-Identifier: MIT
SUMMARY = "boot.scr: U-Boot's choice between two system slots"
DESCRIPTION = "The script that U-Boot loads from the boot partition: counts the tries of a slot and falls back to the other one."
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

SRC_URI = "file://boot.cmd"
# scarthgap has no UNPACKDIR
S = "${@d.getVar('UNPACKDIR') or d.getVar('WORKDIR')}"
B = "${WORKDIR}/build"

inherit afero-ota-ab-settings deploy kernel-arch

DEPENDS = "u-boot-tools-native"
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
    cat > ${B}/boot.cmd <<EOT
mmc=${AFERO_OTA_BOOT_MMC}
disk=${AFERO_OTA_DISK}
boot=${AFERO_OTA_BOOT_COMMAND}
kernel=${AFERO_OTA_BOOT_KERNEL}
fdt=${AFERO_OTA_BOOT_FDT}
initramfs=${AFERO_OTA_BOOT_INITRAMFS}
args="${AFERO_OTA_BOOT_ARGS}"
EOT
    for address in ${AFERO_OTA_BOOT_ADDRESSES}; do
        echo "$address" >> ${B}/boot.cmd
    done
    cat ${S}/boot.cmd >> ${B}/boot.cmd
    mkimage -A ${UBOOT_ARCH} -T script -C none -n afero-ota -d ${B}/boot.cmd ${B}/boot.scr
}

do_deploy() {
    install -m 0644 ${B}/boot.scr ${DEPLOYDIR}/boot.scr
}
addtask deploy after do_compile before do_build
