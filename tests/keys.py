# SPDX-License-Identifier: MIT
"""Keys and certificates of a bundle's owner, made by openssl when a test needs them."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

CODE_SIGNING = (
    "basicConstraints=critical,CA:FALSE",
    "keyUsage=critical,digitalSignature",
    "extendedKeyUsage=critical,codeSigning",
)


@dataclass(frozen=True)
class Pair:
    """A private key and its self-signed certificate, both PEM files."""

    key: Path
    cert: Path


def openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, stdin=subprocess.DEVNULL, capture_output=True)


def make(folder: Path, name: str, *options: str, extensions: tuple[str, ...] = CODE_SIGNING) -> Pair:
    """A pair for code signing. options: more for `openssl req`, such as -days."""
    pair = Pair(folder / f"{name}.key.pem", folder / f"{name}.cert.pem")
    added = [word for extension in extensions for word in ("-addext", extension)]
    dates = () if "-days" in options else ("-days", "365")
    subject = ("-subj", f"/O=Owner/CN={name}")
    openssl(
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        pair.key,
        "-out",
        pair.cert,
        *subject,
        *dates,
        *added,
        *options,
    )
    pair.key.chmod(0o644)
    return pair


def keyring(path: Path, *pairs: Pair) -> Path:
    """A keyring with these certificates."""
    path.write_text("".join(pair.cert.read_text() for pair in pairs))
    return path


def expired(folder: Path, name: str, start: str = "20200101000000Z", end: str = "20201231000000Z") -> Pair:
    """A pair whose certificate was valid in 2020 only, or between these times."""
    pair, request, settings = make(folder, name), folder / f"{name}.csr", folder / f"{name}.cnf"
    lines = [extension.replace("critical,", "critical, ") for extension in CODE_SIGNING]
    (folder / f"{name}.index").touch()
    settings.write_text(
        f"[ca]\ndatabase={folder}/{name}.index\nrand_serial=yes\ndefault_md=sha256\npolicy=any\nnew_certs_dir={folder}\n"
        "[any]\ncommonName=supplied\norganizationName=optional\n[signing]\n" + "\n".join(lines) + "\n"
    )
    openssl("req", "-new", "-key", pair.key, "-subj", f"/O=Owner/CN={name}", "-out", request)
    dates = ("-startdate", start, "-enddate", end)
    ca = (
        "ca",
        "-batch",
        "-selfsign",
        "-config",
        settings,
        "-name",
        "ca",
        "-keyfile",
        pair.key,
        "-extensions",
        "signing",
    )
    openssl(*ca, *dates, "-notext", "-in", request, "-out", pair.cert)
    return pair
