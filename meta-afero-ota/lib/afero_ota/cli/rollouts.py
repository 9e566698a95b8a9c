# SPDX-License-Identifier: MIT
"""`deploy --plan`: carries out a plan, shows it, writes its page, and ends with an honest exit status."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType

from .. import config, errors, text
from ..plan import Plan
from ..rollout import campaign, control, ledger, planning, story
from ..rollout.acting import Clock, Pace
from ..rollout.campaign import Ending
from ..rollout.decision import State, decide
from ..rollout.looking import Lookout
from ..service import OtaService
from . import live
from . import options as shared
from .output import Output, table

_MANY = 20  # failed devices to show


def add_options(command: argparse.ArgumentParser) -> None:
    """The options of `deploy --plan`."""
    group = command.add_argument_group("options with --plan")
    group.add_argument("--dry-run", action="store_true", help="show what would be done now; push and write nothing")
    group.add_argument("--retry-failed", action="store_true", help="push to failed and silent devices once more")
    group.add_argument("--page", metavar="FILE", help="HTML page of the rollout (default: beside the plan)")
    group.add_argument(
        "--poll", metavar="SECONDS", type=_positive, help=f"look at the devices so often (default: {Pace.poll:g})"
    )
    group.add_argument("--rate", metavar="N", type=_positive, help=f"pushes a second at most (default: {Pace.rate:g})")


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError("must be more than 0")
    return value


def refuse_options(options: argparse.Namespace) -> None:
    """Raises ConfigError when an option of plans was given without one."""
    given = [name for name in ("dry_run", "retry_failed", "page", "poll", "rate") if getattr(options, name)]
    if given:
        raise errors.ConfigError(f"--{given[0].replace('_', '-')} goes with --plan only")


def carry_out(options: argparse.Namespace, output: Output) -> int:
    """Carry out the plan that the options name; returns the exit status."""
    if options.image_id or options.again:
        raise errors.ConfigError(
            "a plan names its image and devices: leave out -i and --again (--retry-failed pushes again)"
        )
    if not output.as_json:
        return _carry_out(options, output)
    try:
        return _carry_out(options, output)
    except errors.OtaError as error:
        # one line, as everything else
        print(text.to_json({"event": "error", "message": str(error), "status": error.exit_status}), flush=True)
        return error.exit_status


def _carry_out(options: argparse.Namespace, output: Output) -> int:
    loaded = shared.settings(options, output, config.PUBLISH_NEEDS)
    chosen = planning.read(options.plan, loaded.partner_id)
    path = options.journal or ledger.path_of(options.plan)
    cloud = shared.connect(options, output, loaded)
    if options.dry_run:
        return _dry_run(chosen, cloud, path, output)
    page = options.page or f"{os.path.splitext(options.plan)[0]}.html"
    pace = Pace(options.poll or Pace.poll, options.rate or Pace.rate)
    with _stoppable(), live.shown(chosen, output) as watchers:
        ending = campaign.carry_out(cloud, chosen, path, watchers, pace, options.retry_failed, page, output.say)
    _tell(ending, output, page)
    return ending.status


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """SIGTERM, with which a CI system cancels a job, ends the rollout as Ctrl-C does."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        raise errors.AbortedError(
            "stopped; what was done is in the journal. Devices that were pushed go on updating; run the same command again to go on"
        ) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _dry_run(chosen: Plan, cloud: OtaService, path: str, output: Output) -> int:
    """Look once, decide once, and tell."""
    campaign.check(cloud, chosen)
    known = ledger.fold(chosen, ledger.read(path))
    shown, now = Lookout(cloud, chosen.account_id).look(known.devices), Clock(known.time).now()
    for device_id, device in known.devices.items():
        device.see(shown.get(device_id), chosen.image.version_number, now)
    wish = control.read(control.path_of(path))
    decision = decide(chosen, known.devices, known.control, now)
    pushes = () if wish.paused or wish.aborted else decision.push
    rows = [live.row(wave.name, counts) for wave, counts in zip(chosen.waves, decision.waves)]
    data = {"verdict": decision.verdict.value, "totals": story.by_word(decision.totals), "push": list(pushes)}
    first = f"{', '.join(pushes[:_MANY])}{' …' if len(pushes) > _MANY else ''}"
    lines = [
        table(live.COLUMNS, rows),
        "",
        f"would be pushed first: {first or 'nothing'}",
        "nothing was pushed or written",
    ]
    output.document(data, "\n".join(lines))
    return 0


def _tell(ending: Ending, output: Output, page: str) -> None:
    found = ending.story
    if output.as_json:
        data = {"event": "result", "status": ending.status, "verdict": found.verdict.value, "reason": found.reason}
        more = {"totals": story.by_word(found.totals), "reasons": dict(found.reasons), "page": page}
        print(text.to_json({**data, **more}), flush=True)
        return
    rows = [live.row(wave.name, wave.counts) for wave in found.waves]
    verdict = found.verdict.value + (f": {found.reason}" if found.reason else "")
    output.document(None, "\n".join([table(live.COLUMNS, rows), *failures(found), "", verdict, f"page: {page}"]))


def failures(found: story.Story) -> list[str]:
    """Lines about what went wrong: by reason, and the first devices."""
    lines = [""] if found.reasons else []
    lines += [f"{number} × {reason}" for reason, number in sorted(found.reasons.items(), key=lambda pair: -pair[1])]
    bad = [one for one in found.devices if one.state in (State.FAILED, State.SILENT, State.UNREACHABLE)]
    if bad:
        rows = [
            (one.device_id, one.name, found.waves[one.wave - 1].name, one.state.value, one.reason)
            for one in bad[:_MANY]
        ]
        lines += ["", table(("device", "name", "wave", "state", "reason"), rows)]
        if len(bad) > _MANY:
            lines.append(f"… and {len(bad) - _MANY} more: --json has all of them")
    return lines
