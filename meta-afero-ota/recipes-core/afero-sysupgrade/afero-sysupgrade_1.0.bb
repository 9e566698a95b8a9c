# SPDX-License-Identifier: MIT
SUMMARY = "/sbin/sysupgrade with two slots, and what belongs to it at boot"
SUMMARY:${PN}-header = "The running system's version header; the data partition's folders"
SUMMARY:${PN}-grow = "Enlarges the data partition to the size of the disk"
SUMMARY:${PN}-confirm = "Confirms a new system once it has come up healthy"
DESCRIPTION = "Installs an Afero full-system update into the slot that does not run, and falls back when the new system does not come up."
HOMEPAGE = "https://developer.afero.io"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

PROGRAMS = "afero-ota-confirm afero-ota-data afero-ota-grow afero-ota-header afero-ota-watchdog"
# sourced by the programs: the first ones by all of them, the others by sysupgrade alone
COMMON_PARTS = "settings.sh slots.sh outcome.sh"
SYSUPGRADE_PARTS = "lock.sh image.sh other-slot.sh tar-members.sh engine-tar.sh engine-rauc.sh"
SRC_URI = "file://sysupgrade file://sysupgrade.conf file://systemd.conf file://health-check \
    ${@' '.join('file://' + name for name in d.expand('${PROGRAMS} ${COMMON_PARTS} ${SYSUPGRADE_PARTS}').split())} \
    file://boot.init file://confirm.init file://afero-ota-boot.service file://afero-ota-confirm.service \
    file://afero-ota-guard.service file://afero-ota-guard.timer"
# scarthgap has no UNPACKDIR
S = "${@d.getVar('UNPACKDIR') or d.getVar('WORKDIR')}"
INHIBIT_DEFAULT_DEPS = "1"

inherit allarch update-rc.d systemd

# the header rule is of use without the rest, to a device that updates by other means
PACKAGES = "${PN}-header ${PN}-confirm ${PN}-grow ${PN}"

FILES:${PN} = "${base_sbindir}/sysupgrade ${nonarch_libdir}/afero-ota"
FILES:${PN}-header = "${sbindir}/afero-ota-header ${sbindir}/afero-ota-data ${sysconfdir}/afero-ota \
    ${@' '.join('${nonarch_libdir}/afero-ota/' + name for name in d.getVar('COMMON_PARTS').split())} \
    ${sysconfdir}/init.d/afero-ota-boot ${systemd_system_unitdir}/afero-ota-boot.service"
CONFFILES:${PN}-header = "${sysconfdir}/afero-ota/sysupgrade.conf"
FILES:${PN}-confirm = "${sbindir}/afero-ota-confirm ${sbindir}/afero-ota-watchdog ${sysconfdir}/init.d/afero-ota-confirm \
    ${nonarch_libdir}/afero-ota/health-check ${systemd_system_unitdir} ${nonarch_libdir}/systemd/system.conf.d"
# switched on by being installed: AFERO_OTA_DATA_GROW
FILES:${PN}-grow = "${sbindir}/afero-ota-grow"

RDEPENDS:${PN} = "${PN}-confirm ${PN}-header e2fsprogs-e2fsck e2fsprogs-mke2fs libubootenv-bin"
RDEPENDS:${PN}-confirm = "${PN}-header libubootenv-bin"
RDEPENDS:${PN}-grow = "${PN}-header e2fsprogs-resize2fs util-linux-partx util-linux-sfdisk"

INITSCRIPT_PACKAGES = "${PN}-header ${PN}-confirm"
INITSCRIPT_NAME:${PN}-header = "afero-ota-boot"
# after the file systems and /var (37), before everything that may read a header
INITSCRIPT_PARAMS:${PN}-header = "start 38 S ."
INITSCRIPT_NAME:${PN}-confirm = "afero-ota-confirm"
INITSCRIPT_PARAMS:${PN}-confirm = "start 99 2 3 4 5 ."

SYSTEMD_PACKAGES = "${PN}-header ${PN}-confirm"
SYSTEMD_SERVICE:${PN}-header = "afero-ota-boot.service"
SYSTEMD_SERVICE:${PN}-confirm = "afero-ota-confirm.service afero-ota-guard.timer"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
    install -d ${D}${base_sbindir} ${D}${sbindir} ${D}${nonarch_libdir}/afero-ota ${D}${sysconfdir}/afero-ota/health.d
    install -m 0755 ${S}/sysupgrade ${D}${base_sbindir}/
    for program in ${PROGRAMS}; do
        install -m 0755 ${S}/$program ${D}${sbindir}/
    done
    for part in ${COMMON_PARTS} ${SYSUPGRADE_PARTS}; do
        install -m 0644 ${S}/$part ${D}${nonarch_libdir}/afero-ota/
    done
    install -m 0755 ${S}/health-check ${D}${nonarch_libdir}/afero-ota/
    install -m 0644 ${S}/sysupgrade.conf ${D}${sysconfdir}/afero-ota/
    if ${@bb.utils.contains('DISTRO_FEATURES', 'sysvinit', 'true', 'false', d)}; then
        install -d ${D}${sysconfdir}/init.d
        install -m 0755 ${S}/boot.init ${D}${sysconfdir}/init.d/afero-ota-boot
        install -m 0755 ${S}/confirm.init ${D}${sysconfdir}/init.d/afero-ota-confirm
    fi
    if ${@bb.utils.contains('DISTRO_FEATURES', 'systemd', 'true', 'false', d)}; then
        install -d ${D}${systemd_system_unitdir} ${D}${nonarch_libdir}/systemd/system.conf.d
        for unit in boot.service confirm.service guard.service guard.timer; do
            install -m 0644 ${S}/afero-ota-$unit ${D}${systemd_system_unitdir}/
        done
        install -m 0644 ${S}/systemd.conf ${D}${nonarch_libdir}/systemd/system.conf.d/50-afero-ota.conf
    fi
}
