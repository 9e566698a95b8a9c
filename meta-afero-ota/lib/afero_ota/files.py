# SPDX-License-Identifier: MIT
"""How this project writes a file: atomically."""

from __future__ import annotations

import os
import tempfile


def write_text(path: str, text: str, mode: int = 0o644) -> None:
    """Replace or create `path` with `text` in UTF-8, creating its folder if needed. Readers see the old file or the new one.

    The text goes to a new file in the same folder, is flushed to the disk, and is renamed over `path`. Raises OSError.
    """
    folder = os.path.dirname(os.path.abspath(path))
    os.makedirs(folder, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{os.path.basename(path)}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
