# SPDX-License-Identifier: MIT
"""The command: `ota-service --port N --data DIR --conf FILE --faults FILE`."""

from __future__ import annotations

import argparse
import logging
import sqlite3
import sys
import tempfile
from pathlib import Path

from . import account, profile, server, signing
from .faults import Plan, PlanError
from .fleet import Fleet
from .keycloak import Door
from .service import Service
from .store import Store

DEFAULT_PORT = 8080


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    try:
        owner, plan = account.load(options.conf), Plan.load(options.faults)
        kind = profile.load(options.sim_profile)
    except (OSError, ValueError, PlanError) as error:
        return complain(str(error))
    with tempfile.TemporaryDirectory(prefix="ota-service-") as scratch:
        try:
            folder = Path(options.data or scratch)
            store = Store(folder)
            key = signing.load_or_make_key(folder / "signing-key.pem")
        except (OSError, ValueError, sqlite3.Error) as error:
            return complain(f"the data folder {options.data} cannot be used: {error}. Name another with --data.")
        write_log(folder)
        try:
            listener = server.bind(options.port)
        except OSError as error:
            return complain(f"port {options.port} cannot be used: {error.strerror}. Name another, or 0 for any.")
        try:
            fleet = Fleet(options.sim_devices, options.sim_seed, kind, owner.device_type_id, options.sim_speed)
            door = Door(options.refresh_lifetime) if options.login == "keycloak" else None
            server.serve(Service(store, owner, key, plan, options.token_lifetime, fleet, door), listener)
        finally:
            listener.close()
            store.close()
    return 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="ota-service",
        description="A local stand-in for the Afero OTA service, for tests and rehearsals. It listens on 127.0.0.1 only.",
        epilog="Without --conf: username dev@example.com, userpw rehearsal, auth-string base64 of local-client:local-secret, "
        f"partnerId {account.Account.partner_id}, deviceTypeId {account.Account.device_type_id}.",
    )
    parser.add_argument("--port", type=port, default=DEFAULT_PORT, help="0 takes any free one (default: %(default)s)")
    parser.add_argument("--data", metavar="DIR", help="where everything is kept (default: forgotten at the end)")
    parser.add_argument("--conf", metavar="FILE", help="partner-ota-conf file whose account may log in")
    parser.add_argument("--faults", metavar="FILE", help="what goes wrong, see docs/local-service.md")
    parser.add_argument(
        "--token-lifetime", type=seconds, default=16_086.0, metavar="S", help="seconds (default: %(default)g)"
    )
    parser.add_argument(
        "--login",
        choices=("password", "keycloak"),
        default="password",
        help="the documented password grant, or a login page with one-time codes (default: %(default)s)",
    )
    parser.add_argument(
        "--refresh-lifetime",
        type=seconds,
        default=30 * 24 * 3600.0,
        metavar="S",
        help="of refresh tokens, with --login keycloak (default: 30 days)",
    )
    fleet = parser.add_argument_group("a simulated fleet, see docs/local-service.md")
    fleet.add_argument("--sim-devices", type=count, default=0, metavar="N", help="devices in it (default: %(default)s)")
    fleet.add_argument(
        "--sim-seed", type=int, default=0, metavar="S", help="the same fleet for the same seed (default: 0)"
    )
    fleet.add_argument("--sim-profile", metavar="FILE", help="shares, times and faults (YAML)")
    fleet.add_argument(
        "--sim-speed",
        type=seconds,
        default=1.0,
        metavar="X",
        help="how many times as fast its devices are (default: 1)",
    )
    return parser.parse_args(arguments)


def count(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text} is not a number of devices; expected 0 to 1000000")
    return number


def port(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 65_535:
        raise argparse.ArgumentTypeError(f"{text} is not a port; expected 0 to 65535")
    return number


def seconds(text: str) -> float:
    number = float(text)
    if not 0 < number < 1e9:
        raise argparse.ArgumentTypeError(f"{text} does not fit; expected a number above 0")
    return number


def write_log(folder: Path) -> None:
    """Calls go to service.log (never a body, a header or a query); warnings to standard error as well."""
    form = logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    file, console = logging.FileHandler(folder / "service.log", encoding="utf-8"), logging.StreamHandler()
    console.setLevel(logging.WARNING)
    for handler in (file, console):
        handler.setFormatter(form)
        logging.getLogger().addHandler(handler)
    logging.getLogger("ota_service").setLevel(logging.INFO)


def complain(message: str) -> int:
    print(f"ota-service: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
