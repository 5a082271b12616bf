"""Tells the embedded Triton which versions to serve, while it serves (stage 6).

Triton compares what it is told with what it runs: where only the served versions differ, those that
stay are not touched. A version that fails to load changes nothing for the others. What was told
lasts until files change, so all that is to be served is named each time. This module knows nothing
of processes and gateways.
"""

import secrets
from typing import Any, Final

from serving.backends import BackendUnavailableError
from serving.triton.config import ModelConfig

try:
    from tritonclient.grpc.aio import InferenceServerClient
    from tritonclient.utils import InferenceServerException
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("the Triton client needs tritonclient; install chartloop[triton]") from error

__all__ = ["TritonControl"]

_KEY_NAME: Final = "key"
# With these a caller maps shared memory or writes files: nobody needs them, so that their key is kept nowhere.
_CLOSED_PROTOCOLS: Final = "shared-memory,trace,logging"
_LOADING: Final = "model-repository"


class TritonControl:
    """The right to load and drop versions of one Triton on loopback, which nobody else has.

    Users of this machine may read the key off the server's command line.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._key = secrets.token_hex(16)

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
        client: Any = InferenceServerClient(self._address, channel_args=[("grpc.enable_http_proxy", 0)])
        try:
            await client.load_model(
                config.name,
                headers={f"triton-grpc-protocol-{_KEY_NAME}": self._key},
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
