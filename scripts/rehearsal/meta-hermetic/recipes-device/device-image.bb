# SPDX-License-Identifier: MIT
SUMMARY = "A system that boots in QEMU and takes updates"

require recipes-image/hermetic-image.inc

# packages that only some builds have
DEVICE_EXTRA ?= ""
IMAGE_INSTALL = "busybox debian-tools debian-kernel device-base hello-data ${DEVICE_EXTRA} \
    ${@bb.utils.contains('DISTRO_FEATURES', 'systemd', 'debian-systemd', '', d)}"

python () {
    if not d.getVar("HERMETIC_DEBIAN"):
        raise bb.parse.SkipRecipe("HERMETIC_DEBIAN is not set")
}

# what is wrong with this build: panic, hang, kernel, health, stuck, freeze (systemd only), or nothing
DEVICE_FAULT ?= ""

# before anybody looks at the root as a whole
ROOTFS_POSTINSTALL_COMMAND:append = " device_settings"
device_settings() {
    # QEMU's SD card takes half a minute to discard a slot
    if [ -e ${IMAGE_ROOTFS}/etc/afero-ota/sysupgrade.conf ]; then
        echo 'MKFS_OPTIONS="-E nodiscard,lazy_itable_init=0,lazy_journal_init=0"' >> ${IMAGE_ROOTFS}/etc/afero-ota/sysupgrade.conf
        echo 'HEALTH_TIMEOUT=8' >> ${IMAGE_ROOTFS}/etc/afero-ota/sysupgrade.conf
        # the shell of Debian's busybox takes its own reboot, whatever is in the path, and systemd does not understand that one
        echo 'REBOOT=/sbin/reboot' >> ${IMAGE_ROOTFS}/etc/afero-ota/sysupgrade.conf
    fi
    install -d ${IMAGE_ROOTFS}/usr/share/afero-ota/data/apps/deep
    yes factory | dd of=${IMAGE_ROOTFS}/usr/share/afero-ota/data/apps/deep/blob bs=64k count=16 iflag=fullblock
    ln -s deep/blob ${IMAGE_ROOTFS}/usr/share/afero-ota/data/apps/link
    case "${DEVICE_FAULT}" in
    "") ;;
    panic | hang)
        rm ${IMAGE_ROOTFS}/sbin/init
        if [ ${DEVICE_FAULT} = panic ]; then what="exit 1"; else what="while :; do sleep 1000; done"; fi
        printf '#!/bin/sh\necho "BENCH FAULT ${DEVICE_FAULT}"\n%s\n' "$what" > ${IMAGE_ROOTFS}/sbin/init
        chmod 0755 ${IMAGE_ROOTFS}/sbin/init
        ;;
    kernel) yes kernel | dd of=${IMAGE_ROOTFS}/boot/zImage bs=64k count=16 iflag=fullblock ;;
    health) ;; # AFERO_OTA_HEALTH_CHECKS names a check that fails
    # a service that everything after it waits for
    stuck) device_fault_at_boot 'echo "BENCH FAULT stuck" >/dev/console; while :; do sleep 1000; done' ;;
    # systemd does not end when it crashes, but does nothing any more
    freeze) device_fault_at_boot 'echo "BENCH FAULT freeze" >/dev/console; kill -SEGV 1; while :; do sleep 1000; done' ;;
    *) bbfatal "there is no fault ${DEVICE_FAULT}" ;;
    esac
}

device_fault_at_boot() {
    install -d ${IMAGE_ROOTFS}${sbindir}
    printf '#!/bin/sh\n%s\n' "$1" > ${IMAGE_ROOTFS}${sbindir}/bench-fault
    chmod 0755 ${IMAGE_ROOTFS}${sbindir}/bench-fault
    if [ -d ${IMAGE_ROOTFS}${sysconfdir}/rc5.d ]; then
        ln -s ../..${sbindir}/bench-fault ${IMAGE_ROOTFS}${sysconfdir}/rc5.d/S10bench-fault
    else
        unit=${IMAGE_ROOTFS}${systemd_system_unitdir}/bench-fault.service
        printf '[Unit]\nBefore=multi-user.target\n[Service]\nType=oneshot\nExecStart=${sbindir}/bench-fault\n' > $unit
        install -d ${IMAGE_ROOTFS}${systemd_system_unitdir}/multi-user.target.wants
        ln -s ../bench-fault.service ${IMAGE_ROOTFS}${systemd_system_unitdir}/multi-user.target.wants/
    fi
}
