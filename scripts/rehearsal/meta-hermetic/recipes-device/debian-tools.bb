# SPDX-License-Identifier: MIT
SUMMARY = "Debian's libubootenv, e2fsprogs and some of util-linux, with the libraries they need, under the names of OE-Core's packages"

require debian.inc

DEBIAN_PACKAGES = "e2fsprogs fdisk libblkid1 libc6 libcom-err2 libext2fs2 libfdisk1 libgcc-s1 libreadline8 libsmartcols1 libss2 libtinfo6 \
    libubootenv-tool libubootenv0.1 libuuid1 libyaml-0-2 util-linux zlib1g"
PROVIDES = "libubootenv e2fsprogs"
RPROVIDES:${PN} = "libubootenv libubootenv-bin u-boot-fw-utils e2fsprogs e2fsprogs-e2fsck e2fsprogs-mke2fs e2fsprogs-resize2fs \
    e2fsprogs-tune2fs util-linux-partx util-linux-sfdisk"

PROGRAMS = "sbin/badblocks sbin/dumpe2fs sbin/e2fsck sbin/fsck.ext4 sbin/mke2fs sbin/mkfs.ext4 sbin/resize2fs \
    sbin/sfdisk sbin/tune2fs usr/bin/fw_printenv usr/bin/fw_setenv usr/bin/partx"
LIBRARIES = "ld-linux-armhf libblkid libc libcom_err libdl libe2p libext2fs libfdisk libgcc_s libpthread libreadline \
    libsmartcols libss libtinfo libubootenv libuuid libyaml libz"
FILES:${PN} = "/lib /usr /sbin /etc"

do_install() {
    for program in ${PROGRAMS}; do
        install -d ${D}/$(dirname $program)
        cp -a debian/$program ${D}/$program
    done
    install -D -m 0644 debian/etc/mke2fs.conf ${D}/etc/mke2fs.conf
    for library in ${LIBRARIES}; do
        for path in debian/lib/$library.so.* debian/lib/arm-linux-gnueabihf/$library.so.* debian/usr/lib/arm-linux-gnueabihf/$library.so.* \
            debian/lib/$library-*.so.*; do
            [ -e $path ] || [ -L $path ] || continue
            install -d ${D}/$(dirname ${path#debian/})
            cp -a $path ${D}/${path#debian/}
        done
    done
    chown -R root:root ${D}
}
