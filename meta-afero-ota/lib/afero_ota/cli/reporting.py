# SPDX-License-Identifier: MIT
"""Commands that describe a payload, and the command line itself."""

from __future__ import annotations

import argparse
import dataclasses
import functools

from .. import errors, files, manifest, payload, report
from ..release import collecting
from ..report import changes, compression, facts, findings, image_markdown, image_page
from . import options as shared
from .output import Output


def add(commands: shared.Commands) -> None:
    command = commands.add("report", show_report, "show what is in a payload, as Markdown, and as a page")
    command.add_argument(
        "payload",
        metavar="PAYLOAD",
        nargs="?",
        help="the payload, its manifest or its .report.json (default: slot A of imageFiles)",
    )
    command.add_argument(
        "--since",
        metavar="PAYLOAD",
        action="append",
        default=[],
        help="an earlier one: also show what changed since (may be repeated, oldest first: sizes of all, changes since the last)",
    )
    command.add_argument("--page", metavar="FILE", help="also write the report as a page, HTML")
    command.add_argument(
        "--compressions", action="store_true", help="also try gzip, xz and zstd on it, which takes minutes"
    )

    run = functools.partial(print_completion, commands.parser)
    command = commands.add("completion", run, "print the completion script of a shell")
    command.add_argument("shell", choices=["bash", "zsh", "tcsh"])


def show_report(options: argparse.Namespace, output: Output) -> None:
    path = options.payload or shared.settings(options, output).image_file
    for one in (path, *options.since):
        collecting.verify_around(one)
    since = [facts.load(one) for one in options.since]
    found = facts.load(path)
    if since:
        found = dataclasses.replace(found, history=facts.remembered(since, str(found.manifest["sha256"])))
    changed = changes.compare(since[-1], found) if since else None
    compressed = _compressed(path, output) if options.compressions else ()
    if options.page:
        files.write_text(options.page, image_page.html(found, changed, compressed))
        output.say(f"page: {options.page}")
    shown = image_markdown.markdown(found, changed, compressed).rstrip("\n")
    output.document(report.document(found, changed, compressed), shown)


def _compressed(path: str, output: Output) -> findings.Compressed:
    for suffix in (manifest.SUFFIX, facts.SUFFIX):
        path = path[: -len(suffix)] if path.endswith(suffix) else path
    payload.check_file(path)
    output.say("compressing the image in several ways; this takes minutes")
    return compression.measure(path)


def print_completion(parser: argparse.ArgumentParser, options: argparse.Namespace, output: Output) -> None:
    try:
        import shtab
    except ImportError:
        raise errors.ConfigError(errors.missing_module("shtab", "python3-shtab", "shtab")) from None
    print(shtab.complete(parser, options.shell))
