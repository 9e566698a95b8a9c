# SPDX-License-Identifier: MIT
"""The `afero-ota` command line: arguments in, library calls, text or JSON out.

Exit statuses are those of `errors`. Results go to standard output (with --json as one JSON document), everything else to
standard error; progress is shown on a terminal only. The command line beats the environment beats the file.

A new group of commands is one module with a function `add(commands)` and its place in GROUPS.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from .. import __version__, errors, text
from . import fleet, login, planning, publishing, releasing, reporting, setup
from .options import Commands, add_common
from .output import Output, tolerate_any_terminal

GROUPS = (setup, login, publishing, planning, fleet, reporting, releasing)  # in the order of the help

_ENVIRONMENT = """\
environment:
  AFERO_OTA_CONF         the configuration file, when --conf is not given
  AFERO_OTA_SERVICE_URL  base URL of the service
  AFERO_OTA_USERNAME, AFERO_OTA_USERPW, AFERO_OTA_AUTH_STRING,
  AFERO_OTA_REFRESH_TOKEN, AFERO_OTA_ACCESS_TOKEN
                         the secrets; they beat the file
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status, never raises for an error of the library."""
    tolerate_any_terminal()
    options = _parser().parse_args(arguments)
    output = Output(as_json=options.json, quiet=options.quiet, verbose=options.verbose)
    try:
        status: int | None = options.run(options, output)
        sys.stdout.flush()
        return status or 0
    except errors.OtaError as error:
        return output.error(error)
    except KeyboardInterrupt:
        return output.error(errors.AbortedError("stopped; what was done is kept, run the same command again to go on"))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return errors.OtaError.exit_status
    except OSError as error:
        return output.error(errors.OtaError(text.message(error)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="afero-ota",
        description="Full-system over-the-air updates to Afero devices.",
        epilog=f"{_ENVIRONMENT}\n{_exit_statuses()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_common(parser)
    parser.add_argument("--version", action="version", version=f"afero-ota {__version__}")
    commands = Commands(parser)
    for group in GROUPS:
        group.add(commands)
    return parser


def _exit_statuses() -> str:
    lines = [f"  {status}  {meaning}" for status, meaning in errors.exit_statuses().items()]
    return "\n".join(["exit status:", *lines])
