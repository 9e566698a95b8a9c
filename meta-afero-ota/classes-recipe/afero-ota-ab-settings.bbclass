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

# the plugin was renamed together with wic's move out of OE-Core
AFERO_OTA_WIC_BOOT_SOURCE = "${@'bootimg-partition' if os.path.exists(d.expand('${COREBASE}/scripts/lib/wic')) else 'bootimg_partition'}"
AFERO_OTA_WIC_BOOT_SOURCE[doc] = "Set by the class: wic's plugin for the boot partition."
