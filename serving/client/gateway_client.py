"""What can be asked of the gateway, each as one call."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import httpx

from clinical_coding.artefact import new_id
from clinical_coding.decisions import Decision
from clinical_coding.suggestions import Suggestion, SuggestionRequest
from serving.client.answered_line import AnsweredLine, read_answered
from serving.client.chunks import Chunk, cut
from serving.client.connection import Connection
from serving.client.errors import GatewayUnreachableError

if TYPE_CHECKING:
    from feedback.decision_routes import DecisionAnswer, Decisions, KeptDecision
    from serving.gateway.job_routes import JobView

__all__ = ["Client"]

_NDJSON: Final = "application/x-ndjson"
# While one chunk ends, the next keeps the model busy.
_CHUNKS_AT_ONCE: Final = 2
_BULK_TIMEOUT_SECONDS: Final = 600.0
_RESULTS_A_PAGE: Final = 500


class Client(Connection):
    """A connection to one gateway with one key. Use it as a context manager.

    What is refused for the moment, with 429 or 503, is tried again as the gateway says; each attempt carries the
    same idempotency key, so that it is done once. Each call raises ``GatewayUnreachableError`` when nobody
    answers, and ``RequestRefusedError`` when the gateway refuses. ::

        with Client("http://127.0.0.1:8080", key) as client:
            suggestion = client.suggest(request)
            client.decide(Decision(suggestion_id=suggestion.suggestion_id, seconds_spent=20))
    """

    def suggest(
        self,
        request: SuggestionRequest,
        *,
        idempotency_key: str | None = None,
        timeout_seconds: float | None = None,
    ) -> Suggestion:
        """Ask for the codes of one encounter.

        Args:
            request: The encounter with its notes.
            idempotency_key: The same for each attempt to ask this; a new one when None.
            timeout_seconds: How long each attempt is waited for, which the gateway is told, so that it does no
                work in vain; the gateway's own deadline when None.
        """
        headers = {"Idempotency-Key": idempotency_key or new_id()}
        if timeout_seconds is not None:
            headers["X-Request-Timeout-Ms"] = str(max(1, round(1000 * timeout_seconds)))
        content = request.model_dump_json(exclude_none=True)
        return Suggestion.model_validate_json(self._post("/v1/suggestions", content, **headers))

    def suggest_many(
        self, requests: Iterable[SuggestionRequest], *, idempotency_key: str | None = None
    ) -> Iterator[AnsweredLine]:
        """Ask for the codes of many encounters, which are taken from the iterable as there is room.

        Args:
            requests: The encounters; they may be made while others are answered.
            idempotency_key: The same for each attempt to ask these, in the same order; a new one when None.

        Yields:
            What became of each, in order. An encounter that cannot be answered stops no other.
        """
        key = idempotency_key or new_id()
        waiting: deque[Future[list[AnsweredLine]]] = deque()
        with ThreadPoolExecutor(_CHUNKS_AT_ONCE) as threads:
            try:
                for chunk in cut(requests):
                    waiting.append(threads.submit(self._send_chunk, chunk, key=f"{key}:{chunk.num_before}"))
                    if len(waiting) > _CHUNKS_AT_ONCE:
                        yield from waiting.popleft().result()
                while waiting:
                    yield from waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def suggestion(self, suggestion_id: str) -> Suggestion:
        """Read back a suggestion as it was answered."""
        return Suggestion.model_validate_json(self._get(f"/v1/suggestions/{quote(suggestion_id, safe='')}"))

    def submit_job(self, requests: Iterable[SuggestionRequest], *, idempotency_key: str | None = None) -> "JobView":
        """Submit requests that nobody waits for; all are checked first, and kept, or none.

        Args:
            requests: The encounters.
            idempotency_key: The same for each attempt to submit this job; a new one when None.
        """
        # Late: these come with the endpoints, and who only suggests does without.
        from serving.gateway.job_routes import JobView

        content = b"".join(request.model_dump_json(exclude_none=True).encode() + b"\n" for request in requests)
        headers = {"Idempotency-Key": idempotency_key or new_id()}
        return JobView.model_validate_json(self._post("/v1/jobs", content, media_type=_NDJSON, **headers))

    def job(self, job_id: str) -> "JobView":
        """Look how far a job is."""
        from serving.gateway.job_routes import JobView

        return JobView.model_validate_json(self._get(_job_path(job_id)))

    def job_results(self, job_id: str, *, after: int = 0) -> Iterator[AnsweredLine]:
        """Fetch what is done of a job, by line, up to the first item that is not.

        Args:
            job_id: As the submission told it.
            after: The last line that is known already.
        """
        while True:
            path = f"{_job_path(job_id)}/results?after={after}&limit={_RESULTS_A_PAGE}"
            page = list(read_answered(self._get(path).decode().split("\n")))
            yield from page
            if len(page) < _RESULTS_A_PAGE:
                return
            after = page[-1].line

    def cancel_job(self, job_id: str) -> "JobView":
        """Give up what is not done of a job."""
        from serving.gateway.job_routes import JobView

        response = self._send_patiently("DELETE", _job_path(job_id), is_safe=True)
        return JobView.model_validate_json(response.content)

    def decide(self, decision: Decision, *, idempotency_key: str | None = None) -> "DecisionAnswer":
        """Say what became of a suggestion; stored exactly once.

        Args:
            decision: What was decided; suggested codes that it does not mention stand.
            idempotency_key: The same for each attempt to send this decision; a new one when None, with
                which a call that got no answer cannot be repeated safely.
        """
        from feedback.decision_routes import DecisionAnswer

        content = decision.model_dump_json(exclude_none=True)
        key = idempotency_key or new_id()
        return DecisionAnswer.model_validate_json(self._post("/v1/decisions", content, **{"Idempotency-Key": key}))

    def decision(self, decision_id: str) -> "KeptDecision":
        """Read back a decision."""
        from feedback.decision_routes import KeptDecision

        return KeptDecision.model_validate_json(self._get(f"/v1/decisions/{quote(decision_id, safe='')}"))

    def decisions_on(self, suggestion_id: str) -> "Decisions":
        """Read back what was said of a suggestion, oldest first; a coder sees own decisions."""
        from feedback.decision_routes import Decisions

        path = f"/v1/suggestions/{quote(suggestion_id, safe='')}/decisions"
        return Decisions.model_validate_json(self._get(path))

    def ready(self) -> bool:
        """Whether a suggestion would be answered now."""
        return self._send("GET", "/readyz").status_code == httpx.codes.OK

    def _send_chunk(self, chunk: Chunk, *, key: str) -> list[AnsweredLine]:
        """Send a chunk until every line is answered; those that were are answered from the store then."""
        for _ in range(1 + self._patience.max_retries):
            response = self._send_patiently(
                "POST",
                "/v1/suggestions/bulk",
                is_safe=True,
                content=chunk.content,
                headers={"Content-Type": _NDJSON, "Idempotency-Key": key},
                timeout=_BULK_TIMEOUT_SECONDS,
            )
            found = sorted(read_answered(response.text.split("\n")), key=lambda answered: answered.line)
            if len(found) == chunk.num_requests:
                return [replace(answered, line=chunk.num_before + answered.line) for answered in found]
        raise GatewayUnreachableError(f"{self._base_url} ended the stream before every line was answered; try again")


def _job_path(job_id: str) -> str:
    return f"/v1/jobs/{quote(job_id, safe='')}"
