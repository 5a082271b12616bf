import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from serving.gateway.headers import SecurityHeadersMiddleware
from serving.listening import Listening


def certify(folder: Path, name: str, encryption: KeySerializationEncryption | None = None) -> tuple[Path, Path]:
    """A certificate that is its own authority, for 127.0.0.1."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    names = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(names)
        .issuer_name(names)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    paths = folder / f"{name}.pem", folder / f"{name}.key"
    paths[0].write_bytes(certificate.public_bytes(Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption()))
    return paths


async def say_scheme(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["scheme"].encode()})


@contextmanager
def listen(listening: Listening) -> Iterator[int]:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind((listening.host, 0))
        listener.listen()
        app = SecurityHeadersMiddleware(say_scheme, hsts_seconds=60)
        server = uvicorn.Server(listening.configure(app, lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


def test_tls_is_spoken_in_its_newer_versions_alone(tmp_path: Path) -> None:
    certificate, key = certify(tmp_path, "gateway")
    trusts = ssl.create_default_context(cafile=str(certificate))
    with listen(Listening(certificate=certificate, key=key)) as port:
        answer = httpx.get(f"https://127.0.0.1:{port}/v1/x", verify=trusts)
        assert answer.text == "https" and answer.headers["strict-transport-security"] == "max-age=60"
        assert "server" not in answer.headers
        old = ssl.create_default_context(cafile=str(certificate))
        old.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning):
            old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"https://127.0.0.1:{port}/", verify=old)
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://127.0.0.1:{port}/")


def test_clients_show_a_certificate_where_it_is_asked_for(tmp_path: Path) -> None:
    certificate, key = certify(tmp_path, "gateway")
    client_ca, client_key = certify(tmp_path, "client")
    with listen(Listening(certificate=certificate, key=key, client_ca=client_ca)) as port:
        trusts = ssl.create_default_context(cafile=str(certificate))
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"https://127.0.0.1:{port}/", verify=trusts)
        trusts.load_cert_chain(client_ca, client_key)
        assert httpx.get(f"https://127.0.0.1:{port}/", verify=trusts).status_code == 200


def test_without_tls_browsers_are_not_bound_to_it() -> None:
    with listen(Listening()) as port:
        answer = httpx.get(f"http://127.0.0.1:{port}/", headers={"X-Forwarded-Proto": "https"})
    assert answer.text == "http" and "strict-transport-security" not in answer.headers


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"host": "0.0.0.0"}, "in the clear; give --tls-certificate"),
        ({"host": "gateway.example"}, "no IP address"),
        ({"host": "::1"}, "not IPv4"),
        ({"certificate": Path("a.pem")}, "go together"),
        ({"client_ca": Path("a.pem")}, "needs --tls-certificate"),
        ({"certificate": Path("none.pem"), "key": Path("none.key")}, "none.pem, none.key cannot be used"),
    ],
)
def test_what_would_send_notes_in_the_clear_is_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Listening(**given).check()


def test_a_key_with_a_password_is_refused_without_asking(tmp_path: Path) -> None:
    certificate, key = certify(tmp_path, "gateway", BestAvailableEncryption(b"secret"))
    with pytest.raises(ValueError, match="no password"):
        Listening(certificate=certificate, key=key).check()


@pytest.mark.parametrize("given", [{}, {"host": "127.0.0.2"}, {"host": "0.0.0.0", "is_behind_tls_proxy": True}])
def test_loopback_and_a_proxy_that_encrypts_are_fine(given: dict[str, Any]) -> None:
    Listening(**given).check()
