# SPDX-License-Identifier: MIT
"""Ship a full-system over-the-air update to Afero devices; used by BitBake tasks and by the command line alike."""

__version__ = "1.0.0"

# Read by BitBake's addpylib: functions of these modules, called by their full name in a task, become part of its signature.
# BitBake 2.8 inspects everything public in them that can be called, and fails on what `typing` has: import it for annotations
# only (TYPE_CHECKING).
BBIMPORTS = ["tasks"]
