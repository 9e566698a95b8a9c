# SPDX-License-Identifier: MIT
#
# An image for two slots, inherited by afero-ota when AFERO_OTA_AB is 1: what sysupgrade needs on the device, the slot files that
# describe the image, user data on a partition of its own, and a disk image with that layout. See docs/device.md.

IMAGE_INSTALL:append = " afero-sysupgrade ${AFERO_OTA_BOOT_PACKAGES}"

IMAGE_FSTYPES:append = " wic"
WKS_FILE = "${AFERO_OTA_WKS}"
IMAGE_BOOT_FILES:append = " boot.scr"
do_image_wic[depends] += "afero-ota-boot:do_deploy"
# also for who makes the disk by other means
do_build[depends] += "afero-ota-boot:do_deploy"

# what only a factory image has; sysupgrade refuses an archive that brings it
IMAGE_CMD_TAR:append = " ${@' '.join('--exclude=%s' % name for name in afero_ota.slot.FACTORY_ONLY)}"

python () {
    afero_ota.tasks.configure_slots(d)
}

python afero_ota_slot_settings () {
    afero_ota.tasks.slot_settings(d)
}
afero_ota_slot_settings[doc] = "Writes the slot files that say what this device is, and puts user data on its own partition."
ROOTFS_POSTPROCESS_COMMAND:append = " afero_ota_slot_settings"
do_rootfs[vardeps] += "AFERO_OTA_COMPATIBLE AFERO_OTA_DISK AFERO_OTA_DATA_PATHS AFERO_OTA_KEEP"
do_rootfs[vardeps] += "AFERO_OTA_BOOT_KERNEL AFERO_OTA_BOOT_FDT AFERO_OTA_BOOT_INITRAMFS"

python afero_ota_slot_contents () {
    afero_ota.tasks.slot_contents(d)
}
afero_ota_slot_contents[doc] = "Writes manifest and listing of the finished root file system, and the factory's mark."
# in do_image, since systemd's presets and others still change the root file system after do_rootfs
IMAGE_PREPROCESS_COMMAND:append = " afero_ota_slot_contents"
