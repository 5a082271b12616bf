"""The typed client of the gateway, which ``chartloop suggest`` uses."""

from typing import Any, Final, Self
from urllib.parse import urlsplit

import httpx

from clinical_coding.suggestions import Suggestion, SuggestionRequest

__all__ = ["Client", "GatewayError", "GatewayUnreachableError", "RequestRefusedError"]

_LOOPBACK: Final = {"127.0.0.1", "localhost", "::1"}


class GatewayError(ValueError):
    """Base of what the client raises.

    ::

        GatewayError
        ├── GatewayUnreachableError   nobody answers there, or not in time
        └── RequestRefusedError       the gateway answered with a problem
    """


class GatewayUnreachableError(GatewayError):
    """No answer came from the address."""


class RequestRefusedError(GatewayError):
    """The gateway refused the request, and says why and what to do."""

    def __init__(self, *, status: int, title: str, detail: str, remedy: str, retry_after_seconds: float | None) -> None:
        super().__init__(f"{title} ({status}): {detail}. {remedy}")
        self.status = status
        self.title = title
        self.detail = detail
        self.remedy = remedy
        self.retry_after_seconds = retry_after_seconds
        """When to come back, where the gateway says so."""


class Client:
    """A connection to one gateway with one key. Use it as a context manager.

    ::

        with Client("http://127.0.0.1:8080", key) as client:
            suggestion = client.suggest(request)
    """

    def __init__(self, base_url: str, key: str, *, timeout_seconds: float = 30.0) -> None:
        """Describe the connection; nothing is sent yet.

        Args:
            base_url: ``http://127.0.0.1:8080``.
            key: What ``chartloop keys create`` printed, or the content of ``keys/local.key``.
            timeout_seconds: How long to wait for an answer.
        """
        # A proxy of the environment must not carry notes that are meant for this machine.
        trust_env = urlsplit(base_url).hostname not in _LOOPBACK
        headers = {"Authorization": f"Bearer {key}"}
        self._base_url = base_url
        self._http = httpx.Client(base_url=base_url, headers=headers, timeout=timeout_seconds, trust_env=trust_env)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def suggest(self, request: SuggestionRequest) -> Suggestion:
        """Ask for the codes of one encounter.

        Raises:
            GatewayUnreachableError: Nobody answered.
            RequestRefusedError: The gateway refused.
        """
        body = request.model_dump_json(exclude_none=True)
        response = self._send("POST", "/v1/suggestions", content=body, headers={"Content-Type": "application/json"})
        if response.is_error:
            raise _refusal(response)
        return Suggestion.model_validate_json(response.content)

    def ready(self) -> bool:
        """Whether a suggestion would be answered now.

        Raises:
            GatewayUnreachableError: Nobody answered.
        """
        return self._send("GET", "/readyz").status_code == httpx.codes.OK

    def _send(self, method: str, path: str, **content: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **content)
        except httpx.TimeoutException:
            raise GatewayUnreachableError(f"{self._base_url} did not answer in time; try again") from None
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise GatewayUnreachableError(
                f"no gateway answers at {self._base_url} ({type(error).__name__}); start one with `chartloop serve`"
            ) from None


def _refusal(response: httpx.Response) -> RequestRefusedError:
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
