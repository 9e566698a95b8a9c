# SPDX-License-Identifier: MIT
"""A device in QEMU that runs what BitBake built: its disk, its console, and what they are made from."""
