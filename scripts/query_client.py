"""The typed client of the gateway's physician queries, which ``chartloop queries`` uses."""

from typing import Any
from urllib.parse import quote, urlencode

from feedback.query_life import CloseReason, Closing, QueryAnswer, QueryLife, QueryPage, QueryState, QueryView
from serving.client import Client

__all__ = ["QueryClient"]

_PATH = "/v1/queries"


class QueryClient(Client):
    """The gateway's client, for physician queries too. Each call raises as the others do."""

    def queries(
        self, *, state: QueryState | None, suggestion_id: str | None, after: str | None, limit: int
    ) -> QueryPage:
        """List queries, the one that was drafted first at the top."""
        wanted: dict[str, Any] = {"state": state, "suggestion_id": suggestion_id, "after": after, "limit": limit}
        chosen = urlencode({name: value for name, value in wanted.items() if value is not None})
        return QueryPage.model_validate_json(self._get(f"{_PATH}?{chosen}"))

    def query(self, query_id: str) -> QueryView:
        """Read a query with its words."""
        return QueryView.model_validate_json(self._get(_path(query_id)))

    def send_query(self, query_id: str) -> QueryLife:
        """Note that a query goes to the physician."""
        return QueryLife.model_validate_json(self._post(f"{_path(query_id)}/send", ""))

    def answer_query(self, query_id: str, answer: QueryAnswer, *, idempotency_key: str) -> QueryLife:
        """Enter the physician's answer; stored exactly once.

        Args:
            query_id: Of a query that was sent.
            answer: What the physician answered.
            idempotency_key: The same for each attempt to send this answer.
        """
        content, key = answer.model_dump_json(exclude_none=True), {"Idempotency-Key": idempotency_key}
        return QueryLife.model_validate_json(self._post(f"{_path(query_id)}/answer", content, **key))

    def close_query(self, query_id: str, *, reason: CloseReason) -> QueryLife:
        """Close a query for good."""
        content = Closing(reason=reason).model_dump_json()
        return QueryLife.model_validate_json(self._post(f"{_path(query_id)}/close", content))


def _path(query_id: str) -> str:
    return f"{_PATH}/{quote(query_id, safe='')}"
