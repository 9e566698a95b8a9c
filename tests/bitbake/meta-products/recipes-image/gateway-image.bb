# SPDX-License-Identifier: MIT
SUMMARY = "An image whose recipe inherits the class by itself"

require recipes-image/hermetic-image.inc
inherit afero-ota

AFERO_OTA_NAME = "Gateway"
