# SPDX-License-Identifier: MIT
"""Ship a full-system over-the-air update to Afero devices; used by BitBake tasks and by the command line alike."""

__version__ = "1.0.0"

# Read by BitBake's addpylib: functions of these modules, called by their full name in a task, become part of its signature.
# BitBake 2.8 inspects every public callable of them, and stumbles over those of `typing`: these modules import it for
# annotations only.
BBIMPORTS = ["files", "manifest", "payload", "record", "report", "slot", "tasks"]
