# SPDX-License-Identifier: MIT
"""What a person rehearses an update with: a local OTA service, a simulated hub, real BitBake builds, an emulated board."""
