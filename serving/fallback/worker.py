"""The fallback worker process: loads the version's bundle and scores what the gateway sends.

Run by ``serving.fallback.client`` as ``python -m serving.fallback.worker``. What waited while one
batch was scored becomes the next batch, so a lone request never waits for company. The process
ends when the gateway's end of the socket closes, however the gateway ended. Knows no HTTP.
"""

import argparse
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from clinical_coding.records import Note
from serving.backends import Priority, Timings
from serving.fallback.messages import FRAME_HEADER, Answer, Cancel, Failure, Ready, Score, frame, read_to_worker
from serving.garbage_collection import freeze_loaded
from training.model import ScoredPass, Scorer

__all__ = ["main"]

# The forward's first run compiles and allocates; nobody should wait for that.
_WARM_UP: Final = (Note(note_id="warm-up", text="Patient seen for follow-up of hypertension."),)


@dataclass(frozen=True, slots=True)
class _Job:
    number: int
    notes: tuple[Note, ...]
    arrived_at: float
    expires_at: float
    """Both on this process's monotonic clock."""

    @property
    def num_characters(self) -> int:
        return sum(len(note.text) for note in self.notes)


class _Inbox:
    """Jobs in order of arrival, filled by a reader thread that ends the process when the gateway is gone."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._arrived = threading.Condition()
        self._jobs: dict[Priority, deque[_Job]] = {priority: deque() for priority in Priority}
        # Numbers of the jobs that nobody has taken or cancelled; adding to and removing from a set is atomic.
        self._wanted: set[int] = set()
        threading.Thread(target=self._read, name="inbox", daemon=True).start()

    def next_batch(self, *, max_size: int, max_characters: int) -> list[_Job]:
        """Wait for a job, and take with it what else has come, up to the limits; interactive ones first.

        Characters stand in for tokens, so that a long note does not hold up a batch of short ones.
        """
        batch: list[_Job] = []
        room = max_characters
        with self._arrived:
            self._arrived.wait_for(self._next_queue)
            while len(batch) < max_size and (jobs := self._next_queue()):
                room -= jobs[0].num_characters
                if batch and room < 0:
                    break
                batch.append(jobs.popleft())
        return sorted((job for job in batch if self._is_wanted(job)), key=lambda job: job.num_characters)

    def _next_queue(self) -> deque[_Job] | None:
        return next((self._jobs[priority] for priority in Priority if self._jobs[priority]), None)

    def _is_wanted(self, job: _Job) -> bool:
        is_cancelled = job.number not in self._wanted
        self._wanted.discard(job.number)
        return not is_cancelled and time.monotonic() < job.expires_at

    def _read(self) -> None:
        try:
            self._take_all()
        except Exception:
            # A gateway that was killed may leave half a frame, or a reset. The exception may quote notes.
            pass
        finally:
            # The forward may be at work in the main thread, and nobody wants its result any more.
            os._exit(0)

    def _take_all(self) -> None:
        with self._connection.makefile("rb") as stream:
            while header := stream.read(FRAME_HEADER.size):
                if len(header) < FRAME_HEADER.size:
                    break
                message = read_to_worker(stream.read(FRAME_HEADER.unpack(header)[0]))
                if isinstance(message, Cancel):
                    # One that comes too late finds nothing to discard, so the set holds open numbers alone.
                    self._wanted.discard(message.number)
                else:
                    self._wanted.add(message.number)
                    with self._arrived:
                        self._jobs[message.priority].append(_job(message))
                        self._arrived.notify()


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until the gateway is gone.

    Args:
        arguments: The command line; the process's own when None.

    Returns:
        Exit code 1, when the bundle cannot be loaded; otherwise it does not return.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--socket", type=int, required=True, help="file descriptor of the gateway's socket")
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--num-threads", type=int, default=None)
    parser.add_argument("--max-batch-size", type=int, required=True)
    parser.add_argument("--max-batch-characters", type=int, required=True)
    options = parser.parse_args(arguments)
    connection = socket.socket(fileno=options.socket)
    inbox = _Inbox(connection)
    try:
        scorer = Scorer(options.bundle, num_threads=options.num_threads)
        scorer.score([_WARM_UP])
    except Exception as error:
        connection.sendall(frame(_failure(None, error)))
        return 1
    freeze_loaded()
    connection.sendall(frame(Ready(bundle_sha256=scorer.bundle_sha256)))
    while True:
        jobs = inbox.next_batch(max_size=options.max_batch_size, max_characters=options.max_batch_characters)
        for message in _answers(scorer, jobs=jobs):
            connection.sendall(frame(message))


def _answers(scorer: Scorer, *, jobs: Sequence[_Job]) -> Iterator[Answer | Failure]:
    """Score a batch, and give each answer as soon as it is there.

    When that fails, what is left is scored one by one, so that one request cannot fail another's.
    """
    started_at, answered = time.monotonic(), set[int]()
    try:
        for scored in scorer.score_passes([job.notes for job in jobs]):
            for at, position in enumerate(scored.documents):
                answered.add(position)
                yield _answer(jobs[position], scored, at, started_at=started_at)
    except Exception as error:
        if len(jobs) == 1:
            yield _failure(jobs[0].number, error)
            return
        for position, job in enumerate(jobs):
            if position not in answered:
                yield from _answers(scorer, jobs=[job])


def _answer(job: _Job, scored: ScoredPass, at: int, *, started_at: float) -> Answer:
    timings = Timings(
        queued_seconds=started_at - job.arrived_at,
        read_seconds=scored.read_seconds,
        scored_seconds=scored.scored_seconds,
        batch_requests=len(scored.documents),
        batch_tokens=scored.num_tokens,
        padded_tokens=scored.num_computed_tokens,
        num_tokens=scored.document_tokens[at],
    )
    return Answer(number=job.number, codes=scored.codes[at], timings=timings)


def _failure(number: int | None, error: Exception) -> Failure:
    if number is None:
        # No note has been seen yet, so the whole message may be told.
        return Failure(number=None, reason="failed", message=str(error) or type(error).__name__)
    # A library's message may quote the notes; its type cannot.
    reason: Literal["invalid", "failed"] = "invalid" if isinstance(error, ValueError) else "failed"
    return Failure(number=number, reason=reason, message=type(error).__name__)


def _job(message: Score) -> _Job:
    now = time.monotonic()
    return _Job(message.number, message.notes, arrived_at=now, expires_at=now + message.timeout_seconds)


if __name__ == "__main__":
    raise SystemExit(main())
