# SPDX-License-Identifier: MIT
SUMMARY = "Debian's zstd, for payloads of the type tar.zst"

require debian.inc

DEBIAN_PACKAGES = "zstd liblz4-1 liblzma5"
RPROVIDES:${PN} = "zstd"
RDEPENDS:${PN} = "debian-tools"
FILES:${PN} = "/usr /lib"

do_install() {
    install -d ${D}/usr/bin
    install -m 0755 debian/usr/bin/zstd ${D}/usr/bin/zstd
    for library in liblz4 liblzma; do
        for path in debian/lib/arm-linux-gnueabihf/$library.so.* debian/usr/lib/arm-linux-gnueabihf/$library.so.*; do
            [ -e $path ] || [ -L $path ] || continue
            install -d ${D}/$(dirname ${path#debian/})
            cp -a $path ${D}/${path#debian/}
        done
    done
    chown -R root:root ${D}
}
