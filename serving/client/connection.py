"""How the client talks: one address, one key, and retries where sending twice is the same as once."""

import random
import time
from dataclasses import dataclass
from typing import Any, Final, Self
from urllib.parse import urlsplit

import httpx

from serving.client.errors import ConnectionBrokenError, GatewayError, GatewayUnreachableError, RequestRefusedError

__all__ = ["Connection", "Patience", "refusal"]

_LOOPBACK: Final = {"127.0.0.1", "localhost", "::1"}
_PASSING: Final = (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE)
_DEFAULT_RETRY_SECONDS: Final = 1.0
# So that those who were refused together do not come back together.
_JITTER_SHARE: Final = 0.25


@dataclass(frozen=True, slots=True)
class Patience:
    """How often, and for how long, to come back after a gateway that is busy or restarts."""

    max_retries: int = 3
    """Attempts after the first."""
    max_wait_seconds: float = 30.0
    """Longest pause before an attempt; a gateway that names a longer one is not waited for."""


class Connection:
    """A connection to one gateway with one key. Use it as a context manager."""

    def __init__(
        self, base_url: str, key: str, *, timeout_seconds: float = 30.0, patience: Patience | None = None
    ) -> None:
        """Describe the connection; nothing is sent yet.

        Args:
            base_url: ``http://127.0.0.1:8080``.
            key: What ``chartloop keys create`` printed, or the content of ``keys/local.key``.
            timeout_seconds: How long to wait for an answer.
            patience: When to try again what is refused for the moment; ``Patience()`` when None.
        """
        # A proxy of the environment must not carry notes that are meant for this machine.
        trust_env = urlsplit(base_url).hostname not in _LOOPBACK
        headers = {"Authorization": f"Bearer {key}"}
        self._base_url = base_url
        self._timeout_seconds = timeout_seconds
        self._patience = patience or Patience()
        self._http = httpx.Client(base_url=base_url, headers=headers, timeout=timeout_seconds, trust_env=trust_env)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def _post(self, path: str, content: str | bytes, *, media_type: str = "application/json", **headers: str) -> bytes:
        # Without a key of its own, the same request sent twice may be done twice.
        is_safe = "Idempotency-Key" in headers
        response = self._send_patiently(
            "POST", path, is_safe=is_safe, content=content, headers={"Content-Type": media_type} | headers
        )
        return response.content

    def _get(self, path: str) -> bytes:
        return self._send_patiently("GET", path, is_safe=True).content

    def _send_patiently(self, method: str, path: str, *, is_safe: bool, **content: Any) -> httpx.Response:
        num_left = self._patience.max_retries if is_safe else 0
        while True:
            error: GatewayError
            pause_seconds = _DEFAULT_RETRY_SECONDS
            try:
                response = self._send(method, path, **content)
                if not response.is_error:
                    return response
                error = refused = refusal(response)
                pause_seconds = refused.retry_after_seconds or pause_seconds
                is_passing = response.status_code in _PASSING and pause_seconds <= self._patience.max_wait_seconds
            except ConnectionBrokenError as broken:
                # A gateway that restarts ends its connections; another may take its place.
                error, is_passing = broken, True
            if not num_left or not is_passing:
                raise error
            num_left -= 1
            time.sleep(pause_seconds * (1 + _JITTER_SHARE * random.random()))

    def _send(self, method: str, path: str, **content: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **content)
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
            raise ConnectionBrokenError(f"the connection to {self._base_url} broke; try again") from None
        except httpx.TimeoutException:
            raise GatewayUnreachableError(f"{self._base_url} did not answer in time; try again") from None
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise GatewayUnreachableError(
                f"no gateway answers at {self._base_url} ({type(error).__name__}); start one with `chartloop serve`"
            ) from None


def refusal(response: httpx.Response) -> RequestRefusedError:
    """Read the problem that an answer tells."""
    try:
        problem = response.json()
        told = {name: str(problem[name]) for name in ("title", "detail", "remedy")}
    except (ValueError, KeyError, TypeError):
        # Something between us and the gateway answered.
        title, remedy = response.reason_phrase or "refused", "Check the address and what stands before it."
        told = {"title": title, "detail": "the answer is not the gateway's", "remedy": remedy}
    wait = response.headers.get("retry-after", "")
    return RequestRefusedError(
        status=response.status_code, retry_after_seconds=float(wait) if wait.isdigit() else None, **told
    )
