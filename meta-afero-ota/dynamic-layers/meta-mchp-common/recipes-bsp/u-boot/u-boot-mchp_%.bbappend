# SPDX-License-Identifier: MIT
# The SAMA5D2 Xplained of meta-mchp; nothing without AFERO_OTA_AB.
require ${@'recipes-bsp/afero-ota-boot/u-boot-ab.inc' if d.getVar('AFERO_OTA_AB') == '1' else ''}
