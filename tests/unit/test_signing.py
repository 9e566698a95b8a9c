# SPDX-License-Identifier: MIT
"""Signing with key files: what is checked before, what is made, and where a passphrase goes. Tokens are in tests/bitbake/test_rauc.py."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import keys
from afero_ota import signing
from afero_ota.errors import ConfigError
from afero_ota.signing import Signer
from keys import Pair

pytestmark = pytest.mark.skipif(not shutil.which("rauc"), reason="no rauc; run: scripts/setup build")
PASSPHRASE = "canary-passphrase"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return keys.make(tmp_path_factory.mktemp("owner"), "release")


@pytest.fixture
def signer(pair: Pair, tmp_path: Path) -> Signer:
    keyring = keys.keyring(tmp_path / "keyring.pem", pair)
    return Signer(str(pair.key), str(pair.cert), str(keyring), lambda: "")


@pytest.fixture
def content(tmp_path: Path) -> str:
    folder = tmp_path / "content"
    folder.mkdir()
    (folder / "rootfs.tar.gz").write_bytes(os.urandom(100_000))
    sections = ("[update]", "compatible=hub", "version=1", "[bundle]", "format=verity", "[image.rootfs]")
    (folder / "manifest.raucm").write_text("\n".join((*sections, "filename=rootfs.tar.gz", "")))
    return str(folder)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder / "hub_update.bin"


def encrypted(pair: Pair, folder: Path) -> str:
    target = folder / "encrypted.pem"
    keys.openssl("pkey", "-in", pair.key, "-aes256", "-passout", f"pass:{PASSPHRASE}", "-out", target)
    return str(target)


def refusal(signer: Signer, content: str, out: Path) -> str:
    """Why nothing is signed; and nothing is left."""
    with pytest.raises(ConfigError) as caught:
        signing.bundle(content, str(out), signer)
    assert list(out.parent.iterdir()) == []
    (fault,) = caught.value.faults
    return str(fault)


def test_a_bundle_is_made_and_nothing_else(signer: Signer, content: str, out: Path) -> None:
    signing.bundle(content, str(out), signer)
    assert list(out.parent.iterdir()) == [out]
    assert out.read_bytes()[:4] == b"hsqs"


def test_a_key_with_a_passphrase_signs(signer: Signer, pair: Pair, content: str, out: Path, tmp_path: Path) -> None:
    signing.bundle(content, str(out), replace(signer, key=encrypted(pair, tmp_path), secret=lambda: PASSPHRASE))
    assert out.exists()


@pytest.mark.parametrize(
    ("given", "said"), [("", "sign-pin is not set"), ("wrong", "cannot be opened with this passphrase")]
)
def test_a_passphrase_that_does_not_fit_is_not_shown(
    signer: Signer, pair: Pair, content: str, out: Path, tmp_path: Path, given: str, said: str
) -> None:
    why = refusal(replace(signer, key=encrypted(pair, tmp_path), secret=lambda: given), content, out)
    assert said in why and "wrong" not in why


def test_the_passphrase_is_in_no_argument_and_no_environment_of_a_child(
    signer: Signer, pair: Pair, content: str, out: Path, tmp_path: Path
) -> None:
    seen, key = tmp_path / "seen", encrypted(pair, tmp_path)
    for program in ("rauc", "openssl"):
        real = shutil.which(program)
        assert real
        spy = tmp_path / "bin" / program
        spy.parent.mkdir(exist_ok=True)
        spy.write_text(f'#!/bin/sh\ncat /proc/$$/cmdline /proc/$$/environ >>{seen}\nexec {real} "$@"\n')
        spy.chmod(0o755)
    path = os.environ["PATH"]
    os.environ["PATH"] = f"{tmp_path / 'bin'}:{path}"
    try:
        signing.bundle(content, str(out), replace(signer, key=key, secret=lambda: PASSPHRASE))
    finally:
        os.environ["PATH"] = path
    text = seen.read_bytes()
    assert b"pkey" in text and b"bundle" in text
    assert PASSPHRASE.encode() not in text


def test_key_and_certificate_must_belong_together(signer: Signer, content: str, out: Path, tmp_path: Path) -> None:
    other = keys.make(tmp_path, "other")
    assert "does not belong to" in refusal(replace(signer, key=str(other.key)), content, out)


def test_an_encrypted_key_of_another_certificate_is_found_by_rauc(
    signer: Signer, content: str, out: Path, tmp_path: Path
) -> None:
    key = encrypted(keys.make(tmp_path, "other"), tmp_path)
    assert "does not belong to the key" in refusal(replace(signer, key=key, secret=lambda: PASSPHRASE), content, out)


def test_the_keyring_must_lead_to_the_signer(signer: Signer, content: str, out: Path, tmp_path: Path) -> None:
    keyring = keys.keyring(tmp_path / "other.pem", keys.make(tmp_path, "other"))
    assert "no device would accept" in refusal(replace(signer, keyring=str(keyring)), content, out)


def test_the_certificate_must_be_valid_now(signer: Signer, content: str, out: Path, tmp_path: Path) -> None:
    expired = keys.expired(tmp_path, "expired")
    assert "has expired on" in refusal(replace(signer, key=str(expired.key), cert=str(expired.cert)), content, out)
    later = keys.expired(tmp_path, "later", "20900101000000Z", "20910101000000Z")
    assert "is not valid before" in refusal(replace(signer, key=str(later.key), cert=str(later.cert)), content, out)


def test_the_certificate_must_be_for_code_signing(signer: Signer, content: str, out: Path, tmp_path: Path) -> None:
    tls = keys.make(tmp_path, "tls", extensions=("extendedKeyUsage=serverAuth",))
    assert "code signing" in refusal(replace(signer, key=str(tls.key), cert=str(tls.cert)), content, out)


def test_a_pin_in_the_uri_is_refused(signer: Signer, content: str, out: Path) -> None:
    why = refusal(replace(signer, key="pkcs11:token=x;object=y?pin-value=1234"), content, out)
    assert "has the PIN in it" in why and "1234" not in why


def test_what_is_missing_is_said_at_once(content: str, out: Path) -> None:
    names = [fault.field for fault in signing.faults("", "", "/nowhere/keyring.pem")]
    assert names == ["AFERO_OTA_SIGN_KEY", "AFERO_OTA_SIGN_CERT", "AFERO_OTA_KEYRING"]
