# SPDX-License-Identifier: MIT
"""The owner's signature under a payload, made by RAUC; here are the checks before it, and the way of the PIN.

There is no format of our own: `rauc` makes and signs the bundle, `openssl` answers questions about keys and certificates. A PIN or
passphrase is in no argument, no environment and no file: programs read it from memory that has a file descriptor (memfd_create).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Callable

from .errors import ConfigError, Fault

TOKEN = "pkcs11:"
KEY, CERT, KEYRING = "AFERO_OTA_SIGN_KEY", "AFERO_OTA_SIGN_CERT", "AFERO_OTA_KEYRING"
SECONDS = 600  # until a signature is given up: a token that waits for a button, for example
_PEM_ENCRYPTED = b"ENCRYPTED"
# as a device checks it (system.conf in dynamic-layers/rauc): what was signed here must be accepted there
_AS_A_DEVICE = """[system]
compatible=any
bootloader=noop
bundle-formats=verity

[keyring]
path={keyring}
use-bundle-signing-time=true
check-purpose=codesign
"""
# what OpenSSL, libp11 and RAUC say, and what it means to the one who signs
_PIN = ("the token refuses the PIN", "correct sign-pin; it was tried once, and tokens lock after a few")
_ENGINE = ("OpenSSL has no engine for PKCS#11", "apt-get install libengine-pkcs11-openssl")
_MEANINGS = {
    "pin locked": ("the token is locked", "unlock it with the token's own tool; it was not tried again"),
    "pin incorrect": _PIN,
    "ckr_pin": _PIN,
    "no pin code": (
        "the token asks for a PIN",
        "write sign-pin in the configuration file, or export AFERO_OTA_SIGN_PIN",
    ),
    "key values mismatch": (f"{CERT} does not belong to the key", "name the certificate of this key"),
    "unable to load module": ("the token's module cannot be loaded", "correct AFERO_OTA_SIGN_MODULE"),
    "no matching": ("no token has this key", "name a token that is there: p11tool --list-tokens"),
    "object not found": ("no token has this key", "compare token and object: pkcs11-tool --list-objects"),
    "failed to load engine": _ENGINE,
    "could not load the shared library": _ENGINE,
}


@dataclass(frozen=True)
class Signer:
    """Who signs: key and certificate (paths, or PKCS#11 URIs), what devices trust, the token's module ("" for p11-kit's).

    secret: gives the PIN or passphrase, "" when there is none; it is called once, if the key needs one. rauc: the program.
    """

    key: str
    cert: str
    keyring: str
    secret: Callable[[], str]
    module: str = ""
    rauc: str = "rauc"


def faults(key: str, cert: str, keyring: str) -> list[Fault]:
    """What is wrong with key, certificate and keyring, as far as it can be told without a secret.

    Nothing is asked of a token. Without the program openssl, only what is missing is found; signing finds the rest.
    """
    found = [*_missing(key, cert, keyring)]
    if found or not shutil.which("openssl"):
        return found
    if not cert.startswith(TOKEN):
        found += _certificate_faults(cert)
        if not found and not key.startswith(TOKEN):
            found += _key_faults(key, cert)
        if not found and not _trusted(cert, keyring):
            problem = f"no device would accept the signature: {keyring} does not lead to {cert}"
            found.append(Fault(KEYRING, problem, "add the certificate, or that of its CA, to the keyring"))
    return found


def bundle(content: str, target: str, signer: Signer) -> None:
    """Make `target` a signed bundle of the folder `content`, which has a manifest.raucm; whole or not at all.

    The result is checked as a device does. Raises ConfigError with one fault.
    """
    wrong = faults(signer.key, signer.cert, signer.keyring)
    if wrong:
        raise ConfigError(wrong, where="the signing key")
    folder = tempfile.mkdtemp(prefix=".signing-", dir=os.path.dirname(os.path.abspath(target)))
    try:
        made = os.path.join(folder, "bundle")
        with _private(signer) as (key, descriptors):
            options = [f"--cert={signer.cert}", f"--key={key}"]
            _run_rauc([signer.rauc, "bundle", *options, content, made], signer, descriptors)
        _verify(made, folder, signer)
        os.replace(made, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _missing(key: str, cert: str, keyring: str) -> Iterator[Fault]:
    wanted = (
        (KEY, key, "/path/to/release.key.pem", True),
        (CERT, cert, "/path/to/release.cert.pem", True),
        (KEYRING, keyring, "/path/to/keyring.pem", False),
    )
    for name, value, example, may_be_on_token in wanted:
        remedy = f'write: {name} = "{example}"' + (' or "pkcs11:token=…;object=…"' if may_be_on_token else "")
        if not value:
            yield Fault(name, "not set, but a RAUC bundle is signed", remedy)
        elif may_be_on_token and value.startswith(TOKEN):
            continue
        elif not os.path.isabs(value) or not os.access(value, os.R_OK):
            yield Fault(name, f"{value} cannot be read, or is no absolute path", remedy)


def _certificate_faults(cert: str) -> list[Fault]:
    status, text = _openssl("x509", "-in", cert, "-noout", "-startdate", "-enddate", "-ext", "extendedKeyUsage")
    lines = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    if status or not {"notBefore", "notAfter"} <= lines.keys():
        return [Fault(CERT, f"{cert} is not a certificate in PEM form", "name the certificate of the key")]
    begin, end = (ssl.cert_time_to_seconds(lines[name]) for name in ("notBefore", "notAfter"))
    if not begin <= time.time() <= end:
        verb, when = ("is not valid before", "notBefore") if time.time() < begin else ("has expired on", "notAfter")
        remedy = "sign with a certificate that is valid now, or set this machine's clock"
        return [Fault(CERT, f"{cert} {verb} {lines[when]}", remedy)]
    if "Code Signing" not in text:
        problem = f"{cert} is not for code signing (extendedKeyUsage=codeSigning), which devices ask for"
        return [Fault(CERT, problem, "make a certificate as docs/signing.md shows")]
    return []


def _key_faults(key: str, cert: str) -> list[Fault]:
    with open(key, "rb") as stream:
        if _PEM_ENCRYPTED in stream.read(4096):
            return []  # after the passphrase is known
    status, public = _openssl("pkey", "-in", key, "-pubout")
    if status:
        return [Fault(KEY, f"{key} is not a private key in PEM form", "name the key of the certificate")]
    if public != _openssl("x509", "-in", cert, "-noout", "-pubkey")[1]:
        return [Fault(KEY, f"{key} does not belong to {cert}", "name the key and the certificate of one signer")]
    return []


def _trusted(cert: str, keyring: str) -> bool:
    only = ("-no-CApath", "-no-CAstore", "-no_check_time", "-purpose", "any")
    return _openssl("verify", *only, "-CAfile", keyring, cert)[0] == 0


def _openssl(*arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        ["openssl", *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    return done.returncode, done.stdout


@contextlib.contextmanager
def _private(signer: Signer) -> Iterator[tuple[str, list[int]]]:
    """How RAUC is told of the key, and the file descriptors that it inherits for that."""
    descriptors: list[int] = []
    try:
        if signer.key.startswith(TOKEN):
            yield _with_pin(signer, descriptors), descriptors
        else:
            yield _without_passphrase(signer, descriptors), descriptors
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _with_pin(signer: Signer, descriptors: list[int]) -> str:
    """The URI with the place of the PIN (RFC 7512, pin-source), unless it names one by itself."""
    if "pin-value=" in signer.key:
        raise ConfigError([Fault(KEY, "has the PIN in it, for everybody to read", "remove pin-value; write sign-pin")])
    pin = "" if "pin-source=" in signer.key else signer.secret()
    if not pin:
        return signer.key
    descriptors.append(_in_memory(pin.encode()))
    return f"{signer.key}{'&' if '?' in signer.key else '?'}pin-source=file:/proc/self/fd/{descriptors[-1]}"


def _without_passphrase(signer: Signer, descriptors: list[int]) -> str:
    with open(signer.key, "rb") as stream:
        if _PEM_ENCRYPTED not in stream.read(4096):
            return signer.key
    passphrase = signer.secret()
    if not passphrase:
        problem = f"{signer.key} has a passphrase, and sign-pin is not set"
        raise ConfigError(
            [Fault(KEY, problem, "write sign-pin in the configuration file, or export AFERO_OTA_SIGN_PIN")]
        )
    question = _in_memory(passphrase.encode() + b"\n")
    try:
        done = subprocess.run(
            ["openssl", "pkey", "-in", signer.key, "-passin", f"fd:{question}"],
            pass_fds=[question],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    finally:
        os.close(question)
    if done.returncode:
        raise ConfigError([Fault(KEY, f"{signer.key} cannot be opened with this passphrase", "correct sign-pin")])
    descriptors.append(_in_memory(done.stdout))
    return f"/proc/self/fd/{descriptors[-1]}"


def _in_memory(content: bytes) -> int:
    descriptor = os.memfd_create("afero-ota")
    os.write(descriptor, content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _run_rauc(command: Sequence[str], signer: Signer, descriptors: Sequence[int] = ()) -> str:
    """What RAUC printed. Raises ConfigError with one fault, in words of ours where they are known."""
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    if signer.module:
        environment["RAUC_PKCS11_MODULE"] = signer.module
    try:
        # a session of its own has no terminal that a passphrase could be asked on
        done = subprocess.run(
            command,
            env=environment,
            pass_fds=descriptors,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=SECONDS,
        )
    except FileNotFoundError:
        raise ConfigError([Fault(signer.rauc, "no such program", "apt-get install rauc")]) from None
    except subprocess.TimeoutExpired:
        problem = f"no signature within {SECONDS} s"
        raise ConfigError([Fault(KEY, problem, "does the token wait for a button, or its reader for a PIN?")]) from None
    if done.returncode:
        raise ConfigError([_explained(done.stdout)], where="the signature")
    return done.stdout


def _explained(said: str) -> Fault:
    for words, (problem, remedy) in _MEANINGS.items():
        if words in said.lower():
            return Fault(KEY, problem, remedy)
    lines = [line for line in said.splitlines() if line.strip()] or ["nothing was said"]
    # its own summary, or else the end
    summary = next((line for line in lines if line.startswith("Failed to ")), lines[-1])
    return Fault("rauc", summary, "see docs/signing.md")


def _verify(made: str, folder: str, signer: Signer) -> None:
    path = os.path.join(folder, "system.conf")
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(_AS_A_DEVICE.format(keyring=os.path.abspath(signer.keyring)))
    try:
        _run_rauc([signer.rauc, "-c", path, "info", made], signer)
    except ConfigError as error:
        problem = f"no device would accept the signature: {error.faults[0].problem}"
        raise ConfigError(
            [Fault(KEYRING, problem, "add the signer's certificate, or its CA's, to the keyring")]
        ) from None
