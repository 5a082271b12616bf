"""History through review and routing anew: coded records, each with what a version says of it.

Several processes share the work. Nothing is stored, and nothing of a note leaves the process that read it.
"""

import multiprocessing
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from itertools import islice
from typing import Final

from clinical_coding.artefact import new_id
from clinical_coding.predictions import Prediction
from clinical_coding.records import CodedRecord
from clinical_coding.suggestions import SuggestionRequest
from serving.gateway.reviewing import read_notes, review, routing_facts
from serving.gateway.rules import AnswerRules
from serving.routing import Router, fired_rules
from serving.routing.history import PastEncounter, Segment

__all__ = ["replay"]

_ENCOUNTERS_A_TASK: Final = 64
# Given to forked processes whole: the releases that rules know are too large to send.
_shared: "_Replayer | None" = None


class _Replayer:
    def __init__(self, rules: AnswerRules, *, policies: Sequence[Router], on: date) -> None:
        self._rules = rules
        self._policies = tuple(policies)
        self._on = on

    def replay(self, record: CodedRecord, prediction: Prediction) -> PastEncounter:
        request = SuggestionRequest(record_id=record.record_id, encounter=record.encounter, notes=record.notes)
        read = read_notes(record.notes)
        reviewed = review(request, prediction.codes, read=read, rules=self._rules, suggestion_id=new_id())
        suggested = {code.key for code in reviewed.codes if code.suggested}
        right = record.keys()
        fired = []
        for router in self._policies:
            facts = routing_facts(request, reviewed, read=read, router=router, on=self._on)
            fired.append(tuple(fired_rules(facts, router.rules)))
        return PastEncounter(
            segment=Segment.of(record.encounter),
            fired=tuple(fired),
            num_suggested=len(suggested),
            num_wrong=len(suggested - right),
            num_missed=len(right - suggested),
        )


def replay(
    pairs: Iterable[tuple[CodedRecord, Prediction]],
    *,
    rules: AnswerRules,
    policies: Sequence[Router],
    on: date,
    num_processes: int,
) -> Iterator[PastEncounter]:
    """Review and route each record of a history.

    Args:
        pairs: Records whose codes are known to be right, each with what a version says of it.
        rules: What codes are judged by.
        policies: Each is applied to the same reviewed codes.
        on: The day of routing.
        num_processes: That share the work.

    Yields:
        In the order of the records.
    """
    global _shared
    _shared = _Replayer(rules, policies=policies, on=on)
    try:
        with multiprocessing.get_context("fork").Pool(num_processes) as pool:
            for done in pool.imap(_replay_all, _parts(pairs)):
                yield from done
    finally:
        _shared = None


def _replay_all(part: Sequence[tuple[CodedRecord, Prediction]]) -> list[PastEncounter]:
    assert _shared is not None, "set before the processes are forked"
    return [_shared.replay(record, prediction) for record, prediction in part]


def _parts(
    pairs: Iterable[tuple[CodedRecord, Prediction]],
) -> Iterator[list[tuple[CodedRecord, Prediction]]]:
    stream = iter(pairs)
    while part := list(islice(stream, _ENCOUNTERS_A_TASK)):
        yield part
