# SPDX-License-Identifier: MIT
SUMMARY = "OE-Core's own systemctl, which enables units in an image"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COREBASE}/meta/COPYING.MIT;md5=3da9cfbcb788c80a0384361b4de20420"
INHIBIT_DEFAULT_DEPS = "1"

inherit native

# a script until Yocto 5.0; later releases compile it
FILESEXTRAPATHS:prepend = "${COREBASE}/meta/recipes-core/systemd/systemd-systemctl:"
SRC_URI = "file://systemctl"

python () {
    if not os.path.exists(d.expand("${COREBASE}/meta/recipes-core/systemd/systemd-systemctl/systemctl")):
        raise bb.parse.SkipRecipe("this release has no script")
}

# nothing is fetched, so nothing is patched
do_patch[depends] = ""

do_install() {
    install -D -m 0755 ${WORKDIR}/systemctl ${D}${bindir}/systemctl
}
