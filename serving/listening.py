"""Where the gateway listens, and how its connections are encrypted.

Beyond this machine it listens only over TLS, its own or that of a proxy in front of it that is said to be
there: notes and keys must not cross a network in the clear.
"""

import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import uvicorn

from serving.claims import HOST
from serving.timed_protocol import TimedH11Protocol

__all__ = ["Listening"]

_MAX_HEADER_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True)
class Listening:
    """An address and its TLS."""

    host: str = HOST
    """An address of this machine, as numbers."""
    certificate: Path | None = None
    """Chain of certificates, PEM."""
    key: Path | None = None
    """Key of the certificate, PEM, without a password."""
    client_ca: Path | None = None
    """Who must have signed the certificate of each client; clients need none when None."""
    is_behind_tls_proxy: bool = False
    """Whether a proxy in front of the gateway encrypts."""

    @property
    def url_scheme(self) -> str:
        """How the address is written."""
        return "http" if self.certificate is None else "https"

    def check(self) -> None:
        """Check the address and read the files.

        Raises:
            ValueError: Something is missing, unreadable, or would send notes in the clear.
        """
        try:
            address = ipaddress.ip_address(self.host)
        except ValueError:
            raise ValueError(f"--host {self.host!r} is no IP address; give one such as 127.0.0.1 or 0.0.0.0") from None
        if address.version != 4:
            raise ValueError(f"--host {self.host} is not IPv4; give an IPv4 address, or put a proxy in front")
        if (self.certificate is None) != (self.key is None):
            raise ValueError("--tls-certificate and --tls-key go together; give both or neither")
        if self.client_ca is not None and self.certificate is None:
            raise ValueError("--tls-client-ca needs --tls-certificate and --tls-key")
        if not (address.is_loopback or self.certificate is not None or self.is_behind_tls_proxy):
            raise ValueError(
                f"--host {self.host} would take keys and notes in the clear; give --tls-certificate and --tls-key, "
                "or --behind-tls-proxy when a proxy in front encrypts"
            )
        self._load()

    def configure(self, app: Any, **options: Any) -> uvicorn.Config:
        """Make the server's configuration.

        Args:
            app: The application.
            options: More of uvicorn's options.
        """
        config = uvicorn.Config(
            app,
            # Named, for uvicorn takes whatever event loop and parser happen to be installed.
            loop="asyncio",
            http=TimedH11Protocol,
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            # What a client says of itself in X-Forwarded headers is believed of nobody.
            proxy_headers=False,
            h11_max_incomplete_event_size=_MAX_HEADER_BYTES,
            **options,
        )
        config.load()
        config.ssl = self._load()
        return config

    def _load(self) -> ssl.SSLContext | None:
        if self.certificate is None or self.key is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            # Without this, a key with a password would make the server ask for it at the terminal.
            context.load_cert_chain(self.certificate, self.key, password="")
            if self.client_ca is not None:
                context.load_verify_locations(self.client_ca)
                context.verify_mode = ssl.CERT_REQUIRED
        except (OSError, ValueError) as error:
            files = f"{self.certificate}, {self.key}" + (f", {self.client_ca}" if self.client_ca else "")
            raise ValueError(
                f"TLS files {files} cannot be used ({type(error).__name__}); they must be readable PEM files that "
                "belong together, and the key must have no password"
            ) from None
        return context
