# SPDX-License-Identifier: MIT
SUMMARY = "Debian's kernel and an initramfs with the drivers of the disk, both in the slot's /boot"

require debian.inc

DEBIAN_PACKAGES = "linux-image busybox-static"
SRC_URI += "file://initramfs-init"
FILES:${PN} = "/boot"

# the disk, another disk, the file system, and a watchdog that runs from the start as if the bootloader had started it
MODULES = "sdhci-pci mmc_block virtio_mmio virtio_blk crc32c_generic ext4 softdog"
# what RAUC mounts a bundle with
MODULES:append = "${@' loop squashfs sha256_generic dm-verity' if d.getVar('AFERO_OTA_ENGINE') == 'rauc' else ''}"

do_compile:append() {
    tree=${B}/initramfs
    rm -rf $tree
    mkdir -p $tree/bin $tree/dev $tree/proc $tree/sys $tree/modules
    cp debian/bin/busybox $tree/bin/
    install -m 0755 ${WORKDIR}/initramfs-init $tree/init
    : > $tree/modules/order
    for module in ${MODULES}; do
        add_module $module
    done
    (cd $tree && find . -exec touch -h -d @0 {} + && find . | LC_ALL=C sort | cpio -o -H newc --reproducible --quiet -R 0:0) | gzip -9n > initrd
}

# a module after those that it needs, as depmod would find them; - and _ are the same
add_module() {
    for name in $1 $(echo $1 | tr _ -) $(echo $1 | tr - _); do
        file=$(find debian/lib/modules -name $name.ko)
        [ -z "$file" ] || break
    done
    if [ -z "$file" ]; then
        grep -qE "/$(echo $1 | tr _- ..)\.ko$" debian/lib/modules/*/modules.builtin || bbfatal "Debian's kernel has no module $1"
        return 0
    fi
    for needed in $(strings $file | sed -n 's/^depends=//p' | tr , ' '); do
        add_module $needed
    done
    for name in $1 $(echo $1 | tr _ -) $(echo $1 | tr - _); do
        file=$(find debian/lib/modules -name $name.ko)
        [ -z "$file" ] || break
    done
    name=$(basename $file)
    if ! grep -qx $name initramfs/modules/order; then
        cp $file initramfs/modules/
        echo $name >> initramfs/modules/order
    fi
}

do_install() {
    install -d ${D}/boot
    install -m 0644 debian/boot/vmlinuz-* ${D}/boot/zImage
    install -m 0644 initrd ${D}/boot/initrd.gz
}
