# SPDX-License-Identifier: MIT
SUMMARY = "Debian's systemd and udev: what a small device has of them, and util-linux's mount and fsck, which systemd calls"

require debian.inc

DEBIAN_PACKAGES = "systemd udev mount util-linux libacl1 libapparmor1 libaudit1 libc6 libcap-ng0 libcap2 libcrypt1 libgcrypt20 \
    libgpg-error0 libip4tc2 libkmod2 liblz4-1 liblzma5 libmount1 libpam0g libpcre2-8-0 libseccomp2 libselinux1 libssl3 \
    libsystemd-shared libzstd1"
SRC_URI += "file://volatile.conf file://bench.rules"
FILES:${PN} = "/"

PROGRAMS = "lib/systemd/systemd lib/systemd/systemd-fsck lib/systemd/systemd-journald lib/systemd/systemd-remount-fs \
    lib/systemd/systemd-shutdown lib/systemd/systemd-udevd lib/systemd/system-generators/systemd-fstab-generator bin/journalctl \
    bin/systemctl bin/systemd-machine-id-setup bin/systemd-tmpfiles bin/udevadm bin/mount bin/umount sbin/fsck \
    lib/udev/rules.d/60-block.rules lib/udev/rules.d/99-systemd.rules"
LIBRARIES = "libacl libapparmor libaudit libcap libcap-ng libcrypt libcrypto libgcrypt libgpg-error libip4tc libkmod liblz4 liblzma libm \
    libmount libpam libpcre2-8 libseccomp libselinux libzstd"
UNITS = "basic.target emergency.target final.target local-fs-pre.target local-fs.target multi-user.target paths.target poweroff.target \
    reboot.target shutdown.target slices.target sockets.target swap.target sysinit.target timers.target umount.target \
    systemd-fsck@.service systemd-fsck-root.service systemd-journald-dev-log.socket systemd-journald.service systemd-journald.socket \
    systemd-machine-id-commit.service systemd-poweroff.service systemd-reboot.service systemd-remount-fs.service \
    systemd-tmpfiles-setup.service systemd-udev-trigger.service systemd-udevd-control.socket systemd-udevd-kernel.socket \
    systemd-udevd.service"
WANTED = "sysinit.target:systemd-journald.service sysinit.target:systemd-machine-id-commit.service \
    sysinit.target:systemd-tmpfiles-setup.service sysinit.target:systemd-udev-trigger.service sysinit.target:systemd-udevd.service \
    sockets.target:systemd-journald-dev-log.socket sockets.target:systemd-journald.socket sockets.target:systemd-udevd-control.socket \
    sockets.target:systemd-udevd-kernel.socket local-fs.target:tmp.mount"

do_install() {
    for path in ${PROGRAMS}; do
        install -d ${D}/$(dirname $path)
        cp -a debian/$path ${D}/$path
    done
    for library in ${LIBRARIES}; do
        for folder in lib usr/lib; do
            install -d ${D}/$folder/arm-linux-gnueabihf
            for path in debian/$folder/arm-linux-gnueabihf/$library.so.*; do
                [ ! -e $path ] || cp -a $path ${D}/$folder/arm-linux-gnueabihf/
            done
        done
    done
    install -d ${D}/usr/lib/arm-linux-gnueabihf/systemd
    cp -a debian/usr/lib/arm-linux-gnueabihf/systemd/libsystemd-core-*.so debian/usr/lib/arm-linux-gnueabihf/systemd/libsystemd-shared-*.so \
        ${D}/usr/lib/arm-linux-gnueabihf/systemd/
    units=${D}/lib/systemd/system
    install -d $units ${D}/lib/systemd/system-preset ${D}/sbin ${D}/usr/lib/tmpfiles.d
    for unit in ${UNITS}; do
        cp -a debian/lib/systemd/system/$unit $units/
    done
    cp -a debian/usr/share/systemd/tmp.mount $units/
    for pair in ${WANTED}; do
        install -d $units/${pair%%:*}.wants
        ln -s ../${pair#*:} $units/${pair%%:*}.wants/${pair#*:}
    done
    ln -s multi-user.target $units/default.target
    # an emulated processor would take seconds for devices that nobody here asks for
    sed -i 's/^ExecStart=.*/ExecStart=udevadm trigger --action=add --subsystem-match=block/' $units/systemd-udev-trigger.service
    # as in OE-Core: only what a recipe enables
    echo "disable *" > ${D}/lib/systemd/system-preset/99-default.preset
    install -m 0644 ${WORKDIR}/volatile.conf ${D}/usr/lib/tmpfiles.d/00-create-volatile.conf
    install -m 0644 ${WORKDIR}/bench.rules ${D}/lib/udev/rules.d/90-bench.rules
    ln -s ../lib/systemd/systemd ${D}/sbin/init
    for name in halt poweroff reboot; do
        ln -s ../bin/systemctl ${D}/sbin/$name
    done
    chown -R root:root ${D}
}
