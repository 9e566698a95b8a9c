# SPDX-License-Identifier: MIT
"""The configuration of an image out of BitBake's datastore, and its secrets out of the environment.

Nothing here is part of a signature, and nothing may be: these are paths, account data and secrets. The public values that
decide what is in an image are collected in AFERO_OTA_REQUEST when the recipe is parsed, and tasks depend on that variable.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from .. import config, credentials, errors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

SERVER_LOG = "bitbake-cookerdaemon.log"
# as repr() writes one item of a dictionary of texts
_LOGGED_SECRET = re.compile(
    rb"'(?:" + "|".join(credentials.SECRETS.values()).encode() + rb")': (?:'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\")"
)


def conf_path(d: Any) -> str:
    """The absolute path of the AFERO_OTA_CONF file, "" when it is not set."""
    path = d.getVar("AFERO_OTA_CONF").strip()
    return os.path.join(d.getVar("TOPDIR"), path) if path else ""


def record_source(d: Any) -> str:
    """Where the record comes from: "cloud", "offline", or the absolute path of a record file."""
    source: str = d.getVar("AFERO_OTA_RECORD").strip() or ("cloud" if conf_path(d) else "offline")
    return source if source in ("cloud", "offline") else os.path.join(d.getVar("TOPDIR"), source)


def earlier_reports(d: Any) -> list[str]:
    """The absolute paths that AFERO_OTA_REPORT_SINCE names; a file may not be there yet."""
    return [os.path.join(d.getVar("TOPDIR"), path) for path in d.getVar("AFERO_OTA_REPORT_SINCE").split()]


def load(d: Any, needs: Sequence[str] = ()) -> config.Config:
    """The settings of the variables, the file and the environment. Raises ConfigError when one of `needs` is missing."""
    variables = {field: d.getVar(f"AFERO_OTA_{suffix}") or "" for field, (_, suffix, _) in config.FIELDS.items()}
    values = {field: value.strip() for field, value in variables.items()}
    return config.load(conf_path(d) or None, values, environment(d), needs, config.spell_variable)


def environment(d: Any) -> Mapping[str, str]:
    """The secrets in the environment that bitbake was started in, which never become variables."""
    origin = d.getVar("BB_ORIGENV", False)
    values = {name: origin.getVar(name, False) if origin else None for name in credentials.SECRETS.values()}
    return {name: value for name, value in values.items() if value}


def no_file() -> errors.Fault:
    """The fault of an image that needs an account and has none."""
    return errors.Fault(
        "AFERO_OTA_CONF",
        "not set, but a record of the cloud needs an account",
        'write: AFERO_OTA_CONF = "/path/to/partner-ota-conf.json"',
    )


def hide_secrets(d: Any) -> None:
    """Overwrite the secrets' values in BitBake's server log, where it writes the whole environment of its caller."""
    try:
        # in place and of equal length, since the server has the file open
        with open(os.path.join(d.getVar("TOPDIR"), SERVER_LOG), "r+b") as stream:
            for found in _LOGGED_SECRET.finditer(stream.read()):
                start, end = found.span(found.lastindex or 0)
                stream.seek(start)
                stream.write(b"*" * (end - start))
    except FileNotFoundError:
        pass  # a server that was started in another way
