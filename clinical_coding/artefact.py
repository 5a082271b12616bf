"""What every artefact shares: frozen, strict, versioned, published atomically.

Artefacts are the contracts between packages. A reader meets the schema version it was
written for, or the one before, or refuses with a message that says so.
"""

import hashlib
import json
import os
import secrets
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from pydantic import BaseModel, ConfigDict, ValidationError

__all__ = [
    "Artefact",
    "describe_errors",
    "new_id",
    "publish",
    "publish_folder",
    "publish_path",
    "sha256_of_file",
    "sha256_of_json",
]


class Artefact(BaseModel):
    """Base of every artefact and part of one: immutable; unknown fields and infinite numbers are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


def describe_errors(error: ValidationError) -> str:
    """Say which fields are wrong and why, without repeating any input value.

    Pydantic's own text carries the input, which may be clinical text.

    Args:
        error: What pydantic raised.

    Returns:
        One clause per error, ``field.path: what is wrong``, joined by ``; ``.
    """
    details = error.errors(include_url=False, include_context=False, include_input=False)
    clauses = []
    for detail in details:
        path = ".".join(str(part) for part in detail["loc"]) or "record"
        if path == "schema_version":
            # The type's own words, "Input should be 1", do not say what to do about it.
            detail["msg"] = "only version 1 is read here; read the file with the release of chartloop that wrote it"
        clauses.append(f"{path}: {detail['msg'].removeprefix('Value error, ')}")
    return "; ".join(clauses)


def new_id() -> str:
    """Make an id that nobody else makes: UUID version 7 (RFC 9562, section 5.7).

    Ids made later sort later, which suits an index.
    """
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds & (2**48 - 1)) << 80 | 0x7 << 76 | secrets.randbits(12) << 64
    return str(uuid.UUID(int=value | 0b10 << 62 | secrets.randbits(62)))


def sha256_of_file(path: Path) -> str:
    """Hash a file's bytes without holding them in memory."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_of_json(value: Any) -> str:
    """Hash a JSON-serialisable value in canonical form: sorted keys, no spaces, UTF-8."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


@contextmanager
def publish(path: Path) -> Iterator[IO[str]]:
    """Write a text file that appears whole or not at all.

    Args:
        path: Where the file is to appear. Its folder is made when absent.

    Yields:
        A UTF-8 text stream. When the block raises, nothing appears at ``path``.
    """
    with publish_path(path) as aside, aside.open("w", encoding="utf-8", newline="\n") as stream:
        yield stream


@contextmanager
def publish_path(path: Path) -> Iterator[Path]:
    """Make a file of any kind appear whole or not at all: written aside, fsync, rename.

    Args:
        path: Where the file is to appear. Its folder is made when absent.

    Yields:
        The file to write instead, in the same folder. When the block raises, nothing appears
        at ``path``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    aside = Path(name)
    try:
        yield aside
        os.fsync(descriptor)
        # mkstemp makes 0600; a published artefact follows the process's umask instead.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(aside, 0o666 & ~umask)
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    _fsync(path.parent)


def publish_folder(aside: Path, final: Path) -> None:
    """Let a finished folder appear whole: everything in it is durable before the rename.

    Args:
        aside: The folder, on the same file system.
        final: Where it is to appear; what is there already is replaced.
    """
    for path in [*aside.rglob("*"), aside]:
        _fsync(path)
    if final.exists():
        outdated = final.with_name(f".{final.name}.outdated")
        shutil.rmtree(outdated, ignore_errors=True)
        final.rename(outdated)
        aside.rename(final)
        shutil.rmtree(outdated)
    else:
        aside.rename(final)
    _fsync(final.parent)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
