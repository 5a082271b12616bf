"""Lets the web pages of EHRs call the CDS services from a browser, and no other path."""

from collections.abc import Sequence
from typing import Final

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["CdsCorsMiddleware"]

_PREFIX: Final = "/cds-services"


class CdsCorsMiddleware:
    """Answers browsers' preflight requests for allowed origins."""

    def __init__(self, app: ASGIApp, *, origins: Sequence[str]) -> None:
        self._app = app
        self._cors = CORSMiddleware(
            app, allow_origins=origins, allow_methods=["GET", "POST"], allow_headers=["Authorization", "Content-Type"]
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        is_cds = scope["type"] == "http" and scope["path"].startswith(_PREFIX)
        await (self._cors if is_cds else self._app)(scope, receive, send)
