# SPDX-License-Identifier: MIT
SUMMARY = "A system that boots in QEMU and takes updates"

require recipes-image/hermetic-image.inc

IMAGE_INSTALL = "busybox debian-tools debian-kernel device-base hello-data"

python () {
    if not d.getVar("HERMETIC_DEBIAN"):
        raise bb.parse.SkipRecipe("HERMETIC_DEBIAN is not set")
}

# what is wrong with this build: panic, hang, kernel, health, or nothing
DEVICE_FAULT ?= ""

# before anybody looks at the root as a whole
ROOTFS_POSTINSTALL_COMMAND:append = " device_settings"
device_settings() {
    # QEMU's SD card takes half a minute to discard a slot
    if [ -e ${IMAGE_ROOTFS}/etc/afero-ota/sysupgrade.conf ]; then
        echo 'MKFS_OPTIONS="-E nodiscard,lazy_itable_init=0,lazy_journal_init=0"' >> ${IMAGE_ROOTFS}/etc/afero-ota/sysupgrade.conf
        echo 'HEALTH_TIMEOUT=5' >> ${IMAGE_ROOTFS}/etc/afero-ota/sysupgrade.conf
    fi
    case "${DEVICE_FAULT}" in
    "") ;;
    panic | hang)
        rm ${IMAGE_ROOTFS}/sbin/init
        if [ ${DEVICE_FAULT} = panic ]; then what="exit 1"; else what="while :; do sleep 1000; done"; fi
        printf '#!/bin/sh\necho "BENCH FAULT ${DEVICE_FAULT}"\n%s\n' "$what" > ${IMAGE_ROOTFS}/sbin/init
        chmod 0755 ${IMAGE_ROOTFS}/sbin/init
        ;;
    kernel) yes kernel | dd of=${IMAGE_ROOTFS}/boot/zImage bs=64k count=16 iflag=fullblock ;;
    health)
        install -d ${IMAGE_ROOTFS}/etc/afero-ota/health.d
        printf '#!/bin/sh\necho "BENCH FAULT health"\nexit 1\n' > ${IMAGE_ROOTFS}/etc/afero-ota/health.d/90-fault
        chmod 0755 ${IMAGE_ROOTFS}/etc/afero-ota/health.d/90-fault
        ;;
    *) bbfatal "there is no fault ${DEVICE_FAULT}" ;;
    esac
}
