# SPDX-License-Identifier: MIT
"""`scripts/benchmark`: this project and its peers side by side, in one run on one machine."""
