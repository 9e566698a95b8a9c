# SPDX-License-Identifier: MIT
#
# An image whose payload is a signed RAUC bundle, inherited by afero-ota-ab when AFERO_OTA_ENGINE is rauc. Needs meta-rauc. See docs/signing.md.

IMAGE_INSTALL:append = " rauc rauc-conf"

do_package_ota[depends] += "${AFERO_OTA_BUNDLE}:do_deploy"
# a signature is never shared
SSTATE_SKIP_CREATION:task-package-ota = "1"
