"""Opens the gRPC channel to a Triton, in the clear or with TLS."""

from collections.abc import Sequence
from typing import Any

from serving.triton.config import TritonTls

try:
    from tritonclient.grpc.aio import InferenceServerClient
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("the Triton client needs tritonclient; install chartloop[triton-client]") from error

__all__ = ["connect"]


def connect(url: str, *, tls: TritonTls | None, options: Sequence[tuple[str, Any]]) -> Any:
    """Make a client; the channel opens with its first call, in that call's event loop.

    Args:
        url: ``host:port``.
        tls: Certificates; in the clear when None.
        options: Of the channel.
    """
    if tls is None:
        return InferenceServerClient(url, channel_args=list(options))
    named = [("grpc.ssl_target_name_override", tls.server_name)] if tls.server_name else []
    return InferenceServerClient(
        url,
        ssl=True,
        root_certificates=str(tls.root_certificates),
        private_key=str(tls.key) if tls.key else None,
        certificate_chain=str(tls.certificate) if tls.certificate else None,
        channel_args=[*options, *named],
    )
