# SPDX-License-Identifier: MIT
"""The release folder: what was sent to devices and what proves it, kept for years; and who is affected by a vulnerability.

`RELEASES/<name>/<version>/` holds a payload, what lies beside it, the configuration it was built with, and `index.json`, which names
every file with its SHA-256. What comes later, the journals of the upload and of rollouts, is added as `journals/<what>-<time>/`,
each with an index of its own. Whatever is in there never changes.
"""
