# SPDX-License-Identifier: MIT
# The BeagleBone of meta-yocto-bsp; nothing without AFERO_OTA_AB.
require ${@'recipes-bsp/afero-ota-boot/u-boot-ab.inc' if d.getVar('AFERO_OTA_AB') == '1' else ''}
