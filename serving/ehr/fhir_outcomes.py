"""Problems told as FHIR tells them: OperationOutcomes, on the paths where FHIR is spoken.

Whichever layer refused, the client reads one form. It repeats the problem, which repeats nothing of the request.
"""

import json
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["FHIR_JSON", "FHIR_PREFIX", "OutcomeMiddleware", "outcome_responses"]

FHIR_JSON: Final = "application/fhir+json"
FHIR_PREFIX: Final = "/v1/fhir/"
_PROBLEM: Final = b"application/problem+json"
# Of the value set issue-type.
_ISSUES: Final = {
    400: "structure",
    401: "login",
    403: "forbidden",
    404: "not-found",
    405: "not-supported",
    408: "timeout",
    409: "conflict",
    410: "deleted",
    412: "required",
    413: "too-long",
    415: "not-supported",
    422: "invalid",
    429: "throttled",
    503: "transient",
    504: "timeout",
}


class OutcomeMiddleware:
    """Turns problems into OperationOutcomes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or not scope["path"].startswith(FHIR_PREFIX):
            await self._app(scope, receive, send)
            return
        start: Message | None = None
        body = bytearray()

        async def translate(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start" and _is_problem(message):
                start = message
                return
            if start is None or message["type"] != "http.response.body":
                await send(message)
                return
            body.extend(message.get("body", b""))
            if not message.get("more_body", False):
                written = _translate(bytes(body), status=start["status"])
                await send({**start, "headers": _headers(start, size=len(written))})
                await send({"type": "http.response.body", "body": written})

        await self._app(scope, receive, translate)


def outcome_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the problems that an endpoint may answer, for OpenAPI."""
    schema = {"type": "object", "required": ["resourceType", "issue"]}
    return {
        status: {"description": "An OperationOutcome says why.", "content": {FHIR_JSON: {"schema": schema}}}
        for status in statuses
    }


def _is_problem(message: Message) -> bool:
    headers: dict[bytes, bytes] = dict(message["headers"])
    return headers.get(b"content-type", b"").startswith(_PROBLEM)


def _translate(body: bytes, *, status: int) -> bytes:
    problem = json.loads(body)
    shared = {"severity": "error", "code": _ISSUES.get(status, "exception"), "details": {"text": problem["title"]}}
    faults = problem.get("errors") or [{"message": problem["detail"]}]
    issues = [
        {**shared, "diagnostics": f"{fault['message']}. {problem['remedy']}"}
        | ({"expression": [fault["field"]]} if "field" in fault else {})
        for fault in faults
    ]
    return json.dumps({"resourceType": "OperationOutcome", "issue": issues}).encode()


def _headers(start: Message, *, size: int) -> list[tuple[bytes, bytes]]:
    kept = [(name, value) for name, value in start["headers"] if name not in (b"content-type", b"content-length")]
    return [*kept, (b"content-type", FHIR_JSON.encode()), (b"content-length", str(size).encode())]
