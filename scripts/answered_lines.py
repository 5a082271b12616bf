"""Answers to many requests, written one a line for a program, and counted for people."""

import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from serving.client import AnsweredLine

__all__ = ["write_answers"]


def write_answers(answered: Iterable["AnsweredLine"]) -> int:
    """Write answers to standard output as they come, and say on standard error how many there were.

    Returns:
        How many requests were refused.
    """
    num_answered, num_failed = 0, 0
    for one in answered:
        told: dict[str, object] = {"line": one.line, "record_id": one.record_id}
        if one.suggestion is not None:
            num_answered += 1
            told["suggestion"] = one.suggestion.model_dump(mode="json")
        elif one.error is not None:
            num_failed += 1
            error = one.error
            told["problem"] = {
                "status": error.status,
                "title": error.title,
                "detail": error.detail,
                "remedy": error.remedy,
            }
        sys.stdout.write(f"{json.dumps(told, ensure_ascii=False)}\n")
        sys.stdout.flush()
    summary = f"{num_answered:,} answered, {num_failed:,} refused"
    Console(stderr=True).print(summary, markup=False, highlight=False)
    return num_failed
