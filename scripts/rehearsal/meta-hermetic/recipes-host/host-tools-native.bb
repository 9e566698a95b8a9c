# SPDX-License-Identifier: MIT
SUMMARY = "The host's own programs under the names of OE-Core's native recipes"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"
INHIBIT_DEFAULT_DEPS = "1"

inherit native

PROVIDES += " \
    apt-native bmaptool-native btrfs-tools-native cdrtools-native cross-localedef-native depmodwrapper-cross dosfstools-native \
    dpkg-native dwarfsrcfiles-native e2fsprogs-native erofs-utils-native gettext-native gptfdisk-native kmod-native ldconfig-native \
    makedevs-native mtools-native opkg-utils-native parted-native patch-replacement-native libp11-native openssl-native patchelf-native pigz-native \
    pseudo-native qemu-helper-native qemu-native qemu-system-native qemuwrapper-cross quilt-native rauc-native rpm-native shadow-native \
    squashfs-tools-native syslinux-native tar-replacement-native u-boot-mkimage-native u-boot-tools-native update-rc.d-native \
    xz-native zstd-native \
    binutils-cross-arm virtual/arm-poky-linux-gnueabi-binutils virtual/update-alternatives-native \
    virtual/fakeroot-native buildtools-tarball meta-environment-extsdk-qemuarm meta-extsdk-toolchain \
    nativesdk-glibc-locale nativesdk-qemuwrapper-cross packagegroup-core-standalone-sdk-target \
"

HOST_TOOLS = "apt apt-cache apt-ftparchive debugfs dpkg dpkg-deb dpkg-query dpkg-split dumpe2fs e2fsck fsck.ext4 mcopy mkdosfs mke2fs mkfs.ext4 \
    mkfs.vfat mkimage mksquashfs mmd openssl parted pigz pseudo rauc rm tar xz zstd"

# nothing is fetched, so nothing is patched
do_patch[depends] = ""

do_install() {
    install -d ${D}${bindir} ${D}${sbindir} ${D}${sysconfdir}/apt
    for tool in ${HOST_TOOLS}; do
        path=$(PATH=/usr/bin:/usr/sbin:/bin:/sbin command -v $tool) || bbfatal "this machine has no $tool; run: scripts/setup build"
        ln -s $path ${D}${bindir}/$tool
    done
    # what there is nothing to do for
    printf '#!/bin/sh\nexit 0\n' > ${D}${bindir}/ldconfig
    # OE's is a recipe of its own: [-f] [-s] -r ROOT NAME defaults [NN [NN]] | {start|stop NN LEVEL... .}... | remove
    cat > ${D}${bindir}/update-rc.d <<'EOT'
#!/bin/sh
set -e
root=
while :; do
    case $1 in
    -r) root=$2; shift 2 ;;
    -f | -s) shift ;;
    *) break ;;
    esac
done
[ -n "$root" ] || { echo "update-rc.d: only for a root below -r" >&2; exit 1; }
name=$1; shift
link() { mkdir -p "$root/etc/rc$3.d"; ln -sf "../init.d/$name" "$root/etc/rc$3.d/$1$2$name"; }
case $1 in
remove) rm -f "$root"/etc/rc?.d/[SK][0-9][0-9]"$name" ;;
defaults)
    for level in 2 3 4 5; do link S "${2:-20}" $level; done
    for level in 0 1 6; do link K "${3:-${2:-20}}" $level; done
    ;;
*)
    while [ $# -gt 0 ]; do
        case $1 in
        start) kind=S ;;
        stop) kind=K ;;
        *) echo "update-rc.d: $1?" >&2; exit 1 ;;
        esac
        number=$2; shift 2
        while [ $# -gt 0 ] && [ "$1" != . ]; do link $kind "$number" "$1"; shift; done
        [ $# -eq 0 ] || shift
    done
    ;;
esac
EOT
    chmod 755 ${D}${bindir}/update-rc.d ${D}${bindir}/ldconfig
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
Dir::Cache::Archives "#APTCONF#/lists/";
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
