# SPDX-License-Identifier: MIT
"""AFERO_OTA_ENGINE = "rauc" in real builds: meta-rauc's bundle class, and Debian's rauc in place of rauc-native."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

import keys
from keys import Pair
from rehearsal.build import Build, Workspace
from rehearsal.service import RunningService

IMAGE = "core-image-minimal"
CONF = f"""
IMAGE_CLASSES:append:pn-{IMAGE} = " afero-ota"
# the hermetic build has no kernel, only a file to stand for one
AFERO_OTA_BOOT_PACKAGES = ""
AFERO_OTA_BOOT_KERNEL = "/etc/hello"
# the disk image is of no interest here
IMAGE_FSTYPES:remove = "wic"
"""
TOPICS = {"scarthgap": ("kas/rauc.yml",), "wrynose": ("kas/rauc.yml", "kas/rauc-wrynose.yml")}


def conf(pair: Pair, keyring: Path, key: str = "") -> str:
    return f"""
AFERO_OTA_SIGN_KEY = "{key or pair.key}"
AFERO_OTA_SIGN_CERT = "{pair.cert}"
AFERO_OTA_KEYRING = "{keyring}"
"""


@pytest.fixture(scope="module")
def pair(folder: Path) -> Pair:
    return keys.make(folder, "release")


@pytest.fixture(scope="module")
def keyring(folder: Path, pair: Pair) -> Path:
    return keys.keyring(folder / "keyring.pem", keys.make(folder, "next"), pair)


def rauc_build(workspace: Workspace, folder: Path, more: str) -> Build:
    return workspace.build(folder, CONF + more, files=TOPICS[workspace.release])


@pytest.fixture(scope="module")
def build(any_release: Workspace, folder: Path, pair: Pair, keyring: Path) -> Build:
    build = rauc_build(any_release, folder / any_release.release, conf(pair, keyring))
    done = build.bitbake(IMAGE)
    assert done.returncode == 0, done.output
    return build


def payload(build: Build) -> Path:
    return build.deploy / f"{IMAGE}-ota" / "hub_update.bin"


def info(bundle: Path, conf: Path) -> list[str]:
    """What a device with this system.conf thinks of the bundle: NAME=VALUE, without the quotes, which not all versions write alike."""
    done = subprocess.run(
        ["rauc", "-c", conf, "info", "--output-format=shell", bundle], capture_output=True, text=True, check=True
    )
    return done.stdout.replace("'", "").splitlines()


def test_the_payload_is_a_signed_bundle_that_the_image_in_it_accepts(build: Build, tmp_path: Path) -> None:
    image = next(path for path in build.deploy.glob(f"{IMAGE}-*.tar.gz") if path.is_symlink())
    with tarfile.open(image) as archive:
        archive.extractall(
            tmp_path, [archive.getmember(f"./etc/rauc/{name}") for name in ("system.conf", "keyring.pem")]
        )
        engine = archive.extractfile("./etc/afero-ota/engine")
        assert engine and engine.read() == b"rauc\n"
        record = archive.extractfile("./etc/full-ota-record.json")
        assert record
        version = json.load(record)
    said = info(payload(build), tmp_path / "etc/rauc/system.conf")
    assert "RAUC_MF_COMPATIBLE=qemuarm" in said
    assert f"RAUC_MF_VERSION={version['version']}" in said
    assert f"RAUC_MF_BUILD={version['versionNumber']}" in said
    assert f"RAUC_IMAGE_SIZE_0={image.stat().st_size}" in said
    text = (tmp_path / "etc/rauc/system.conf").read_text()
    assert "device=/dev/mmcblk0p2\n" in text and "use-bundle-signing-time=true" in text


def test_the_signature_is_in_no_shared_state(build: Build) -> None:
    shared = list(build.sstate_dir.rglob("*.tar.zst"))
    assert shared
    for path in shared:
        names = subprocess.run(["tar", "--zstd", "-tf", path], stdout=subprocess.PIPE, text=True, check=True).stdout
        assert "hub_update.bin" not in names and ".raucb" not in names, path.name


def test_a_lost_bundle_is_signed_again_and_its_upload_has_nothing_to_do(
    scarthgap: Workspace, folder: Path, pair: Pair, keyring: Path
) -> None:
    with RunningService() as service:
        service.share()
        account = f'AFERO_OTA_CONF = "{service.conf}"\nAFERO_OTA_BUILD_NUMBER = "1"\n'
        build = rauc_build(scarthgap, folder / "upload", conf(pair, keyring) + account)
        done = build.bitbake("-c", "upload_ota", IMAGE)
        assert done.returncode == 0, done.output
        first = payload(build).read_bytes()
        assert build.bitbake("-c", "cleansstate", IMAGE, "afero-ota-bundle").returncode == 0
        done = build.bitbake("-c", "upload_ota", IMAGE)
        assert done.returncode == 0, done.output
        assert "nothing to do, uploaded before" in done.output
        assert payload(build).read_bytes() != first


CANARY = "canary-pin-31415926"
MODULE = "/usr/lib/softhsm/libsofthsm2.so"


@pytest.fixture(scope="module")
def token(scarthgap: Workspace, folder: Path, pair: Pair) -> Path:
    """The settings of SoftHSM, with a token that has the key of the owner."""
    settings, place = folder / "softhsm2.conf", folder / "tokens"
    place.mkdir()
    settings.write_text(f"directories.tokendir = {place}\nobjectstore.backend = file\n")
    softhsm = {**os.environ, "SOFTHSM2_CONF": str(settings)}
    common = ("--token", "owner", "--pin", CANARY)
    for command in (
        ("--init-token", "--free", "--label", "owner", "--so-pin", "12345678", "--pin", CANARY),
        ("--import", str(pair.key), *common, "--label", "release", "--id", "01"),
    ):
        subprocess.run(["softhsm2-util", *command], env=softhsm, check=True, capture_output=True)
    for path in (place, *place.rglob("*")):
        os.chown(path, scarthgap.user.pw_uid, scarthgap.user.pw_gid)
    return settings


def on_token(
    pair: Pair, keyring: Path, token: Path, uri: str = "pkcs11:token=owner;object=release;type=private"
) -> str:
    more = f'AFERO_OTA_SIGN_MODULE = "{MODULE}"\nexport SOFTHSM2_CONF = "{token}"\n'
    return conf(pair, keyring, uri) + more


@pytest.fixture(scope="module")
def with_token(scarthgap: Workspace, folder: Path, pair: Pair, keyring: Path, token: Path) -> Build:
    return rauc_build(scarthgap, folder / "token", on_token(pair, keyring, token))


def test_a_token_signs_and_its_pin_is_found_nowhere(with_token: Build, pair: Pair) -> None:
    env = {"AFERO_OTA_SIGN_PIN": CANARY}
    done = with_token.bitbake(IMAGE, env=env)
    assert done.returncode == 0, done.output
    outputs = [done.output, with_token.bitbake("-e", IMAGE, env=env).output]
    outputs.append(with_token.bitbake("-e", "afero-ota-bundle", env=env).output)
    secrets = (CANARY, pair.key.read_text().splitlines()[5])
    for secret in secrets:
        assert all(secret not in output for output in outputs)
        found = subprocess.run(["grep", "-rlaF", secret, with_token.folder], stdout=subprocess.PIPE, text=True)
        assert found.stdout == ""
    # archives and signature files are compressed
    for file in [*with_token.sstate_dir.rglob("*.zst"), *with_token.tmpdir.rglob("*.sig*")]:
        content = subprocess.run(["zstdcat", "-f", file], stdout=subprocess.PIPE).stdout
        assert not any(secret.encode() in content for secret in secrets)


@pytest.mark.parametrize(
    ("uri", "pin", "said"),
    [
        ("pkcs11:token=owner;object=release;type=private", "wrong-pin-27182818", "the token refuses the PIN"),
        ("pkcs11:token=owner;object=release;type=private", "", "the token asks for a PIN"),
        ("pkcs11:token=nobody;object=release;type=private", CANARY, "no token has this key"),
    ],
)
def test_a_token_that_cannot_sign_says_why_and_leaves_nothing(
    with_token: Build, pair: Pair, keyring: Path, token: Path, uri: str, pin: str, said: str
) -> None:
    with_token.local_conf = CONF + on_token(pair, keyring, token, uri)
    done = with_token.bitbake("-f", "-c", "bundle", "afero-ota-bundle", env={"AFERO_OTA_SIGN_PIN": pin})
    assert done.returncode != 0
    assert said in done.output
    assert not pin or pin not in done.output
    assert "Traceback" not in done.output
    assert list(with_token.tmpdir.glob("work/*/afero-ota-bundle/*/build/*")) == []


def test_faults_of_key_certificate_and_keyring_stop_the_build_before_its_first_task(
    with_token: Build, pair: Pair, keyring: Path, folder: Path
) -> None:
    other = keys.make(folder, "other")
    lines = conf(pair, keyring)
    for local_conf, said in (
        (conf(Pair(other.key, pair.cert), keyring), "does not belong to"),
        (conf(other, keyring), "no device would accept the signature"),
        (conf(keys.expired(folder, "expired"), keyring), "has expired on"),
        ('AFERO_OTA_KEYRING = ""\n', "AFERO_OTA_SIGN_KEY: not set"),
        (lines + 'AFERO_OTA_ENGINE = "swupdate"\n', 'is "swupdate", expected tar or rauc'),
        (lines + 'AFERO_OTA_BUNDLE_IMAGE = "other-image"\n', f"does not hold {IMAGE}"),
        (lines + 'AFERO_OTA_AB = "0"\n', "is rauc, which needs two slots"),
    ):
        with_token.local_conf = CONF + local_conf
        done = with_token.bitbake(IMAGE)
        assert done.returncode != 0 and done.tasks == set(), done.output
        assert said in done.output, done.output
