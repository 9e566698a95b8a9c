# SPDX-License-Identifier: MIT
"""The client over TLS: a certificate that is not trusted, and connections that break in the middle of an answer."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from afero_ota import errors
from afero_ota.credentials import Credentials, Secret
from afero_ota.transport import Patience, Transport

ANSWER = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{"value":1}'
NOBODY = Credentials(Secret("username", "me"), Secret("userpw", "pw"), Secret("auth-string", "YTpi"))
IMPATIENT = Patience(connect=5, stall=5, attempts=3, first_pause=0.01, longest_pause=0.02)


class Server:
    """Answers each request with the next of `answers`: True is a good answer, False bytes that are no TLS."""

    def __init__(self, certificate: Path):
        self.answers: list[bool] = []
        self.requests = 0
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return  # closed
            # the client hangs up when it does not trust the certificate
            with plain, contextlib.suppress(ssl.SSLError):
                self._answer(plain)

    def _answer(self, plain: socket.socket) -> None:
        with self._context.wrap_socket(plain, server_side=True) as secure:
            head = secure.recv(65536)
            while b"\r\n\r\n" not in head:
                head += secure.recv(65536)
            self.requests += 1
            if self.answers.pop(0):
                secure.sendall(ANSWER)
            else:
                with socket.socket(fileno=secure.detach()) as raw:
                    raw.sendall(b"these bytes are no record of TLS")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate of 127.0.0.1 that is its own authority."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.timezone.utc)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(
        now + datetime.timedelta(days=1)
    )
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    signed = builder.add_extension(address, critical=False).sign(key, hashes.SHA256())
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def server(certificate: Path) -> Iterator[Server]:
    running = Server(certificate)
    yield running
    running.close()


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))


def test_a_certificate_that_is_not_trusted_ends_the_call_at_once(server: Server) -> None:
    with pytest.raises(errors.NetworkError, match="certificate verify failed.*Check the CA certificates"):
        Transport(server.url, NOBODY, IMPATIENT).call("GET", "/", authorization="x")
    assert server.requests == 0


@pytest.mark.usefixtures("trusted")
def test_a_call_is_repeated_if_its_answer_breaks_off(server: Server) -> None:
    server.answers = [False, False, True]
    assert Transport(server.url, NOBODY, IMPATIENT).call("GET", "/", authorization="x") == {"value": 1}
    assert server.requests == 3


@pytest.mark.usefixtures("trusted")
def test_a_push_is_not_repeated_if_its_answer_breaks_off_and_its_outcome_is_unknown(server: Server) -> None:
    server.answers = [False, True]
    with pytest.raises(errors.UnknownOutcomeError):
        Transport(server.url, NOBODY, IMPATIENT).call("PUT", "/", json={}, authorization="x", repeatable=False)
    assert server.requests == 1


def test_a_missing_ca_bundle_is_named(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem")
    with pytest.raises(errors.OtaError, match="/nowhere/ca.pem"):
        Transport(server.url, NOBODY, IMPATIENT).call("GET", "/", authorization="x")
