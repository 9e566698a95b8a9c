# SPDX-License-Identifier: MIT
SUMMARY = "Debian's static busybox: shell, init and the ordinary commands"

require debian.inc

DEBIAN_PACKAGES = "busybox-static"

# those of its applets that a small device has; it cannot be asked for them here
BIN = "[ ash awk base64 cat chgrp chmod chown cmp cp cut date dd df dmesg du echo env expr false find grep gunzip gzip head \
    hexdump id kill ln logger ls md5sum mkdir mkfifo mknod mktemp more mount mv od pidof printf ps pwd readlink realpath rm rmdir \
    sed seq setsid sh sha256sum sleep sort stat stty sync tail tar tee test time timeout touch tr true umount uname uniq \
    unxz uptime usleep wc which xargs xz xzcat yes zcat basename dirname tty free nproc diff logread crc32 bzcat"
SBIN = "blockdev halt init insmod klogd losetup lsmod poweroff reboot rmmod switch_root sysctl syslogd watchdog start-stop-daemon \
    mdev ip ifconfig fstrim getty losetup"

# systemd brings its own
OF_SYSTEMD = "halt init mount poweroff reboot umount"
BIN:remove = "${@bb.utils.contains('DISTRO_FEATURES', 'systemd', d.getVar('OF_SYSTEMD'), '', d)}"
SBIN:remove = "${@bb.utils.contains('DISTRO_FEATURES', 'systemd', d.getVar('OF_SYSTEMD'), '', d)}"

do_install() {
    install -d ${D}${base_bindir} ${D}${base_sbindir}
    install -m 0755 debian/bin/busybox ${D}${base_bindir}/busybox
    for applet in ${BIN}; do
        ln -sf busybox ${D}${base_bindir}/$applet
    done
    for applet in ${SBIN}; do
        ln -sf ../bin/busybox ${D}${base_sbindir}/$applet
    done
}
