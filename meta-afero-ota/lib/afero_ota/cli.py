# SPDX-License-Identifier: MIT
"""The `afero-ota` command line: arguments in, library calls, text or JSON out.

Exit statuses are those of `errors`. Results go to standard output (with --json as one JSON document), everything else to
standard error; progress is shown on a terminal only. The command line beats the environment beats the file.
"""

from __future__ import annotations

import argparse
import contextlib
import getpass
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Callable

from . import (
    __version__,
    checks,
    config,
    errors,
    files,
    journal,
    manifest,
    payload,
    publish,
    record,
    report,
    rollout,
    service,
    transport,
)

CONF_FILES = ("partner-ota-conf.json", "partner-ota-conf.yml", "partner-ota-conf.yaml")
JOURNAL_FILE = "afero-ota.jsonl"

_EXAMPLES = """\
environment:
  AFERO_OTA_CONF         the configuration file, when --conf is not given
  AFERO_OTA_SERVICE_URL  base URL of the service
  AFERO_OTA_USERNAME, AFERO_OTA_USERPW, AFERO_OTA_AUTH_STRING
                         the secrets; they beat the file

exit status:
  0 done, or nothing to do           5 the cloud holds something else under this version
  1 any other error                  6 the service could not be reached; safe to run again
  2 command line or configuration    7 stopped; safe to run again
  3 account or privilege             8 a push got no answer: look before running again
  4 refused
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status, never raises for an error of the library."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        run: Callable[[argparse.Namespace], Any] = options.run
        status = run(options)
        sys.stdout.flush()
        return status or 0
    except errors.OtaError as error:
        return _fail(options, error)
    except KeyboardInterrupt:
        return _fail(
            options, errors.AbortedError("stopped; what was done is kept, run the same command again to go on")
        )
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return errors.OtaError.exit_status
    except OSError as error:
        return _fail(options, errors.OtaError(f"{error.filename or 'input or output'}: {error.strerror}"))


def _fail(options: argparse.Namespace, error: errors.OtaError) -> int:
    if options.json:
        _print_json({"error": type(error).__name__, "message": str(error), "status": error.exit_status})
    else:
        print(f"afero-ota: {error}", file=sys.stderr)
    return error.exit_status


# ---- arguments -------------------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    # these may stand before the command as well: behind it they must not undo what was said there
    _add_common(common, argparse.SUPPRESS)
    network = argparse.ArgumentParser(add_help=False)
    group = network.add_argument_group("network options")
    group.add_argument("--service-url", metavar="URL", help="base URL of the OTA service")
    group.add_argument(
        "--journal", metavar="FILE", default=JOURNAL_FILE, help=f"journal of what was sent (default: {JOURNAL_FILE})"
    )
    group.add_argument(
        "--stall-timeout",
        metavar="SECONDS",
        type=_positive,
        default=transport.Patience.stall,
        help="give up a request when nothing moves for so long (default: %(default)g)",
    )
    group.add_argument(
        "--attempts",
        metavar="N",
        type=int,
        default=transport.Patience.attempts,
        help="how often to try a request (default: %(default)s)",
    )
    build = argparse.ArgumentParser(add_help=False)
    build.add_argument("-n", "--build-number", metavar="BUILD", help="build number: the version is VERSION.BUILD")
    build.add_argument(
        "-d", "--debug-build", action="store_true", default=None, help="a debug build: the version ends in d"
    )

    parser = argparse.ArgumentParser(
        prog="afero-ota",
        description="Full-system over-the-air updates to Afero devices.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_common(parser)
    parser.add_argument("--version", action="version", version=f"afero-ota {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(
        name: str, run: Callable[[argparse.Namespace], Any], text: str, *parents: argparse.ArgumentParser
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text, parents=[common, *parents])
        sub.set_defaults(run=run)
        return sub

    command("init", _init, "write a configuration file by asking")
    command("check", _check, "check configuration, account, partner, device type, clock and disk", network)

    sub = command("record", _record, "create or find the record of a build and write its file", network, build)
    sub.add_argument(
        "-o", "--output", metavar="FILE", default=record.FILE_NAME, help="record file to write (default: %(default)s)"
    )

    sub = command("package", _package, "make the payload and its manifest from an image archive")
    sub.add_argument("archive", metavar="ARCHIVE", help="the image: tar.gz, ext4.gz, wic.gz, …")
    sub.add_argument(
        "-o", "--output", metavar="FILE", help="payload to write (default: slot A of imageFiles, else hub_update.bin)"
    )
    sub.add_argument(
        "--record",
        metavar="FILE",
        help=f"the record in the image, for the manifest (default: {record.FILE_NAME} when it is there)",
    )

    sub = command("upload", _upload, "upload a payload and offer it to its device type", network, build)
    sub.add_argument("payload", metavar="PAYLOAD", nargs="?", help="file to upload (default: slot A of imageFiles)")
    sub.add_argument(
        "--record", metavar="FILE", help=f"the record in the image (default: the manifest's, else {record.FILE_NAME})"
    )

    sub = command("list", _list, "list the images of the device type, newest last", network)
    sub.add_argument("--pool", action="store_true", help="list the partner's records instead, associated or not")
    sub.add_argument("--name", help="only records of this name")
    sub.add_argument(
        "--tag", action="append", default=[], help="only records with this tag (may be repeated: all of them)"
    )

    sub = command("deploy", _deploy, "push an image to devices", network)
    sub.add_argument("-i", "--image-id", metavar="IMAGE_ID", required=True, help="id of the image, from upload or list")
    sub.add_argument(
        "-d", "--device", metavar="DEVICE", action="append", nargs="+", required=True, help="device ids, or @FILE"
    )
    sub.add_argument(
        "--again", action="store_true", help="push also to devices that the journal says were sent this image"
    )

    sub = command("status", _status, "tell from the journal what was done")
    sub.add_argument("--journal", metavar="FILE", default=JOURNAL_FILE, help="journal to read (default: %(default)s)")

    sub = command("report", _report, "tell what is in a payload, as Markdown")
    sub.add_argument(
        "payload", metavar="PAYLOAD", nargs="?", help="the payload, or its manifest (default: slot A of imageFiles)"
    )
    sub.add_argument("--since", metavar="PAYLOAD", help="an earlier payload, or its manifest: tell what changed since")

    sub = command("completion", _completion, "print the completion script of a shell")
    sub.add_argument("shell", choices=["bash", "zsh", "tcsh"])
    sub.set_defaults(parser=parser)
    return parser


def _add_common(parser: argparse.ArgumentParser, default: Any = None) -> None:
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
        ("--quiet", "no messages but errors"),
        ("--verbose", "tell about every repeated request"),
    ):
        group.add_argument(name, action="store_true", default=default or False, help=text)


def _positive(text: str) -> float:
    value = float(text)
    if value <= 0:
        raise argparse.ArgumentTypeError("must be more than 0")
    return value


# ---- commands --------------------------------------------------------------------------------------------------------


def _init(options: argparse.Namespace) -> None:
    path = options.conf or os.environ.get("AFERO_OTA_CONF") or CONF_FILES[0]
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
    answers: dict[str, Any] = {key: _ask(text) for key, text in questions.items()}
    answers["userpw"] = (
        getpass.getpass("password (empty: take it from AFERO_OTA_USERPW): ") if sys.stdin.isatty() else _ask("password")
    )
    answers["auth-string"] = _ask("auth-string (base64 of `client id:client secret`)")
    answers["imageFiles"] = {"A": checks.IMAGE_FILE}
    answers = {key: value for key, value in answers.items() if value}
    files.write_text(path, json.dumps(answers, indent=4, ensure_ascii=False) + "\n", mode=0o600)
    try:
        config.load(path, {}, {})
    except errors.ConfigError as error:
        print(f"{path} is written, but: {error}", file=sys.stderr)
    _result(options, {"conf": path}, f"{path} is written, readable by you only. Next: scripts/afero-ota check")


def _ask(question: str) -> str:
    print(f"{question}: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip()


def _check(options: argparse.Namespace) -> int:
    """Go on after a fault where that can tell more; the exit status is that of the first."""
    settings = _settings(options, config.PUBLISH_NEEDS)
    cloud = _service(options, settings)
    rows: list[tuple[str, str, str]] = [("configuration", "ok", _conf_path(options) or "environment only")]
    first: errors.OtaError | None = None

    def step(name: str, look: Callable[[], str]) -> None:
        nonlocal first
        try:
            rows.append((name, "ok", look()))
        except errors.OtaError as error:
            first = first or error
            rows.append((name, "wrong", str(error)))

    step("log in", lambda: _check_login(cloud))
    if first is None:
        step("account", lambda: _check_account(cloud))
        step("partner", lambda: f"{cloud.partner_id}: {sum(1 for _ in cloud.records())} records")
        step("device type", lambda: f"{cloud.device_type_id}: {sum(1 for _ in cloud.images())} images")
    if cloud.clock_skew is not None:
        step("clock", lambda: _check_clock(cloud.clock_skew or 0.0))
    free = shutil.disk_usage(".").free
    rows.append(("disk", "ok" if free > 1 << 30 else "low", f"{free / (1 << 30):.1f} GiB free in {os.getcwd()}"))
    _result(
        options,
        [dict(zip(("check", "result", "detail"), row)) for row in rows],
        _table(("check", "result", "detail"), rows),
    )
    return first.exit_status if first else 0


def _check_login(cloud: service.OtaService) -> str:
    cloud.login()
    return cloud.base_url


def _check_account(cloud: service.OtaService) -> str:
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


def _check_clock(skew: float) -> str:
    if abs(skew) > 120:
        raise errors.OtaError(
            f"this machine's clock is {skew:+.0f} s off the service's; set it, or certificates and tokens fail"
        )
    return f"{skew:+.0f} s from the service's"


def _record(options: argparse.Namespace) -> None:
    settings = _settings(options, (*config.RECORD_NEEDS, "partner_id", *config.LOGIN_NEEDS))
    wanted = record.wanted(settings)
    with journal.Journal(options.journal) as log:
        found, created = publish.ensure_record(_service(options, settings), wanted, log, _say(options))
    found = record.as_created(found)
    files.write_text(options.output, record.dumps(found))
    verb = "created" if created else "found"
    text = f"record {verb}: {found.name} {found.version}, versionNumber {found.version_number}, id {found.id}; written to {options.output}"
    _result(options, {"created": created, "file": options.output, "record": dict(found.fields)}, text)


def _package(options: argparse.Namespace) -> None:
    settings = _settings(options, ())
    target = options.output or settings.image_file
    facts: dict[str, Any] = {"source": os.path.basename(options.archive)}
    path = options.record or record.FILE_NAME
    if options.record or os.path.exists(record.find_file(path)):
        inside = record.read(path)
        facts.update(version=inside.version, record=dict(inside.fields))
    with _progress(options, "packaging") as progress:
        made = payload.package(options.archive, target, progress)
    written = manifest.write(made, facts)
    text = f"payload: {made.path}, {made.size} bytes, SHA-256 {made.sha256}; manifest: {written}"
    _result(options, {"payload": made.path, "size": made.size, "sha256": made.sha256, "manifest": written}, text)


def _upload(options: argparse.Namespace) -> None:
    settings = _settings(options, (*(config.RECORD_NEEDS if options.build_number else ()), *config.PUBLISH_NEEDS))
    path = options.payload or settings.image_file
    cloud = _service(options, settings)
    with _progress(options, "hashing") as progress:
        made = payload.measure(path, progress)
    if os.path.exists(manifest.path_of(path)):
        manifest.verify(made, manifest.read(path))
    wanted = _record_to_upload(options, settings, cloud, path)
    with journal.Journal(options.journal) as log, _progress(options, "uploading") as progress:
        done = publish.publish(cloud, wanted, made, log, _say(options), progress)
    for warning in done.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    facts = {
        "changed": done.changed,
        "imageId": done.image_id,
        "record": dict(done.record.fields),
        "sha256": made.sha256,
        "size": made.size,
        "url": done.url,
    }
    verb = "uploaded" if done.changed else "nothing to do, uploaded before"
    text = f"{wanted.name} {wanted.version}: {verb}; versionNumber {wanted.version_number}, image id {done.image_id}"
    _result(options, facts, text)


def _record_to_upload(
    options: argparse.Namespace, settings: config.Config, cloud: service.OtaService, path: str
) -> record.OtaRecord:
    if options.record and options.build_number:
        raise errors.ConfigError("give either --record or -n, not both")
    if options.record:
        return record.read(options.record)
    if options.build_number:
        wanted = record.wanted(settings)
        found = cloud.find_record(wanted["name"], wanted["version"])
        if found is None:
            # creating it now would send an image that does not hold its own record
            raise errors.RefusedError(
                f"{wanted['name']} {wanted['version']} has no record; make it with `afero-ota record -n {options.build_number}` and put it into the image"
            )
        return found
    if os.path.exists(manifest.path_of(path)):
        fields = manifest.read(path).get("record")
        if isinstance(fields, dict):
            return record.loads(json.dumps(fields), manifest.path_of(path))
    if os.path.exists(record.find_file(record.FILE_NAME)):
        return record.read(record.FILE_NAME)
    raise errors.ConfigError("which record belongs to this payload? Give -n BUILD, or --record FILE")


def _list(options: argparse.Namespace) -> None:
    settings = _settings(options, config.PUBLISH_NEEDS)
    cloud = _service(options, settings)
    tags = ",".join(options.tag)
    items = [dict(item.fields) for item in cloud.records(tags=tags)] if options.pool else list(cloud.images(tags=tags))
    # what several tags mean to the service is not documented
    items = [
        item
        for item in items
        if set(options.tag) <= set(item.get("tags") or []) and options.name in (None, item.get("name"))
    ]
    items.sort(key=lambda item: int(item["versionNumber"]) if str(item.get("versionNumber", "")).isdigit() else 0)
    rows = [
        (
            str(item.get("id", "")),
            str(item.get("versionNumber", "")),
            str(item.get("version", "")),
            str(item.get("name", "")),
            _time(item.get("createdTimestamp")),
            "yes" if item.get("url") else "no",
            str(item.get("description", "")),
        )
        for item in items
    ]
    _result(
        options,
        items,
        _table(
            (
                "record id" if options.pool else "image id",
                "number",
                "version",
                "name",
                "created",
                "file",
                "description",
            ),
            rows,
        ),
    )


def _deploy(options: argparse.Namespace) -> int:
    settings = _settings(options, config.PUBLISH_NEEDS)
    devices = rollout.read_devices(" ".join(word for words in options.device for word in words))
    if not devices:
        raise errors.ConfigError("no device named: give ids after -d, or @FILE")
    cloud = _service(options, settings)
    image = next((image for image in cloud.images() if str(image.get("id")) == options.image_id), None)
    if image is None:
        raise errors.RefusedError(
            f"device type {cloud.device_type_id} has no image with the id {options.image_id}; `afero-ota list` shows the ids "
            "(the id of a record is another number)"
        )
    if not image.get("url"):
        raise errors.RefusedError(f"image {options.image_id} has no file in the cloud; upload it first")
    with journal.Journal(options.journal) as log:
        number, say = str(image.get("versionNumber", "")), _say(options) if options.verbose else (lambda text: None)
        outcomes = rollout.push(cloud, options.image_id, number, devices, log, say, options.again)
    rows = [(outcome.device_id, outcome.result, outcome.detail) for outcome in outcomes]
    names = ("device", "result", "detail")
    _result(options, [dict(zip(names, row)) for row in rows], _table(names, rows))
    return 0 if all(outcome.ok for outcome in outcomes) else errors.RefusedError.exit_status


def _status(options: argparse.Namespace) -> None:
    if not os.path.exists(options.journal):
        raise errors.ConfigError(f"{options.journal}: no such journal; name one with --journal")
    entries = journal.read(options.journal)
    shown = ("time", "step", "outcome")
    rows = [
        (
            *(str(entry.get(key, "")) for key in shown),
            " ".join(f"{key}={value}" for key, value in entry.items() if key not in (*shown, "tool")),
        )
        for entry in entries
    ]
    _result(options, entries, _table((*shown, "facts"), rows))


def _report(options: argparse.Namespace) -> None:
    document = manifest.read(options.payload or _settings(options, ()).image_file)
    before = manifest.read(options.since) if options.since else None
    data = {**document, "changes": report.compare(before, document)} if before else document
    _result(options, data, report.markdown(document, before).rstrip("\n"))


def _completion(options: argparse.Namespace) -> None:
    try:
        import shtab
    except ImportError:
        raise errors.ConfigError(errors.missing_module("shtab", "python3-shtab", "shtab")) from None
    print(shtab.complete(options.parser, options.shell))


# ---- what the commands share -----------------------------------------------------------------------------------------


def _conf_path(options: argparse.Namespace) -> str | None:
    named = options.conf or os.environ.get("AFERO_OTA_CONF")
    return named or next((name for name in CONF_FILES if os.path.exists(name)), None)


def _settings(options: argparse.Namespace, needs: Sequence[str]) -> config.Config:
    given: Mapping[str, Any] = {
        "service_url": getattr(options, "service_url", None) or os.environ.get("AFERO_OTA_SERVICE_URL"),
        "build_number": getattr(options, "build_number", None),
        "debug_build": getattr(options, "debug_build", None),
    }
    remedy = "name one with --conf or AFERO_OTA_CONF, or make one: scripts/afero-ota init"
    no_file = errors.Fault("configuration file", f"none named, and no {CONF_FILES[0]} in this folder", remedy)
    settings = config.load(_conf_path(options), given, os.environ, needs, no_file=no_file)
    if not options.quiet:
        for warning in settings.warnings:
            print(f"warning: {warning}", file=sys.stderr)
    return settings


def _service(options: argparse.Namespace, settings: config.Config) -> service.OtaService:
    patience = transport.Patience(
        connect=min(transport.Patience.connect, options.stall_timeout),
        stall=options.stall_timeout,
        attempts=max(1, options.attempts),
    )
    log = (lambda text: print(text, file=sys.stderr)) if options.verbose else None
    return service.connect(settings, patience, log)


def _say(options: argparse.Namespace) -> Callable[[str], None]:
    return lambda text: None if options.quiet else print(text, file=sys.stderr)


def _result(options: argparse.Namespace, data: Any, text: str) -> None:
    if options.json:
        _print_json(data)
    elif not options.quiet:
        print(text)


def _print_json(data: Any) -> None:
    print(json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False))


def _time(milliseconds: Any) -> str:
    return (
        time.strftime("%Y-%m-%d %H:%M", time.gmtime(milliseconds / 1000))
        if isinstance(milliseconds, (int, float))
        else ""
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [tuple(header), *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)


@contextlib.contextmanager
def _progress(options: argparse.Namespace, what: str) -> Iterator[payload.Progress | None]:
    """A progress bar on a terminal when rich is installed; otherwise a line in place; nothing elsewhere."""
    if options.quiet or options.json or not sys.stderr.isatty():
        yield None
        return
    try:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn
    except ImportError:
        yield lambda done, total: print(
            f"\r{what} {done}/{total} bytes", end="\n" if done >= total else "", file=sys.stderr
        )
        return
    columns = ("{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
