# SPDX-License-Identifier: MIT
SUMMARY = "The host's own programs under the names of OE-Core's native recipes"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"
INHIBIT_DEFAULT_DEPS = "1"

inherit native

PROVIDES += " \
    apt-native bmaptool-native cross-localedef-native depmodwrapper-cross dosfstools-native dpkg-native dwarfsrcfiles-native \
    e2fsprogs-native erofs-utils-native gettext-native kmod-native ldconfig-native makedevs-native mtools-native opkg-utils-native \
    parted-native patch-replacement-native patchelf-native pigz-native pseudo-native qemu-helper-native qemu-native \
    qemu-system-native qemuwrapper-cross quilt-native rpm-native shadow-native squashfs-tools-native \
    tar-replacement-native update-rc.d-native xz-native zstd-native \
    binutils-cross-arm virtual/arm-poky-linux-gnueabi-binutils virtual/update-alternatives-native \
    virtual/fakeroot-native buildtools-tarball meta-environment-extsdk-qemuarm meta-extsdk-toolchain \
    nativesdk-glibc-locale nativesdk-qemuwrapper-cross packagegroup-core-standalone-sdk-target \
"

HOST_TOOLS = "apt apt-cache apt-ftparchive debugfs dpkg dpkg-deb dpkg-query dpkg-split e2fsck fsck.ext4 mcopy mkdosfs mkfs.ext4 \
    mkfs.vfat mksquashfs mmd parted pigz pseudo rm tar xz zstd"

# nothing is fetched, so nothing is patched
do_patch[depends] = ""

do_install() {
    install -d ${D}${bindir} ${D}${sbindir} ${D}${sysconfdir}/apt
    for tool in ${HOST_TOOLS}; do
        path=$(PATH=/usr/bin:/usr/sbin:/bin:/sbin command -v $tool) || bbfatal "this machine has no $tool; run: scripts/setup build"
        ln -s $path ${D}${bindir}/$tool
    done
    # what there is nothing to do for in an image of data
    for tool in update-rc.d ldconfig; do
        printf '#!/bin/sh\nexit 0\n' > ${D}${bindir}/$tool
        chmod 755 ${D}${bindir}/$tool
    done
    # OE's patched dpkg hands D to maintainer scripts; Debian's does not, and they would act on the host
    cat > ${D}${bindir}/apt-get <<'EOT'
#!/bin/sh
[ -z "$APT_CONFIG" ] || export D="$(sed -n 's,.*"--root=\([^"]*\)".*,\1,p' "$APT_CONFIG")"
exec /usr/bin/apt-get "$@"
EOT
    chmod 755 ${D}${bindir}/apt-get
    # read by OE-Core's deb backend, which replaces the Architecture line by its exact indentation
    cat > ${D}${sysconfdir}/apt/apt.conf.sample <<EOT
Dir "${STAGING_DIR_NATIVE}/";
Dir::Etc "#APTCONF#";
Dir::Etc::Preferences "preferences";
Dir::Log "#APTCONF#";
Dir::State "#APTCONF#/state/";
Dir::State::Lists "#APTCONF#/lists/";
Dir::State::status "#ROOTFS#/var/lib/dpkg/status";
Dir::Cache "#APTCONF#/lists/";
Dir::Cache::Archives "./";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
Dir::Bin::methods "/usr/lib/apt/methods/";
Dir::Bin::dpkg "/usr/bin/dpkg";
APT::Immediate-Configure "false";
APT::Get::Assume-Yes "true";
APT::Sandbox::User "root";
Acquire::AllowInsecureRepositories "true";
APT
{
  Architecture "replaced-by-oe-core";
};
DPkg::Options:: "--root=#ROOTFS#";
DPkg::Options:: "--admindir=#ROOTFS#/var/lib/dpkg";
DPkg::Options:: "--force-all";
DPkg::Options:: "--no-force-overwrite";
DPkg::Options:: "--log=#ROOTFS#/../dpkg.log";
DPkg::Path "";
EOT
}
