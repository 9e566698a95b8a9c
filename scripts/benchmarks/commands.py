# SPDX-License-Identifier: MIT
"""What a person waits for: the start of the command line, a list over many records, a rollout to many devices."""

from __future__ import annotations

import json
import os
import sys

import requests

from rehearsal.service import RunningService

from .process import contestants, measure
from .race import OURS, Bench, Contestant, Sample, Table

# a fleet without faults, whose devices take the update at once
_FLEET = {
    "running": {"7001": 1.0},
    "offline": 0,
    "updating": 0,
    "silent": 0,
    "interrupted": 0,
    "refused": {},
    "failed": {},
    "rolled_back": {},
}
_SPEED = 200  # times as fast as real devices


def start(bench: Bench) -> list[Table]:
    """The help, and a list, beside the start of Python itself."""
    folder = bench.new_folder("start")
    with RunningService(folder / "service") as service:
        _make_records(service, bench.records)
        env = {**os.environ, "AFERO_OTA_CONF": str(service.conf)}
        commands = {
            "python3 -c pass": [sys.executable, "-c", "pass"],
            "afero-ota --help": [OURS, "--help"],
            "afero-ota list --pool": [OURS, "list", "--pool", "--json"],
            "mender-artifact --help": ["mender-artifact", "--help"],
        }
        table = Table("start", f"Start of a command; a list of {bench.records:,} records", "python3 -c pass")
        bench.race(table, contestants(commands, folder, env))
    table.aim("--help in less than 150 ms", "afero-ota --help", 0.150)
    return [table]


def _make_records(service: RunningService, count: int) -> None:
    url = f"{service.url}/v1/ota/partners/{service.partner_id}/pool"
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {service.token()}"
        for number in range(count):
            body = {"name": "Gateway", "type": 5, "version": f"1.0.{number}", "url": "", "tags": []}
            session.post(url, json=body, timeout=30).raise_for_status()


def rollout(bench: Bench) -> list[Table]:
    """Rollouts to simulated fleets of several sizes."""
    speed = Table("rollout", "Rollout: pushes", "", unit="per second")
    calls = Table("rollout-requests", "Rollout: requests", "", unit="per device")
    for count in bench.devices:
        samples: list[tuple[Sample, float]] = []

        def run(number: int, count: int = count, samples: list[tuple[Sample, float]] = samples) -> Sample:
            samples.append(_roll_out(bench, count))
            return samples[-1][0]

        name = f"{count:,} devices"
        bench.race(speed, [Contestant(name, run)])
        calls.rows.append(
            type(speed.rows[-1])(name, [Sample(requests_made, sample.memory) for sample, requests_made in samples])
        )
    speed.base = calls.base = f"{bench.devices[0]:,} devices"
    speed.notes.append(
        f"Devices are simulated, {_SPEED} times as fast as real ones; client and service share the machine."
    )
    return [speed, calls]


def _roll_out(bench: Bench, count: int) -> tuple[Sample, float]:
    """Pushes per second with the client's memory, and requests per device."""
    folder = bench.new_folder("rollout")
    (folder / "fleet.yml").write_text(json.dumps(_FLEET))
    (folder / "image.bin").write_bytes(os.urandom(10_000))
    arguments = ("--sim-devices", str(count), "--sim-profile", str(folder / "fleet.yml"), "--sim-speed", str(_SPEED))
    with RunningService(folder / "service", arguments=arguments) as service:
        env = {**os.environ, "AFERO_OTA_CONF": str(service.conf)}
        limits = [
            "--start-limit",
            "60s",
            "--finish-limit",
            "120s",
            "--offline-limit",
            "60s",
            "--soak",
            "0s",
            "--min-success",
            "0",
        ]
        for step in (
            ["record", "-n", "1"],
            ["package", "image.bin"],
            ["upload"],
            ["plan", "--all", "--in-flight", "200", *limits],
        ):
            measure([OURS, *step], folder, env)
        before = sum(service.sim.stats()["requests"].values())
        done = measure([OURS, "deploy", "--plan", "plan.yml", "--poll", "0.5", "--rate", "1000"], folder, env)
        stats = service.sim.stats()
        made = sum(stats["requests"].values()) - before
        return Sample(sum(stats["pushes"].values()) / done.value, done.memory), made / count
