"""Tells the embedded Triton which versions to serve, while it serves (stage 6).

Triton compares what it is told with what it runs: where only the served versions differ, those that
stay are not touched. A version that fails to load changes nothing for the others. What was told
lasts until files change, so all that is to be served is named each time. This module knows nothing
of processes and gateways.
"""

import secrets
from typing import Final

from serving.backends import BackendUnavailableError
from serving.triton.config import ModelConfig, TritonTls
from serving.triton.connecting import connect

try:
    from tritonclient.utils import InferenceServerException
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("the Triton client needs tritonclient; install chartloop[triton-client]") from error

__all__ = ["TritonControl"]

_KEY_NAME: Final = "key"
# With these a caller maps shared memory or writes files: nobody needs them, so that their key is kept nowhere.
_CLOSED_PROTOCOLS: Final = "shared-memory,trace,logging"
_LOADING: Final = "model-repository"


class TritonControl:
    """The right to load and drop versions of one Triton.

    Of the embedded one nobody else has it; but users of this machine may read its key off the command line.
    """

    def __init__(self, address: str, *, key: str | None, tls: TritonTls | None = None) -> None:
        """Describe it.

        Args:
            address: ``host:port`` of the gRPC endpoint.
            key: What the server wants to hear before it loads; None where it takes orders from anybody.
            tls: Of the channel; in the clear when None.
        """
        self._address = address
        self._key = key
        self._tls = tls

    @classmethod
    def of_embedded(cls, address: str) -> "TritonControl":
        """The right over a server that is started with its ``flags``."""
        return cls(address, key=secrets.token_hex(16))

    def flags(self) -> list[str]:
        """What the server is started with, so that it takes orders from here alone."""
        return [
            f"--grpc-restricted-protocol={_LOADING}:{_KEY_NAME}={self._key}",
            f"--grpc-restricted-protocol={_CLOSED_PROTOCOLS}:{_KEY_NAME}={secrets.token_hex(16)}",
        ]

    async def serve(self, config: ModelConfig, *, timeout_seconds: float) -> None:
        """Make Triton serve exactly the versions that the configuration names; return when new ones are loaded.

        A version that is no longer named takes no further request, finishes those that it has, and goes.

        Args:
            config: What the server was started with, but for the versions.
            timeout_seconds: How long loading may take.

        Raises:
            BackendUnavailableError: Triton does not answer, or a version did not load; its log says why.
        """
        client = connect(self._address, tls=self._tls, options=[("grpc.enable_http_proxy", 0)])
        headers = {f"triton-grpc-protocol-{_KEY_NAME}": self._key} if self._key else None
        try:
            await client.load_model(
                config.name,
                headers=headers,
                config=config.to_json(),
                client_timeout=timeout_seconds,
            )
        except InferenceServerException as error:
            # Its message may quote a file of the bundle, but no note; the log has it, and this says which it is.
            raise BackendUnavailableError(
                f"Triton did not load versions {', '.join(map(str, config.versions))} of {config.name} "
                f"({error.status() or 'no status'})"
            ) from None
        finally:
            await client.close()
