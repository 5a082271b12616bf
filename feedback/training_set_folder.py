"""The folder of a training set: what may be replaced, and how it is written aside (stage 10).

It does not know what the records are made of.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from feedback.errors import InvalidError

__all__ = ["MANIFEST", "RECORDS", "aside", "check_replaceable"]

RECORDS: Final = "records.jsonl"
MANIFEST: Final = "manifest.json"


def check_replaceable(out: Path) -> None:
    """See to it that nothing but a training set is ever replaced.

    Raises:
        InvalidError: Something else lies there.
    """
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise InvalidError(f"out {out} is not a folder; name a folder to make")
    if out.is_dir() and not {path.name for path in out.iterdir()} <= {RECORDS, MANIFEST}:
        raise InvalidError(f"out {out} holds other files than a training set; name a folder to make")


@contextmanager
def aside(out: Path) -> Iterator[Path]:
    """A folder beside the final one that only its owner may read, as it holds notes; gone when the block fails.

    Raises:
        InvalidError: It cannot be made.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    except OSError as error:
        raise InvalidError(f"out {out} cannot be made ({error.strerror}); name another folder") from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
