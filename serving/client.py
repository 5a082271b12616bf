"""The typed client of the gateway, which ``chartloop suggest`` and ``chartloop decide`` use."""

from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import quote, urlsplit

import httpx

from clinical_coding.artefact import new_id
from clinical_coding.decisions import Decision
from clinical_coding.suggestions import Suggestion, SuggestionRequest

if TYPE_CHECKING:
    from feedback.decision_routes import DecisionAnswer, Decisions, KeptDecision

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
            client.decide(Decision(suggestion_id=suggestion.suggestion_id, seconds_spent=20))
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
        return Suggestion.model_validate_json(self._post("/v1/suggestions", request.model_dump_json(exclude_none=True)))

    def suggestion(self, suggestion_id: str) -> Suggestion:
        """Read back a suggestion as it was answered.

        Raises:
            GatewayUnreachableError: Nobody answered.
            RequestRefusedError: There is none for this key.
        """
        return Suggestion.model_validate_json(self._get(f"/v1/suggestions/{quote(suggestion_id, safe='')}"))

    def decide(self, decision: Decision, *, idempotency_key: str | None = None) -> "DecisionAnswer":
        """Say what became of a suggestion; stored exactly once.

        Args:
            decision: What was decided; suggested codes that it does not mention stand.
            idempotency_key: The same for each attempt to send this decision; a new one when None, with
                which a call that got no answer cannot be repeated safely.

        Raises:
            GatewayUnreachableError: Nobody answered.
            RequestRefusedError: The gateway refused.
        """
        # Late: these come with the endpoints, and who only suggests does without.
        from feedback.decision_routes import DecisionAnswer

        content = decision.model_dump_json(exclude_none=True)
        key = idempotency_key or new_id()
        return DecisionAnswer.model_validate_json(self._post("/v1/decisions", content, **{"Idempotency-Key": key}))

    def decision(self, decision_id: str) -> "KeptDecision":
        """Read back a decision.

        Raises:
            GatewayUnreachableError: Nobody answered.
            RequestRefusedError: There is none for this key.
        """
        from feedback.decision_routes import KeptDecision

        return KeptDecision.model_validate_json(self._get(f"/v1/decisions/{quote(decision_id, safe='')}"))

    def decisions_on(self, suggestion_id: str) -> "Decisions":
        """Read back what was said of a suggestion, oldest first; a coder sees own decisions.

        Raises:
            GatewayUnreachableError: Nobody answered.
            RequestRefusedError: There is no such suggestion.
        """
        from feedback.decision_routes import Decisions

        path = f"/v1/suggestions/{quote(suggestion_id, safe='')}/decisions"
        return Decisions.model_validate_json(self._get(path))

    def ready(self) -> bool:
        """Whether a suggestion would be answered now.

        Raises:
            GatewayUnreachableError: Nobody answered.
        """
        return self._send("GET", "/readyz").status_code == httpx.codes.OK

    def _post(self, path: str, content: str, **headers: str) -> bytes:
        response = self._send("POST", path, content=content, headers={"Content-Type": "application/json"} | headers)
        if response.is_error:
            raise _refusal(response)
        return response.content

    def _get(self, path: str) -> bytes:
        response = self._send("GET", path)
        if response.is_error:
            raise _refusal(response)
        return response.content

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
