# SPDX-License-Identifier: MIT
SUMMARY = "An image of data only"

require hermetic-image.inc
