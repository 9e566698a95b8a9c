# SPDX-License-Identifier: MIT
SUMMARY = "What a system needs around busybox: folders, inittab, the two scripts of sysvinit, a console for the bench"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"
INHIBIT_DEFAULT_DEPS = "1"

inherit allarch

SRC_URI = "file://inittab file://rc file://mounts file://bench-console"
FILES:${PN} = "/"

do_install() {
    for folder in data dev proc root run sys tmp var; do
        install -d ${D}/$folder
    done
    chmod 1777 ${D}/tmp
    install -d ${D}${sysconfdir}/init.d ${D}${sysconfdir}/rcS.d ${D}${base_sbindir}
    install -m 0644 ${WORKDIR}/inittab ${D}${sysconfdir}/inittab
    install -m 0755 ${WORKDIR}/rc ${WORKDIR}/mounts ${D}${sysconfdir}/init.d/
    ln -s ../init.d/mounts ${D}${sysconfdir}/rcS.d/S01mounts
    install -m 0755 ${WORKDIR}/bench-console ${D}${base_sbindir}/bench-console
    ln -s /proc/mounts ${D}${sysconfdir}/mtab
    ln -s ../run ${D}/var/run
    echo "root:x:0:0:root:/root:/bin/sh" > ${D}${sysconfdir}/passwd
    echo "root:x:0:" > ${D}${sysconfdir}/group
}
