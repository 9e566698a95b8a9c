# SPDX-License-Identifier: MIT
require ${@'dynamic-layers/rauc/recipes-core/rauc/rauc-afero-ota.inc' if d.getVar('AFERO_OTA_ENGINE') == 'rauc' else ''}
