"""Who may do what: one line for each route of the gateway, and none answers without a line.

The table is compared with the routes when the application is made, so that neither can change alone. Packages
check roles again where the work is done; the roles here are the same. It does not know how a caller is
recognised.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fastapi.routing import iter_route_contexts
from starlette.routing import BaseRoute, Mount, compile_path

from ledger.keys import Scope
from ledger.principals import Role

__all__ = ["ACCESS", "Access", "AccessTable", "Place"]


@dataclass(frozen=True, slots=True)
class Access:
    """What a route takes."""

    roles: frozenset[Role] = frozenset()
    """Who may; anybody where ``is_open``."""
    scope: Scope | None = None
    """What a key that has scopes must have among them."""
    reads_text: bool = False
    """Whether stored clinical text may go out, which the audit log must know first."""
    is_open: bool = False
    """No key is needed."""
    checks_itself: bool = False
    """The route takes another proof than a key of this service, and checks it itself."""


def _line(*roles: Role, scope: Scope, reads_text: bool = False) -> Access:
    return Access(frozenset(roles), scope, reads_text)


_OPEN: Final = Access(is_open=True)
_ASK: Final = (Role.SERVICE, Role.CODER, Role.SUPERVISOR, Role.ADMIN)
_DECIDE: Final = (Role.SERVICE, Role.CODER, Role.SUPERVISOR)
_TRACE: Final = (Role.SERVICE, Role.SUPERVISOR, Role.ADMIN)
_GOVERN: Final = (Role.REVIEWER, Role.ADMIN)
_JUDGE: Final = _line(Role.SUPERVISOR, scope=Scope.ADJUDICATE)
_SEE_CASE: Final = _line(Role.SUPERVISOR, scope=Scope.ADJUDICATE, reads_text=True)
_SEE: Final = _line(*_ASK, scope=Scope.READ, reads_text=True)
# The EHR's own token, of which no key stands behind.
_CDS: Final = Access(frozenset({Role.SERVICE}), Scope.EHR, checks_itself=True)
_METRICS: Final = ("GET", "/metrics")

ACCESS: Final[Mapping[tuple[str, str], Access]] = {
    ("GET", "/docs"): _OPEN,
    ("GET", "/docs/oauth2-redirect"): _OPEN,
    ("GET", "/openapi.json"): _OPEN,
    ("GET", "/static-offline-docs"): _OPEN,
    ("GET", "/healthz"): _OPEN,
    ("GET", "/livez"): _OPEN,
    ("GET", "/readyz"): _OPEN,
    ("GET", "/startupz"): _OPEN,
    _METRICS: _OPEN,
    ("POST", "/v1/suggestions"): _line(*_ASK, scope=Scope.SUGGEST),
    ("POST", "/v1/suggestions/bulk"): _line(*_ASK, scope=Scope.SUGGEST),
    ("GET", "/v1/suggestions/{suggestion_id}"): _SEE,
    ("POST", "/v1/jobs"): _line(*_ASK, scope=Scope.SUGGEST),
    ("GET", "/v1/jobs/{job_id}"): _line(*_ASK, scope=Scope.SUGGEST),
    ("GET", "/v1/jobs/{job_id}/results"): _line(*_ASK, scope=Scope.SUGGEST, reads_text=True),
    ("DELETE", "/v1/jobs/{job_id}"): _line(*_ASK, scope=Scope.SUGGEST),
    ("POST", "/v1/fhir/suggestions"): _line(*_ASK, scope=Scope.EHR),
    ("GET", "/v1/fhir/suggestions/{suggestion_id}"): _line(*_ASK, scope=Scope.EHR, reads_text=True),
    ("GET", "/cds-services"): _OPEN,
    ("POST", "/cds-services/{service}"): _CDS,
    ("POST", "/cds-services/{service}/feedback"): _CDS,
    ("GET", "/v1/queries"): _SEE,
    ("GET", "/v1/queries/{query_id}"): _SEE,
    ("POST", "/v1/queries/{query_id}/send"): _line(*_DECIDE, scope=Scope.QUERY),
    ("POST", "/v1/queries/{query_id}/close"): _line(*_DECIDE, scope=Scope.QUERY),
    ("POST", "/v1/queries/{query_id}/answer"): _line(*_DECIDE, scope=Scope.QUERY),
    ("POST", "/v1/decisions"): _line(*_DECIDE, scope=Scope.DECIDE),
    ("GET", "/v1/decisions/{decision_id}"): _line(*_ASK, scope=Scope.READ),
    ("GET", "/v1/suggestions/{suggestion_id}/decisions"): _line(*_ASK, scope=Scope.READ),
    ("GET", "/v1/overrides"): _line(*_ASK, scope=Scope.READ),
    ("GET", "/v1/cases"): _JUDGE,
    ("POST", "/v1/cases/next"): _SEE_CASE,
    ("GET", "/v1/cases/{case_id}"): _SEE_CASE,
    ("POST", "/v1/cases/{case_id}/claim"): _SEE_CASE,
    ("DELETE", "/v1/cases/{case_id}/claim"): _JUDGE,
    ("POST", "/v1/cases/{case_id}/adjudication"): _JUDGE,
    ("GET", "/v1/adjudications/{adjudication_id}"): _line(*_TRACE, scope=Scope.READ),
    ("GET", "/v1/trace/{identifier}"): _line(*_TRACE, scope=Scope.READ),
    ("GET", "/v1/versions/champion"): _line(*_GOVERN, scope=Scope.GOVERN),
    ("GET", "/v1/promotions"): _line(*_GOVERN, scope=Scope.GOVERN),
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a request goes, before it is read."""

    route: str
    """The pattern of the path."""
    access: Access
    ids: tuple[str, ...]
    """What the path names."""
    endpoint: object
    """What answers there."""


@dataclass(frozen=True, slots=True)
class _Entry:
    pattern: re.Pattern[str]
    route: str
    access: Access
    endpoint: object


class AccessTable:
    """Finds the line of a request."""

    def __init__(
        self, routes: Sequence[BaseRoute], *, lines: Mapping[tuple[str, str], Access] = ACCESS, metrics_need_key: bool
    ) -> None:
        """Compare the lines with the routes.

        Args:
            routes: Of the application.
            lines: By method and pattern of the path.
            metrics_need_key: Whether /metrics takes a key.

        Raises:
            ValueError: A route has no line, or a line no route.
        """
        if metrics_need_key:
            lines = {**lines, _METRICS: _line(Role.SERVICE, Role.ADMIN, scope=Scope.OPERATE)}
        found = _places(routes)
        known = {(method, route) for method, route, *_ in found}
        if known != set(lines):
            without_line = sorted(f"{method} {route}" for method, route in known - set(lines))
            without_route = sorted(f"{method} {route}" for method, route in set(lines) - known)
            raise ValueError(
                f"the access table differs from the routes: without a line: {', '.join(without_line) or 'none'}; "
                f"without a route: {', '.join(without_route) or 'none'}; correct serving/gateway/access.py"
            )
        self.lines: Final = dict(lines)
        self._entries: dict[str, list[_Entry]] = {}
        for method, route, pattern, endpoint in found:
            entry = _Entry(pattern, route, lines[method, route], endpoint)
            self._entries.setdefault(method, []).append(entry)

    def find(self, *, method: str, path: str) -> Place | None:
        """Find where a request goes; None where nothing would answer it."""
        # In the order in which the application looks.
        for entry in self._entries.get("GET" if method == "HEAD" else method, ()):
            match = entry.pattern.match(path)
            if match is not None:
                return Place(entry.route, entry.access, tuple(match.groups()), entry.endpoint)
        return None


def _places(routes: Sequence[BaseRoute]) -> list[tuple[str, str, re.Pattern[str], object]]:
    places: list[tuple[str, str, re.Pattern[str], object]] = []
    for context in iter_route_contexts(routes):
        route = context.path
        if route is None:
            raise ValueError("a route without a path cannot have a line in the access table")
        if isinstance(context.original_route, Mount):
            places.append(("GET", route, context.original_route.path_regex, context.original_route))
            continue
        pattern, _, _ = compile_path(route)
        places += [
            (method, route, pattern, context.endpoint) for method in sorted((context.methods or set()) - {"HEAD"})
        ]
    return places
