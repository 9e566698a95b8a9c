# SPDX-License-Identifier: MIT
"""The command that makes the plan of a rollout."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Iterable, Mapping
from typing import Any

from .. import config, errors, plan, rollout
from ..files import write_text
from ..plan import Plan, Rules
from ..release import collecting
from ..rollout import images, planning
from ..rollout.selection import Filters, Selection
from . import options as shared
from .output import Output, table

_SHOWN = 5  # ids to show of the devices that were left out for one reason

# option -> (key of the rule in the plan, help)
_RULES = {
    "--in-flight": ("inFlight", "devices that update at the same time"),
    "--start-limit": ("startLimit", "how long a device may take to begin, such as 10m"),
    "--finish-limit": ("finishLimit", "how long a device may take to report its end, such as 1h"),
    "--offline-limit": ("offlineLimit", "how long to wait for a device that is offline, such as 1d"),
    "--abort-share": ("abortShare", "abort when more than this share failed or fell silent, such as 10%%"),
    "--abort-minimum": ("abortMinimum", "but not before so many devices reported"),
    "--abort-on": ("abortOn", "abort at once on this reason, such as 'refused: other hardware'; may be repeated"),
    "--min-success": ("minSuccess", "share of a wave that must run the image before the next wave, such as 90%%"),
    "--soak": ("soak", "how long a wave is watched before the next one, such as 30m"),
}


def add(commands: shared.Commands) -> None:
    command = commands.add("plan", make_plan, "choose devices and write the plan of a rollout")
    shared.add_network(command)
    which = command.add_mutually_exclusive_group()
    which.add_argument(
        "-i",
        "--image-id",
        metavar="IMAGE_ID",
        help="id of the image (default: that of the payload at hand, else the newest)",
    )
    which.add_argument("--payload", metavar="FILE", help="the image of this payload, by its manifest")
    which.add_argument("--latest", action="store_true", help="the newest image of the device type")
    command.add_argument(
        "-o", "--output", metavar="FILE", default="plan.yml", help="file to write (default: %(default)s)"
    )
    command.add_argument("--dry-run", action="store_true", help="print the summary and write nothing")
    _add_selection(command)
    group = command.add_argument_group("rules (docs/rollout.md has the defaults)")
    group.add_argument(
        "--rules", metavar="FILE", help="YAML file of rules, also of single waves; the options below beat it"
    )
    for option, (key, said) in _RULES.items():
        action = "append" if key == "abortOn" else "store"
        group.add_argument(option, dest=key, action=action, metavar=_metavar(key), help=said)


def _metavar(key: str) -> str:
    return {
        "inFlight": "N",
        "abortMinimum": "N",
        "abortShare": "SHARE",
        "minSuccess": "SHARE",
        "abortOn": "REASON",
    }.get(key, "TIME")


def _add_selection(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("devices")
    add = group.add_argument
    add("-d", "--device", metavar="DEVICE", action="append", nargs="+", help="these device ids, or @FILE")
    add("--all", action="store_true", help="all devices of the device type (default without -d)")
    add("--name", metavar="PATTERN", default="", help="only devices whose friendly name fits, such as 'Aachen*'")
    add(
        "--tag",
        metavar="TAG",
        action="append",
        default=[],
        help="only devices with this tag; may be repeated: any of them",
    )
    add("--online", action="store_true", help="only devices that are online now")
    add(
        "--running",
        metavar="NUMBER",
        action="append",
        default=[],
        type=int,
        help="only devices that run this versionNumber; may be repeated",
    )
    add("--percent", metavar="P", type=float, help="so many percent of them")
    add("--count", metavar="N", type=int, help="at most so many of them")
    add("--seed", metavar="N", type=int, default=0, help="changes the order of the devices (default: %(default)s)")
    group = command.add_argument_group("waves")
    group.add_argument(
        "--canary",
        metavar="DEVICE",
        action="append",
        nargs="+",
        default=[],
        help="the first wave: device ids, @FILE, or a number of devices",
    )
    group.add_argument(
        "--wave",
        metavar="SIZE",
        action="append",
        default=[],
        help="a wave of so many devices, or of such a share as 25%%; may be repeated; what is left is the last wave",
    )


def make_plan(options: argparse.Namespace, output: Output) -> None:
    loaded = shared.settings(options, output, config.PUBLISH_NEEDS)
    request = _request(options)
    cloud = shared.connect(options, output, loaded)
    if options.image_id:
        image, said = images.find(cloud, options.image_id), ""
    elif options.latest:
        image, said = images.newest(cloud), ""
    elif options.payload:
        collecting.verify_around(options.payload)
        found = images.of_payload(cloud, options.payload)
        if found is None:
            raise errors.RefusedError(
                f"{options.payload} has no manifest, or its image is not in the cloud; upload it first"
            )
        image, said = found, ""
    else:
        image, said = images.meant(cloud, loaded.image_file)
    output.say(said or f"image {images.name(image)}")
    made, selection = planning.make(cloud, planning.planned(image, options.payload or loaded.image_file), request)
    if not options.dry_run:
        _write(options.output, made)
    data = {
        "plan": None if options.dry_run else options.output,
        "digest": made.digest,
        "devices": made.size,
        "waves": {wave.name: len(wave.devices) for wave in made.waves},
        "leftOut": {reason: list(ids) for reason, ids in selection.who.items()},
    }
    output.document(data, _summary(made, selection, "" if options.dry_run else options.output))


def _write(path: str, made: Plan) -> None:
    if os.path.exists(path):
        try:
            with open(path, encoding="utf-8") as stream:
                plan.load(stream.read(), path)
        except (OSError, UnicodeDecodeError, errors.ConfigError):
            raise errors.ConfigError(f"{path} is there already and is no plan; name another file with -o") from None
    write_text(path, plan.dump(made))


def _request(options: argparse.Namespace) -> planning.Request:
    if options.device and options.all:
        raise errors.ConfigError("--all and -d exclude each other: all devices of the device type, or those named")
    ids = _ids(options.device or ())
    if options.device and not ids:
        raise errors.ConfigError("no device named: give ids after -d, or @FILE")
    filters = Filters(
        tuple(ids),
        options.name,
        tuple(options.tag),
        True if options.online else None,
        tuple(options.running),
        options.percent,
        options.count,
        options.seed,
    )
    base, own = _rules(options)
    canaries = _ids(options.canary)
    return planning.Request(filters, canaries, options.wave, base, own, _said(options, len(ids), canaries))


def _ids(groups: Iterable[Iterable[str]]) -> list[str]:
    """The ids of an option that may be repeated, with what is named twice."""
    return [one for group in groups for word in group for one in rollout.read_devices([word])]


def _said(options: argparse.Namespace, named: int, canaries: list[str]) -> Mapping[str, Any]:
    """The selection for those who review the plan."""
    said: dict[str, Any] = {"devices": f"{named} named" if named else "all of the device type"}
    for key in ("name", "tag", "online", "running", "percent", "count"):
        value = getattr(options, key)
        if value not in (None, "", [], False):
            said[key] = value
    return {
        **said,
        "seed": options.seed,
        **({"canary": canaries} if canaries else {}),
        **({"waves": options.wave} if options.wave else {}),
    }


def _rules(options: argparse.Namespace) -> tuple[Rules, Mapping[str, Rules]]:
    data: Any = {}
    if options.rules:
        import yaml

        try:
            with open(options.rules, encoding="utf-8") as stream:
                data = yaml.safe_load(stream) or {}
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            reason = getattr(error, "strerror", None) or " ".join(str(error).split())
            raise errors.ConfigError(
                [errors.Fault(options.rules, f"the rules cannot be read: {reason}", "name a YAML file of rules")]
            ) from None
    if isinstance(data, dict):
        given = {key: _plain(getattr(options, key)) for key, _ in _RULES.values() if getattr(options, key) is not None}
        data = {**data, **given}
    return plan.rules(data, options.rules or "command line")


def _plain(value: Any) -> Any:
    """A rule of the command line as a YAML file would have it: a number where it is one."""
    for kind in (int, float):
        if isinstance(value, str):
            with contextlib.suppress(ValueError):
                value = kind(value)
    return value


def _summary(made: Plan, selection: Selection, path: str) -> str:
    """What people want to know before they hand a plan on."""
    rows = []
    for number, wave in enumerate(made.waves, 1):
        running = sorted({one.running for one in wave.devices if one.running is not None})
        shown = ", ".join(map(str, running[:_SHOWN])) + (" …" if len(running) > _SHOWN else "")
        rows.append(
            (number, wave.name, len(wave.devices), wave.rules.in_flight, plan.duration_text(wave.rules.soak), shown)
        )
    lines = [table(("wave", "name", "devices", "in flight", "soak", "running now"), rows), ""]
    for reason, ids in selection.who.items():
        lines.append(f"left out: {len(ids)} ({reason}): {', '.join(ids[:_SHOWN])}{' …' if len(ids) > _SHOWN else ''}")
    lines.append(f"{made.size} devices to versionNumber {made.image.version_number}, digest {made.digest}")
    lines.append(f"{path} is written. Next: scripts/afero-ota deploy --plan {path}" if path else "nothing was written")
    return "\n".join(lines)
