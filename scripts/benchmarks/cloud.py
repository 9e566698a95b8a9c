# SPDX-License-Identifier: MIT
"""What goes over the network, to the local OTA service: upload, publishing again, the service under load."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import requests

from rehearsal.service import RunningService

from .packaging import write_image
from .process import measure
from .race import OURS, SCRIPTS, Bench, CannotRunError, Contestant, Sample, Table

_BLOB = 1 << 20  # bytes of one upload or download under load
_LOAD_SECONDS = 5.0
# the client's own call, and the one that a script without this project would make
_BINARY_ONLY = """
import sys
from afero_ota import config
from afero_ota.service import connect
settings = config.load(sys.argv[1], {}, {}, config.PUBLISH_NEEDS)
connect(settings).upload_binary(sys.argv[2], int(sys.argv[3]))
"""
_REQUESTS = """
import sys, requests
headers = dict(line.strip().split(": ", 1) for line in open(sys.argv[3]))
with open(sys.argv[2], "rb") as stream:
    requests.post(sys.argv[1], data=stream, headers=headers).raise_for_status()
"""


def upload(bench: Bench) -> list[Table]:
    """One large file: the whole publish, the upload alone, curl and requests."""
    folder = bench.new_folder("upload")
    image = folder / "image.bin"
    write_image(image, bench.size)
    with RunningService(folder / "service") as service:
        env = {
            **os.environ,
            "AFERO_OTA_CONF": str(service.conf),
            "PYTHONPATH": str(SCRIPTS.parent / "meta-afero-ota/lib"),
        }
        url = f"{service.url}/v1/ota/partners/{service.partner_id}/binaries"
        headers = folder / "headers"
        headers.write_text(f"Authorization: Bearer {service.token()}\nContent-Type: application/octet-stream\n")

        def publish(number: int) -> Sample:
            _change(image, number)
            measure([OURS, "record", "-n", str(number)], folder, env)
            return measure([OURS, "upload", str(image), "-n", str(number)], folder, env)

        def run(*command: str) -> Sample:
            return measure(command, folder, env)

        size, python = str(bench.size), sys.executable
        first = Table("upload", f"Uploading {bench.size >> 20} MiB", "curl -T")
        curl = ("curl", "-sSf", "-X", "POST", "-T", str(image), "-H", f"@{headers}", url)
        bench.race(
            first,
            [
                Contestant("afero-ota upload (hash, send, move, associate)", publish),
                Contestant(
                    "afero-ota, sending alone",
                    lambda _: run(python, "-c", _BINARY_ONLY, str(service.conf), str(image), size),
                ),
                Contestant("curl -T", lambda _: run(*curl)),
                Contestant("requests", lambda _: run(python, "-c", _REQUESTS, url, str(image), str(headers))),
            ],
        )
        first.aim(
            "upload at 0.9 of curl's throughput or more, within 64 MiB",
            "afero-ota, sending alone",
            1 / 0.9,
            relative=True,
        )
        if first.row("afero-ota, sending alone").memory > 64 << 20:
            first.met = False
        again = Table("republish", f"Publishing {bench.size >> 20} MiB that are there already", "sha256sum")
        bench.race(
            again,
            [
                Contestant(
                    "afero-ota upload, nothing to do",
                    lambda _: run(OURS, "upload", str(image), "-n", str(bench.rounds - 1)),
                ),
                Contestant("sha256sum", lambda _: run("sha256sum", str(image))),
            ],
        )
        again.aim("less than 1 s", "afero-ota upload, nothing to do", 1.0)
    return [first, again]


def _change(image: Path, number: int) -> None:
    """Other content, as a new build has; of the same size."""
    with image.open("r+b") as stream:
        stream.write(number.to_bytes(8, "big"))


def load(bench: Bench) -> list[Table]:
    """The service's uploads and downloads of 1 MiB per second, with several clients at once."""
    tables = []
    with RunningService(bench.new_folder("service") / "service") as service:
        headers = {"Authorization": f"Bearer {service.token()}", "Content-Type": "application/octet-stream"}
        partner = f"{service.url}/v1/ota/partners/{service.partner_id}"
        blob = os.urandom(_BLOB)

        def put(session: requests.Session) -> None:
            session.post(f"{partner}/binaries", data=blob, headers=headers, timeout=60).raise_for_status()

        with requests.Session() as session:
            put(session)
            value = session.post(f"{partner}/binaries", data=blob, headers=headers, timeout=60).json()
            moved = session.post(
                f"{partner}/binaries/moveToRepository",
                json=value,
                headers={**headers, "Content-Type": "application/json"},
                timeout=60,
            )
            url = moved.json()["value"]

        def get(session: requests.Session) -> None:
            session.get(url, timeout=60).raise_for_status()

        for what, call in (("uploads", put), ("downloads", get)):
            table = Table(what, f"Local service: {what} of 1 MiB", "1 client", unit="per second")
            bench.race(table, [_clients(clients, call, service) for clients in (1, 10, 100)])
            table.notes.append(
                "The clients are threads of one Python process on the same machine, and part of what is measured."
            )
            tables.append(table)
    return tables


def _clients(count: int, call: Callable[[requests.Session], None], service: RunningService) -> Contestant:
    return Contestant(
        "1 client" if count == 1 else f"{count} clients",
        lambda _: Sample(_rate(count, call), service.peak_memory()),
    )


def _rate(clients: int, call: Callable[[requests.Session], None]) -> float:
    """Calls per second that all clients together get through."""
    done, failed = [0] * clients, list[str]()
    end = time.monotonic() + _LOAD_SECONDS

    def work(number: int) -> None:
        with requests.Session() as session:
            try:
                while time.monotonic() < end:
                    call(session)
                    done[number] += 1
            except requests.RequestException as error:
                failed.append(f"{type(error).__name__}: {error}")

    started = time.monotonic()
    threads = [threading.Thread(target=work, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise CannotRunError(f"{len(failed)} of {clients} clients failed: {failed[0][:200]}")
    return sum(done) / (time.monotonic() - started)
