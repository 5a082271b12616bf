"""The channel to a Triton with TLS, against a gRPC server with a certificate of its own."""

import datetime
import ipaddress
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

pytest.importorskip("tritonclient.grpc")

from serving.backends import BackendUnavailableError
from serving.triton.client import TritonBackend
from serving.triton.config import TritonTls


class Metadata(grpc.GenericRpcHandler):
    """Answers every call as a server that is called ``mine``."""

    def service(self, details: Any) -> Any:
        from tritonclient.grpc import service_pb2

        return grpc.unary_unary_rpc_method_handler(
            lambda _, __: service_pb2.ServerMetadataResponse(name="mine"),
            response_serializer=service_pb2.ServerMetadataResponse.SerializeToString,
        )


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that signs itself, and its key."""
    folder.mkdir()
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "certificate.pem", folder / "key.pem"


def test_only_a_server_that_is_vouched_for_gets_notes(tmp_path: Path, run: Callable[..., Any]) -> None:
    certificate, key = make_certificate(tmp_path / "server")
    other, _ = make_certificate(tmp_path / "other")
    server = grpc.server(ThreadPoolExecutor(1), handlers=[Metadata()])
    pair = (key.read_bytes(), certificate.read_bytes())
    # Who comes must show a certificate too.
    credentials = grpc.ssl_server_credentials([pair], certificate.read_bytes(), require_client_auth=True)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()

    async def name(tls: TritonTls | None) -> str:
        backend = TritonBackend(f"127.0.0.1:{port}", version=1, labels=(), bundle_sha256="0" * 64, tls=tls)
        try:
            return await backend.server_id(timeout_seconds=5)
        finally:
            await backend.close()

    try:
        ours = TritonTls(root_certificates=certificate, certificate=certificate, key=key)
        assert run(name(ours)) == "mine"
        strangers = (ours.model_copy(update={"root_certificates": other}), TritonTls(root_certificates=certificate))
        for tls in (*strangers, None):
            with pytest.raises(BackendUnavailableError):
                run(name(tls))
    finally:
        server.stop(None)


def test_files_are_checked_before_anything_is_sent(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"TLS file .*none\.pem cannot be read; name a PEM file"):
        TritonTls(root_certificates=tmp_path / "none.pem").check()
    with pytest.raises(ValueError, match="certificate and key go together"):
        TritonTls(root_certificates=tmp_path / "ca.pem", key=tmp_path / "key.pem")
