# SPDX-License-Identifier: MIT
"""Commands that describe a payload, and the command line itself."""

from __future__ import annotations

import argparse
import functools

from .. import errors, manifest, report
from . import options as shared
from .output import Output


def add(commands: shared.Commands) -> None:
    command = commands.add("report", show_report, "show what is in a payload, as Markdown")
    command.add_argument(
        "payload", metavar="PAYLOAD", nargs="?", help="the payload, or its manifest (default: slot A of imageFiles)"
    )
    command.add_argument(
        "--since", metavar="PAYLOAD", help="an earlier payload, or its manifest: also show what changed since"
    )

    run = functools.partial(print_completion, commands.parser)
    command = commands.add("completion", run, "print the completion script of a shell")
    command.add_argument("shell", choices=["bash", "zsh", "tcsh"])


def show_report(options: argparse.Namespace, output: Output) -> None:
    document = manifest.read(options.payload or shared.settings(options, output).image_file)
    before = manifest.read(options.since) if options.since else None
    data = {**document, "changes": report.compare(before, document)} if before else document
    output.document(data, report.markdown(document, before).rstrip("\n"))


def print_completion(parser: argparse.ArgumentParser, options: argparse.Namespace, output: Output) -> None:
    try:
        import shtab
    except ImportError:
        raise errors.ConfigError(errors.missing_module("shtab", "python3-shtab", "shtab")) from None
    print(shtab.complete(parser, options.shell))
