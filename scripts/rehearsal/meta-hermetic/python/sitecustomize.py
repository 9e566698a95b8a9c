# SPDX-License-Identifier: MIT
"""For the BitBake worker that runs under pseudo (see FAKEROOTBASEENV in kas/hermetic.yml): start programs by fork and execve.

From Python 3.13 on, subprocess prefers posix_spawn, which Debian's pseudo does not wrap: what is started like that is not under pseudo.
"""

import subprocess

setattr(subprocess, "_USE_POSIX_SPAWN", False)  # noqa: B010 # typed as Final
