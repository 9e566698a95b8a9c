# SPDX-License-Identifier: MIT
"""A local stand-in for the Afero OTA service: the documented endpoints, plus /sim/ for simulated devices."""
