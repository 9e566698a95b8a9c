# SPDX-License-Identifier: MIT
"""The signed header in front of an image on its way to a device.

216 bytes, the first of which is the firmware type, as the am335x `sysupgrade` of Afero's layers expects; the rest of the real
layout is not public, so this one is ours: type, format, two zero bytes, versionNumber and image size (64 bit, little-endian),
SHA-256 of the image, zeros, and an Ed25519 signature of the first 152 bytes.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SIZE = 216
_SIGNED = SIZE - 64
_LAYOUT = struct.Struct("<BBHQQ32s")
_FORMAT = 1


@dataclass(frozen=True)
class Header:
    """What a header says: firmware type, version number, size in bytes and SHA-256 (hexadecimal) of the image."""

    type: int
    version_number: int
    size: int
    sha256: str

    def sign(self, key: Ed25519PrivateKey) -> bytes:
        """The 216 bytes."""
        fields = (self.type, _FORMAT, 0, self.version_number, self.size, bytes.fromhex(self.sha256))
        body = _LAYOUT.pack(*fields).ljust(_SIGNED, b"\0")
        return body + key.sign(body)


def parse(raw: bytes, key: Ed25519PublicKey) -> Header:
    """The header in 216 bytes. Raises ValueError when it is not one, or not signed by this key."""
    if len(raw) != SIZE:
        raise ValueError(f"a header has {SIZE} bytes, not {len(raw)}")
    try:
        key.verify(raw[_SIGNED:], raw[:_SIGNED])
    except InvalidSignature:
        raise ValueError("the header's signature is not the service's") from None
    kind, form, _, number, size, digest = _LAYOUT.unpack_from(raw)
    if form != _FORMAT:
        raise ValueError(f"unknown header format {form}")
    return Header(kind, number, size, digest.hex())


def load_or_make_key(path: Path) -> Ed25519PrivateKey:
    """The private key kept in a file; made on first use."""
    if path.exists():
        key = serialization.load_pem_private_key(path.read_bytes(), None)
        assert isinstance(key, Ed25519PrivateKey)
        return key
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as stream:
        stream.write(pem)
    return key


def public_pem(key: Ed25519PrivateKey) -> bytes:
    """The public half, as PEM."""
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def load_public(pem: bytes) -> Ed25519PublicKey:
    """The public key in a PEM text. Raises ValueError."""
    key = serialization.load_pem_public_key(pem)
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("not an Ed25519 public key")
    return key
