# SPDX-License-Identifier: MIT
"""Commands that get images to devices: deploy, to named devices or by a plan, and what steers and shows a rollout."""

from __future__ import annotations

import argparse
import os
from typing import Any

from .. import config, errors, journal, rollout
from ..rollout import control, images, ledger, planning, story
from . import options as shared
from . import rollouts
from .live import COLUMNS, row
from .output import Output, table


def add(commands: shared.Commands) -> None:
    command = commands.add("deploy", deploy, "push an image to devices, or carry out a plan")
    shared.add_network(command)
    # a plan has a journal of its own
    command.set_defaults(journal=None)
    command.add_argument(
        "-i",
        "--image-id",
        metavar="IMAGE_ID",
        help="id of the image, from upload or list (default: that of the payload at hand, else the newest)",
    )
    which = command.add_mutually_exclusive_group(required=True)
    which.add_argument("-d", "--device", metavar="DEVICE", action="append", nargs="+", help="device ids, or @FILE")
    which.add_argument("--plan", metavar="FILE", help="carry out this plan, or continue it")
    command.add_argument(
        "--again",
        action="store_true",
        help="with -d: also push to devices that the journal says were pushed this image before",
    )
    rollouts.add_options(command)
    command.epilog = (
        "Several devices: the exit status is 8 when a push got no answer, and nothing is pushed after that one; else that of the "
        "first failure that a repeat will not mend, else 6 when the network failed, else 7 when a device is busy with another update."
    )

    command = commands.add("status", status, "show what the journal says was done, or how far a rollout is")
    command.add_argument("plan", metavar="PLAN", nargs="?", help="the plan of a rollout")
    command.add_argument(
        "--journal", metavar="FILE", help=f"journal to read (default: {shared.JOURNAL_FILE}, or that of the plan)"
    )
    for name, run, text in (
        ("pause", pause, "stop a rollout from pushing until it is resumed"),
        ("resume", resume, "continue a paused rollout"),
        ("abort", abort, "end a rollout for good"),
    ):
        command = commands.add(name, run, text)
        command.add_argument("plan", metavar="PLAN", help="the plan of the rollout")
        command.add_argument("--journal", metavar="FILE", help="journal of the rollout (default: beside the plan)")
        if name == "abort":
            command.add_argument("--reason", metavar="TEXT", default="on request", help="why")


def deploy(options: argparse.Namespace, output: Output) -> int:
    if options.plan:
        return rollouts.carry_out(options, output)
    rollouts.refuse_options(options)
    options.journal = options.journal or shared.JOURNAL_FILE
    loaded = shared.settings(options, output, config.PUBLISH_NEEDS)
    devices = rollout.read_devices(word for words in options.device for word in words)
    if not devices:
        raise errors.ConfigError("no device named: give ids after -d, or @FILE")
    cloud = shared.connect(options, output, loaded)
    if options.image_id:
        image = rollout.find_image(cloud, options.image_id)
    else:
        found, said = images.meant(cloud, loaded.image_file)
        output.say(said)
        image = rollout.Image(str(found.get("id")), str(found.get("versionNumber", "")))
    with shared.context(options, output, cloud, output.detail) as context:
        outcomes = rollout.push(context, image, devices, options.again)
    rows = [(outcome.device_id, outcome.result, outcome.detail) for outcome in outcomes]
    output.rows(("device", "result", "detail"), rows)
    return rollout.exit_status(outcomes)


def status(options: argparse.Namespace, output: Output) -> None:
    if options.plan:
        return _rollout_status(options, output)
    path = options.journal or shared.JOURNAL_FILE
    if not os.path.exists(path):
        raise errors.ConfigError(f"{path}: no such journal; name one with --journal")
    entries = journal.read(path)
    shown = ("time", "step", "outcome")
    rows = [
        (
            *(entry.get(key, "") for key in shown),
            " ".join(f"{key}={value}" for key, value in entry.items() if key not in (*shown, "tool")),
        )
        for entry in entries
    ]
    output.rows((*shown, "facts"), rows, entries)


def _rollout_status(options: argparse.Namespace, output: Output) -> None:
    plan = planning.read(options.plan)
    path = options.journal or ledger.path_of(options.plan)
    entries = list(ledger.read(path))
    runs = [entry for entry in entries if entry["event"] == "run"]
    if runs and runs[-1].get("plan") != plan.digest:
        raise errors.ConfigError(
            f"{path} belongs to another plan ({runs[-1].get('plan')}); name this plan's with --journal"
        )
    running, wish = ledger.in_use(path), control.read(control.path_of(path))
    found = story.build(plan, entries)
    client = ledger.owner(runs[-1]) if running and runs else ""
    data = {**story.document(found), "client": client, "paused": wish.paused, "abortAsked": wish.aborted}
    output.document(data, _shown(found, client, wish))


def _shown(found: story.Story, client: str, wish: control.Wish) -> str:
    rows = [row(wave.name, wave.counts) for wave in found.waves]
    began = "no client ran yet" if found.began is None else f"began {ledger.stamp(found.began)}"
    verdict = found.verdict.value + (f": {found.reason}" if found.reason else "")
    lines = [
        f"{found.image.name} {found.image.version}, versionNumber {found.image.version_number}: {verdict}",
        f"{began}; newest entry {ledger.stamp(found.updated)}" if found.began is not None else began,
        f"client: {client}" if client else "client: none is at work",
    ]
    if wish.paused:
        lines.append(f"paused by {wish.by}")
    if wish.aborted and not found.reason:
        lines.append(f"abort asked for by {wish.by}: {wish.aborted}")
    lines += ["", table(COLUMNS, rows), *rollouts.failures(found)]
    return "\n".join(lines)


def pause(options: argparse.Namespace, output: Output) -> None:
    _wish(options, output, "paused", paused=True)


def resume(options: argparse.Namespace, output: Output) -> None:
    _wish(options, output, "resumed")


def abort(options: argparse.Namespace, output: Output) -> None:
    _wish(options, output, "aborted", aborted=options.reason.strip() or "on request")


def _wish(options: argparse.Namespace, output: Output, word: str, **wish: Any) -> None:
    planning.read(options.plan)
    path = options.journal or ledger.path_of(options.plan)
    control.write(control.path_of(path), **wish)
    running = ledger.in_use(path)
    when = "the client that is at work obeys within seconds" if running else "no client is at work; the next one obeys"
    output.result({"plan": options.plan, "wish": word, "client": running}, f"{options.plan}: {word}; {when}")
