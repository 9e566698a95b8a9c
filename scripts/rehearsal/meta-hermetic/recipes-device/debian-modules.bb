# SPDX-License-Identifier: MIT
SUMMARY = "Some of the modules of Debian's kernel: programs of ordinary size and kind, for an image as large as a product's"

require debian.inc

DEBIAN_PACKAGES = "linux-image"
FILES:${PN} = "/usr"

do_install() {
    install -d ${D}/usr/lib/bench
    cp -r debian/lib/modules/*/kernel/drivers/net debian/lib/modules/*/kernel/drivers/gpu ${D}/usr/lib/bench/
    chown -R root:root ${D}
}
