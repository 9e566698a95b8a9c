# SPDX-License-Identifier: MIT
SUMMARY = "The other image and more, for another device type"

require gateway-image.bb

AFERO_OTA_NAME = "Gateway Pro"
AFERO_OTA_DEVICE_TYPE_ID = "b7653907-0000-4000-8000-775b68f5f814"
# names without the machine, as some distributions have them
IMAGE_MACHINE_SUFFIX = ""
