# SPDX-License-Identifier: MIT
#
# The variables of the A/B update and their defaults, for images and for the recipe of boot.scr alike. Defaults for one machine are in
# conf/afero-ota-board/MACHINE.conf of any layer; what the configuration sets takes precedence.

include conf/afero-ota-board/${MACHINE}.conf

AFERO_OTA_AB ?= "0"
AFERO_OTA_AB[doc] = "1: two system slots and a data partition, /sbin/sysupgrade, a disk image (wic). For a whole configuration, not for one image."

AFERO_OTA_COMPATIBLE ?= "${MACHINE}"
AFERO_OTA_COMPATIBLE[doc] = "Name of the hardware. A device refuses an image with another name."

AFERO_OTA_DISK ?= "/dev/mmcblk0"
AFERO_OTA_DISK[doc] = "Linux's name of the disk that holds slots, data and U-Boot's environment."

AFERO_OTA_SLOT_SIZE ?= "512M"
AFERO_OTA_SLOT_SIZE[doc] = "Size of each system slot. It is fixed for the life of a device: at least twice today's root file system."

AFERO_OTA_DATA_SIZE ?= "256M"
AFERO_OTA_DATA_SIZE[doc] = "Size of the data partition in the disk image."

AFERO_OTA_DATA_GROW ?= "0"
AFERO_OTA_DATA_GROW[doc] = "1: the data partition and its file system are enlarged to the end of the disk when a device starts."

AFERO_OTA_DATA_PATHS ?= "/afero_nv"
AFERO_OTA_DATA_PATHS[doc] = "Absolute paths that live on the data partition (/data) and so survive updates."

AFERO_OTA_KEEP ?= "${sysconfdir}/machine-id"
AFERO_OTA_KEEP[doc] = "Absolute paths of small files that an update copies from the running system to the new one."

AFERO_OTA_HEALTH_CHECKS ?= ""
AFERO_OTA_HEALTH_CHECKS[doc] = "Ready-made health checks of a new system: systemd, process:NAME, network:HOST, mounted:/PATH, free:/PATH:SIZE."

AFERO_OTA_WKS ?= "${@bb.utils.which(d.getVar('BBPATH'), 'files/wic/afero-ota-ab.wks.in')}"
AFERO_OTA_WKS[doc] = "Absolute path of the disk layout. Default: the layer's files/wic/afero-ota-ab.wks.in."

AFERO_OTA_BOOT_PACKAGES ?= "kernel-image ${@'kernel-devicetree' if d.getVar('KERNEL_DEVICETREE') else ''}"
AFERO_OTA_BOOT_PACKAGES[doc] = "Packages that put what U-Boot loads into the slot's /boot. Default: kernel-image, and kernel-devicetree if KERNEL_DEVICETREE is set."

AFERO_OTA_BOOT_KERNEL ?= "/boot/${KERNEL_IMAGETYPE}"
AFERO_OTA_BOOT_KERNEL[doc] = "Path of the kernel in the slot."

AFERO_OTA_BOOT_FDT ?= ""
AFERO_OTA_BOOT_FDT[doc] = "Path of the device tree in the slot. Not set: U-Boot's own."

AFERO_OTA_BOOT_INITRAMFS ?= ""
AFERO_OTA_BOOT_INITRAMFS[doc] = "Path of the initramfs in the slot. Not set: none."

AFERO_OTA_BOOT_COMMAND ?= "bootz"
AFERO_OTA_BOOT_COMMAND[doc] = "U-Boot's command that starts the kernel: bootz, booti or bootm."

AFERO_OTA_BOOT_MMC ?= "0"
AFERO_OTA_BOOT_MMC[doc] = "U-Boot's number of the disk that Linux calls AFERO_OTA_DISK."

AFERO_OTA_BOOT_ARGS ?= "console=ttyS0,115200 rootwait ro watchdog.open_timeout=300"
AFERO_OTA_BOOT_ARGS[doc] = "Kernel command line, without root=, rauc.slot= and panic=, which boot.scr adds. ro: init makes the root writable where /etc/fstab or inittab says so."

AFERO_OTA_BOOT_ADDRESSES ?= ""
AFERO_OTA_BOOT_ADDRESSES[doc] = "Load addresses for a U-Boot without kernel_addr_r, fdt_addr_r, ramdisk_addr_r: kaddr=0x… faddr=0x… raddr=0x…"

AFERO_OTA_ENGINE ?= "tar"
AFERO_OTA_ENGINE[doc] = "What installs an image on the device: tar, or rauc for bundles that only the owner's key can sign."

AFERO_OTA_KEYRING ?= ""
AFERO_OTA_KEYRING[doc] = "With rauc: path of the certificates that the device trusts, in PEM form."

AFERO_OTA_SIGN_KEY ?= ""
AFERO_OTA_SIGN_KEY[doc] = "With rauc: the key that signs, a path or a pkcs11: URI. Never its PIN or passphrase."

AFERO_OTA_SIGN_CERT ?= ""
AFERO_OTA_SIGN_CERT[doc] = "With rauc: the certificate of that key, a path or a pkcs11: URI."

AFERO_OTA_SIGN_MODULE ?= ""
AFERO_OTA_SIGN_MODULE[doc] = "With a pkcs11: URI: path of the token's PKCS#11 module, when p11-kit does not find it."

AFERO_OTA_BUNDLE ?= "afero-ota-bundle"
AFERO_OTA_BUNDLE[doc] = "With rauc: the recipe that makes the image's bundle; each image needs its own."

AFERO_OTA_BUNDLE_IMAGE ?= "core-image-minimal"
AFERO_OTA_BUNDLE_IMAGE[doc] = "With rauc: the image in the bundle of afero-ota-bundle."

# the plugin was renamed together with wic's move out of OE-Core
AFERO_OTA_WIC_BOOT_SOURCE = "${@'bootimg-partition' if os.path.exists(d.expand('${COREBASE}/scripts/lib/wic')) else 'bootimg_partition'}"
AFERO_OTA_WIC_BOOT_SOURCE[doc] = "Set by the class: wic's plugin for the boot partition."
