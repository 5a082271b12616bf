"""Input that cannot be read: kept whole in a rejects file, told in the log, counted against a limit.

Nothing is dropped in silence. The log has file, line and field; only the rejects file, which
lies where the user asked for it and is readable by the user alone, has the line itself.
"""

import json
import logging
import os
from pathlib import Path
from types import TracebackType
from typing import IO, Self

__all__ = ["Rejects"]

logger = logging.getLogger(__name__)


class Rejects:
    """Collects what one reading could not take in.

    Args:
        path: Where to keep rejected lines, one JSON object a line with file, line, reason and raw.
            An existing file is replaced once there is something to write. Null keeps none.
        max_rejects: How many are borne; the next one ends the reading.
    """

    def __init__(self, path: Path | None, *, max_rejects: int) -> None:
        self._path = path
        self._max_rejects = max_rejects
        self._stream: IO[str] | None = None
        self.count = 0

    def add(self, source: Path | str, *, line: int, reason: str, raw: str) -> None:
        """Take note of one line that cannot be read.

        Args:
            source: The file.
            line: Its number in the file, from 1.
            reason: What is wrong, field first, without clinical text.
            raw: The line as it stands.

        Raises:
            ValueError: More lines were rejected than the limit allows.
        """
        self.count += 1
        logger.warning("%s, line %d is not read: %s", source, line, reason)
        if self._path is not None:
            stream = self._open(self._path, source=Path(source))
            json.dump({"file": str(source), "line": line, "reason": reason, "raw": raw}, stream)
            stream.write("\n")
            stream.flush()
        if self.count > self._max_rejects:
            kept = f"; rejected lines are in {self._path}" if self._path else ""
            raise ValueError(
                f"{source}, line {line}: {reason}. Stopped, because only {self._max_rejects} unreadable lines "
                f"are allowed (max_rejects){kept}"
            )

    def _open(self, path: Path, *, source: Path) -> IO[str]:
        if self._stream is None:
            if path.exists() and source.exists() and path.samefile(source):
                raise ValueError(f"rejects file {path} is the file that is read; name another, so that nothing is lost")
            path.parent.mkdir(parents=True, exist_ok=True)
            # Rejected lines are clinical text: nobody else on the machine may read them.
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            self._stream = open(descriptor, "w", encoding="utf-8", newline="\n")
        return self._stream

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            self._stream.close()
        if self.count and error is None:
            logger.warning("%d lines were not read", self.count)
