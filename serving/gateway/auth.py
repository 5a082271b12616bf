"""Who asks, and whether they may: asked of every request before a byte of its body is read.

What a route takes is told by ``serving.gateway.access``; endpoints that judge roles themselves do so again.
"""

from collections.abc import Callable
from typing import Final

from fastapi import Request
from sqlalchemy.exc import SQLAlchemyError
from starlette.types import ASGIApp, Receive, Scope, Send

from ledger.principals import Principal, Role
from serving.gateway.access import Access, AccessTable
from serving.gateway.callers import Caller, Callers
from serving.gateway.exchange import API_PREFIX, exchange_of
from serving.gateway.limits import Buckets
from serving.gateway.problems import ProblemError, problem_response, retry_after
from serving.gateway.security_settings import SecuritySettings

__all__ = ["AuthenticationMiddleware", "acting", "check_place", "require"]

_CHALLENGE: Final = 'Bearer realm="chartloop"'
_UNKNOWN: Final = Access()


class AuthenticationMiddleware:
    """Lets a request through to a route only as its line of the access table says."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        callers: Callers,
        table: AccessTable,
        settings: SecuritySettings,
        retry_after_seconds: float,
    ) -> None:
        """Join what decides.

        Args:
            app: What answers.
            callers: Recognise who asks.
            table: Says what each route takes.
            settings: How often one may ask.
            retry_after_seconds: When to come back while the database does not answer.
        """
        self._app = app
        self._callers = callers
        self._table = table
        self._settings = settings
        self._retry_after_seconds = retry_after_seconds
        self._rates = Buckets()
        self._failures = Buckets()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http":
            exchange = exchange_of(scope)
            exchange.place = self._table.find(method=scope["method"], path=scope["path"])
            access = exchange.place.access if exchange.place is not None else _UNKNOWN
            try:
                # Below the interface's path nobody learns without a key which paths there are.
                is_asked = exchange.place is not None or scope["path"].startswith(API_PREFIX)
                if is_asked and not (access.is_open or access.checks_itself):
                    caller = await self._recognise(scope)
                    exchange.principal = caller.principal
                    self._check_rate(caller)
                    if exchange.place is not None:
                        _check_access(caller, access)
            except ProblemError as error:
                response = problem_response(error, trace_id=exchange.trace_id)
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _recognise(self, scope: Scope) -> Caller:
        header = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
        scheme, _, proof = header.partition(" ")
        proof = proof.strip()
        if scheme.lower() != "bearer" or not proof:
            challenge = {"WWW-Authenticate": _CHALLENGE}
            raise ProblemError("no-key", "the header Authorization: Bearer KEY is missing", headers=challenge)
        address = (scope.get("client") or ("unknown", 0))[0]
        self._check_failures(address, proof)
        try:
            caller = await self._callers.find(proof)
        except SQLAlchemyError:
            wait = retry_after(self._retry_after_seconds)
            raise ProblemError("no-database", "the database does not answer", headers=wait) from None
        except ProblemError as error:
            if error.kind == "no-issuer":
                error.headers.update(retry_after(self._retry_after_seconds))
                raise
            self._count_failure(address)
            error.headers["WWW-Authenticate"] = f'{_CHALLENGE}, error="invalid_token"'
            raise
        if caller is None:
            self._count_failure(address)
            challenge = {"WWW-Authenticate": f'{_CHALLENGE}, error="invalid_token"'}
            raise ProblemError("wrong-key", "the key is unknown or revoked, or has expired", headers=challenge)
        return caller

    def _check_failures(self, address: str, proof: str) -> None:
        wait = self._failures.wait_seconds(address, per_minute=self._settings.failures_per_minute)
        # Behind a proxy all come from one address: whoever has a key that was right is not shut out with others.
        if wait > 0 and not self._callers.was_right(proof):
            detail = "too many wrong keys came from this address"
            raise ProblemError("rate-limited", detail, headers=retry_after(wait))

    def _count_failure(self, address: str) -> None:
        self._failures.take(address, per_minute=self._settings.failures_per_minute)

    def _check_rate(self, caller: Caller) -> None:
        per_minute = caller.requests_per_minute or self._settings.requests_per_minute
        wait = self._rates.take(caller.proof_id, per_minute=per_minute)
        if wait > 0:
            detail = f"this key may ask {per_minute:,} times a minute"
            raise ProblemError("rate-limited", detail, headers=retry_after(wait))


def _check_access(caller: Caller, access: Access) -> None:
    if caller.principal.role not in access.roles:
        takes = ", ".join(role for role in Role if role in access.roles)
        detail = f"role {caller.principal.role} may not do this; it takes {takes}"
        raise ProblemError("wrong-role", detail)
    if caller.scopes is not None and access.scope not in caller.scopes:
        raise ProblemError("wrong-scope", f"this takes the scope {access.scope}, which the key has not")


def check_place(request: Request) -> None:
    """Refuse a request that was let in for another route than the one that answers: a dependency of every route."""
    place = exchange_of(request.scope).place
    if place is None or place.endpoint is not request.scope.get("endpoint"):
        raise ProblemError("forbidden", "no line of the access table lets this route answer")


def acting(request: Request) -> Principal:
    """Give the principal, whichever the role: a dependency for endpoints that judge roles themselves."""
    principal = exchange_of(request.scope).principal
    if principal is None:
        raise ProblemError("forbidden", "nobody is known to act here")
    return principal


def require(*roles: Role) -> Callable[[Request], Principal]:
    """Make a dependency that gives the principal, and refuses roles other than these."""

    def principal_of(request: Request) -> Principal:
        principal = acting(request)
        if principal.role not in roles:
            detail = f"role {principal.role} may not do this; it takes {', '.join(roles)}"
            raise ProblemError("wrong-role", detail)
        return principal

    return principal_of
