# SPDX-License-Identifier: MIT
#
# An image for two slots, inherited by afero-ota when AFERO_OTA_AB is 1: what sysupgrade needs on the device, the slot files that
# describe the image, user data on a partition of its own, and a disk image with that layout. See docs/device.md.

inherit_defer ${@'afero-ota-rauc' if d.getVar('AFERO_OTA_ENGINE') == 'rauc' else ''}

IMAGE_INSTALL:append = " afero-sysupgrade ${AFERO_OTA_BOOT_PACKAGES} ${@'afero-sysupgrade-grow' if d.getVar('AFERO_OTA_DATA_GROW') == '1' else ''}"
# busybox has the programs for the other types of archive
IMAGE_INSTALL:append = " ${@'zstd' if d.getVar('AFERO_OTA_IMAGE_FSTYPE').strip() == 'tar.zst' else ''}"

IMAGE_FSTYPES:append = " wic"
WKS_FILE = "${AFERO_OTA_WKS}"
IMAGE_BOOT_FILES:append = " boot.scr"
do_image_wic[depends] += "afero-ota-boot:do_deploy"
# also for a disk image that is made in another way
do_build[depends] += "afero-ota-boot:do_deploy"

# files of a factory image only: sysupgrade refuses an archive that has them
IMAGE_CMD_TAR:append = " ${@' '.join('--exclude=%s' % name for name in afero_ota.slot.FACTORY_ONLY)}"

python () {
    afero_ota.tasks.parsing.configure_slots(d)
}

python afero_ota_slot_settings () {
    afero_ota.tasks.slot_settings(d)
}
afero_ota_slot_settings[doc] = "Writes the slot files that say what this device is, and puts user data on its own partition."
ROOTFS_POSTPROCESS_COMMAND:append = " afero_ota_slot_settings"
do_rootfs[file-checksums] += "${AFERO_OTA_LIBRARY}/slot.py:True ${AFERO_OTA_LIBRARY}/health.py:True"

python afero_ota_slot_contents () {
    afero_ota.tasks.slot_contents(d)
}
afero_ota_slot_contents[doc] = "Writes manifest and listing of the finished root file system, and the factory's mark."
# in do_image, since systemd's presets and others still change the root file system after do_rootfs
IMAGE_PREPROCESS_COMMAND:append = " afero_ota_slot_contents"
do_image[file-checksums] += "${AFERO_OTA_LIBRARY}/slot.py:True"
