# SPDX-License-Identifier: MIT
"""Commands for the first hour: write a configuration file, check account and machine."""

from __future__ import annotations

import argparse
import getpass
import json
import os
import shutil
import sys
from typing import Any, Callable

from .. import checks, config, errors, service
from ..files import write_text
from . import options as shared
from .output import Output


def add(commands: shared.Commands) -> None:
    commands.add("init", init, "write a configuration file by asking")
    command = commands.add("check", check, "check configuration, account, partner, device type, clock and disk")
    shared.add_network(command)


def init(options: argparse.Namespace, output: Output) -> None:
    path = options.conf or os.environ.get("AFERO_OTA_CONF") or shared.CONF_FILES[0]
    if os.path.exists(path):
        raise errors.ConfigError(f"{path} exists already; edit it, or name another file with --conf")
    questions = {
        "name": "name of the product (at most 35 characters)",
        "description": "description (at most 500 characters, may stay empty)",
        "version": "version without the build number, such as 1.0",
        "partnerId": "partner id",
        "deviceTypeId": "device type id",
        "username": "e-mail address that logs in to Afero",
    }
    answers: dict[str, Any] = {key: _ask(question) for key, question in questions.items()}
    answers["userpw"] = (
        getpass.getpass("password (empty: take it from AFERO_OTA_USERPW): ") if sys.stdin.isatty() else _ask("password")
    )
    answers["auth-string"] = _ask("auth-string (base64 of `client id:client secret`)")
    answers["imageFiles"] = {"A": checks.IMAGE_FILE}
    answers = {key: value for key, value in answers.items() if value}
    write_text(path, json.dumps(answers, indent=4, ensure_ascii=False) + "\n", mode=0o600)
    try:
        config.load(path, {}, {})
    except errors.ConfigError as error:
        output.problem(f"{path} is written, but: {error}")
    output.result({"conf": path}, f"{path} is written, readable by you only. Next: scripts/afero-ota check")


def _ask(question: str) -> str:
    print(f"{question}: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip()


def check(options: argparse.Namespace, output: Output) -> int:
    """Check as much as possible, also after a fault; the exit status is that of the first."""
    loaded = shared.settings(options, output, config.PUBLISH_NEEDS)
    cloud = shared.connect(options, output, loaded)
    rows: list[tuple[str, str, str]] = [("configuration", "ok", shared.conf_path(options) or "environment only")]
    first: errors.OtaError | None = None

    def step(name: str, look: Callable[[], str]) -> None:
        nonlocal first
        try:
            rows.append((name, "ok", look()))
        except errors.OtaError as error:
            first = first or error
            rows.append((name, "wrong", str(error)))

    step("log in", lambda: _log_in(cloud))
    if first is None:
        step("account", lambda: _account(cloud))
        step("partner", lambda: f"{cloud.partner_id}: {sum(1 for _ in cloud.records())} records")
        step("device type", lambda: f"{cloud.device_type_id}: {sum(1 for _ in cloud.images())} images")
    if cloud.clock_skew is not None:
        step("clock", lambda: _clock(cloud.clock_skew or 0.0))
    free = shutil.disk_usage(".").free
    rows.append(("disk", "ok" if free > 1 << 30 else "low", f"{free / (1 << 30):.1f} GiB free in {os.getcwd()}"))
    output.rows(("check", "result", "detail"), rows)
    return first.exit_status if first else 0


def _log_in(cloud: service.OtaService) -> str:
    cloud.login()
    return cloud.base_url


def _account(cloud: service.OtaService) -> str:
    me = cloud.me()
    accounts = service.account_ids(me)
    partners = [
        str((access.get("partner") or {}).get("partnerId"))
        for access in me.get("partnerAccess") or []
        if isinstance(access, dict)
    ]
    if cloud.partner_id not in partners:
        raise errors.AuthError(
            f"the account has access to the partners {', '.join(partners) or '(none)'}, but partnerId is {cloud.partner_id}"
        )
    return ", ".join(accounts) or "no account of devices: pushing is not possible"


def _clock(skew: float) -> str:
    if abs(skew) > 120:
        raise errors.OtaError(
            f"this machine's clock is {skew:+.0f} s off the service's; set it, or certificates and tokens fail"
        )
    return f"{skew:+.0f} s from the service's"
