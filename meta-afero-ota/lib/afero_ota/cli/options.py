# SPDX-License-Identifier: MIT
"""What commands share: options, configuration, the client."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Callable

from .. import config, errors, journal, service, transport
from ..context import Context
from .output import Output

CONF_FILES = ("partner-ota-conf.json", "partner-ota-conf.yml", "partner-ota-conf.yaml")
JOURNAL_FILE = "afero-ota.jsonl"

Command = Callable[[argparse.Namespace, Output], "int | None"]  # returns the exit status; None is 0


class Commands:
    """The commands of the parser; each group of commands adds its own."""

    def __init__(self, parser: argparse.ArgumentParser):
        self.parser = parser
        self._commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def add(self, name: str, run: Command, text: str) -> argparse.ArgumentParser:
        """A new command with the common options; what it takes besides is added to the parser that is returned."""
        command = self._commands.add_parser(name, help=text, description=text)
        # these may come before the command as well: their defaults after it must not undo that
        add_common(command, argparse.SUPPRESS)
        command.set_defaults(run=run)
        return command


def add_common(parser: argparse.ArgumentParser, default: Any = None) -> None:
    """The options of every command."""
    group = parser.add_argument_group("common options")
    group.add_argument(
        "-c",
        "--conf",
        metavar="FILE",
        default=default,
        help=f"configuration file (default: $AFERO_OTA_CONF, else {CONF_FILES[0]})",
    )
    for name, text in (
        ("--json", "print the result as JSON"),
        ("--quiet", "print no messages but errors"),
        ("--verbose", "report every repeated request"),
    ):
        group.add_argument(name, action="store_true", default=default or False, help=text)


def add_network(parser: argparse.ArgumentParser) -> None:
    """The options of a command that talks to the service."""
    group = parser.add_argument_group("network options")
    group.add_argument("--service-url", metavar="URL", help="base URL of the OTA service")
    group.add_argument(
        "--journal", metavar="FILE", default=JOURNAL_FILE, help=f"journal of what was sent (default: {JOURNAL_FILE})"
    )
    group.add_argument(
        "--stall-timeout",
        metavar="SECONDS",
        type=_positive,
        default=transport.Patience.stall,
        help="give up a request when nothing was transferred for so long (default: %(default)g)",
    )
    group.add_argument(
        "--attempts",
        metavar="N",
        type=int,
        default=transport.Patience.attempts,
        help="how often to try a request (default: %(default)s)",
    )


def add_build(parser: argparse.ArgumentParser) -> None:
    """The options that name a build."""
    parser.add_argument("-n", "--build-number", metavar="BUILD", help="build number: the version is VERSION.BUILD")
    parser.add_argument(
        "-d", "--debug-build", action="store_true", default=None, help="a debug build: the version ends in d"
    )


def _positive(text: str) -> float:
    value = float(text)
    if value <= 0:
        raise argparse.ArgumentTypeError("must be more than 0")
    return value


def conf_path(options: argparse.Namespace) -> str | None:
    """The configuration file, None when none is named and none lies in the current folder."""
    named = options.conf or os.environ.get("AFERO_OTA_CONF")
    return named or next((name for name in CONF_FILES if os.path.exists(name)), None)


def settings(options: argparse.Namespace, output: Output, needs: Sequence[str] = ()) -> config.Config:
    """The configuration, with what the command line and the environment say. Raises ConfigError."""
    given: Mapping[str, Any] = {
        "service_url": getattr(options, "service_url", None) or os.environ.get("AFERO_OTA_SERVICE_URL"),
        "build_number": getattr(options, "build_number", None),
        "debug_build": getattr(options, "debug_build", None),
    }
    remedy = "name one with --conf or AFERO_OTA_CONF, or make one: scripts/afero-ota init"
    no_file = errors.Fault("configuration file", f"none named, and no {CONF_FILES[0]} in this folder", remedy)
    loaded = config.load(conf_path(options), given, os.environ, needs, no_file=no_file)
    output.warn(loaded.warnings)
    return loaded


def connect(options: argparse.Namespace, output: Output, loaded: config.Config) -> service.OtaService:
    """A client with the patience that the options ask for."""
    patience = transport.Patience(
        connect=min(transport.Patience.connect, options.stall_timeout),
        stall=options.stall_timeout,
        attempts=max(1, options.attempts),
    )
    return service.connect(loaded, patience, output.detail)


@contextlib.contextmanager
def context(
    options: argparse.Namespace, output: Output, cloud: service.OtaService, log: Callable[[str], None] | None = None
) -> Iterator[Context]:
    """What the library's steps are handed: the client, the journal that the options name, messages and progress."""
    with journal.Journal(options.journal) as entries, output.progress() as progress:
        yield Context(cloud, entries, log or output.say, progress)
