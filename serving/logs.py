"""Logs for machines: one JSON object a line, of ids, counts and latencies.

Libraries log through here too, and what an exception says may quote a note. So a traceback is
reduced to the exception's type and the lines of code it passed.
"""

import logging
import sys
import traceback
from typing import Any, Final

import structlog
from structlog.types import EventDict, Processor, WrappedLogger

__all__ = ["configure_logs"]

_OURS: Final = "serving"
_MAX_FRAMES: Final = 8


def configure_logs(*, level: str = "INFO") -> None:
    """Send the logs of structlog and of the standard library to standard error, as JSON.

    Args:
        level: The least severe level of our own that is written; of libraries it is WARNING.
    """
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _reduce_exception,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, structlog.processors.JSONRenderer()],
        foreign_pre_chain=shared,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    # What a library says in passing may quote an address or a value, so only its warnings are kept.
    root.setLevel(logging.WARNING)
    logging.getLogger(_OURS).setLevel(level)


def _reduce_exception(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    caught: Any = event.pop("exc_info", None)
    record = event.get("_record")
    if record is not None and record.exc_info:
        caught = record.exc_info
        # The formatter would otherwise append the whole traceback after our line.
        record.exc_info = record.exc_text = None
    if caught is True:
        caught = sys.exc_info()
    error = caught[1] if isinstance(caught, tuple) else caught
    if isinstance(error, BaseException):
        frames = traceback.extract_tb(error.__traceback__)[-_MAX_FRAMES:]
        event["error"] = type(error).__name__
        event["where"] = [f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames]
    return event
