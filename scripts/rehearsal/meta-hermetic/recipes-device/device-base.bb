# SPDX-License-Identifier: MIT
SUMMARY = "What a system needs around busybox, or around systemd: folders, files of init, a console for the bench"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"
INHIBIT_DEFAULT_DEPS = "1"

inherit allarch systemd

SRC_URI = "file://fstab file://bench-console file://inittab file://rc file://mounts \
    file://bench-console.service file://bench-init.service file://afero-ota-console.conf file://afero-ota-guard.conf"
FILES:${PN} = "/"
SYSTEMD_SERVICE:${PN} = "bench-console.service bench-init.service"

do_install() {
    for folder in data dev proc root run sys tmp var; do
        install -d ${D}/$folder
    done
    chmod 1777 ${D}/tmp
    install -d ${D}${sysconfdir} ${D}${base_sbindir}
    install -m 0644 ${WORKDIR}/fstab ${D}${sysconfdir}/fstab
    install -m 0755 ${WORKDIR}/bench-console ${D}${base_sbindir}/bench-console
    ln -s /proc/mounts ${D}${sysconfdir}/mtab
    ln -s ../run ${D}/var/run
    echo "root:x:0:0:root:/root:/bin/sh" > ${D}${sysconfdir}/passwd
    echo "root:x:0:" > ${D}${sysconfdir}/group
    ${@bb.utils.contains('DISTRO_FEATURES', 'systemd', 'install_units', 'install_scripts', d)}
}

install_scripts() {
    install -d ${D}${sysconfdir}/init.d ${D}${sysconfdir}/rcS.d
    install -m 0644 ${WORKDIR}/inittab ${D}${sysconfdir}/inittab
    install -m 0755 ${WORKDIR}/rc ${WORKDIR}/mounts ${D}${sysconfdir}/init.d/
    ln -s ../init.d/mounts ${D}${sysconfdir}/rcS.d/S01mounts
}

install_units() {
    install -d ${D}${systemd_system_unitdir}
    install -m 0644 ${WORKDIR}/bench-console.service ${WORKDIR}/bench-init.service ${D}${systemd_system_unitdir}/
    for unit in boot confirm guard; do
        install -D -m 0644 ${WORKDIR}/afero-ota-console.conf ${D}${systemd_system_unitdir}/afero-ota-$unit.service.d/bench.conf
    done
    install -D -m 0644 ${WORKDIR}/afero-ota-guard.conf ${D}${systemd_system_unitdir}/afero-ota-guard.timer.d/bench.conf
    # as in OE-Core's base-files
    install -d ${D}/var/volatile
    ln -s ../run/lock ${D}/var/lock
    ln -s volatile/log ${D}/var/log
    ln -s volatile/tmp ${D}/var/tmp
    echo "tmpfs /var/volatile tmpfs defaults 0 0" >> ${D}${sysconfdir}/fstab
}
