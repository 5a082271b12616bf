"""What every answer tells browsers and caches: nothing is guessed, framed, kept or passed on.

Source: OWASP REST Security Cheat Sheet.
"""

from collections.abc import Sequence
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["SecurityHeadersMiddleware"]

_PAGES: Final = ("/docs", "/static-offline-docs")
_Headers = Sequence[tuple[bytes, bytes]]
_ALWAYS: Final[_Headers] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
)
_DATA: Final[_Headers] = (
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
)
# The page starts itself by a script in the page.
_PAGE: Final[_Headers] = (
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
        b"img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
)


class SecurityHeadersMiddleware:
    """Adds the headers; what an endpoint says itself stays."""

    def __init__(self, app: ASGIApp, *, hsts_seconds: int) -> None:
        self._app = app
        self._hsts = (b"strict-transport-security", f"max-age={hsts_seconds}".encode()) if hsts_seconds else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        added = [*_ALWAYS, *(_PAGE if scope["path"].startswith(_PAGES) else _DATA)]
        if self._hsts is not None and scope["scheme"] == "https":
            added.append(self._hsts)

        async def send_more(message: Message) -> None:
            if message["type"] == "http.response.start":
                said = {name.lower() for name, _ in message.get("headers", ())}
                message["headers"] = [
                    *message.get("headers", ()),
                    *((name, value) for name, value in added if name not in said),
                ]
            await send(message)

        await self._app(scope, receive, send_more)
