"""One prediction held against what is true of its record (stage 4).

Gold is every code in state positive. Codes in state unknown are masked: taken out of gold,
suggestions and ranking before anything is counted; so are, on a record whose unlisted codes are
unknown, all that it does not list. What many judgements are worth together is not known here.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from clinical_coding.codes import CodeState
from clinical_coding.predictions import Prediction
from clinical_coding.records import CodedRecord, Unlisted
from clinical_coding.slices import slice_values
from clinical_coding.visit_levels import level_of

__all__ = ["Outcome", "Truth", "judge"]

_TOP: Final = 8


@dataclass(frozen=True, slots=True)
class Truth:
    """What is known of one record's codes; it holds no note."""

    gold: frozenset[str]
    unknown: frozenset[str]
    listed: frozenset[str] | None
    """The only codes of which anything is known; null where all but the unknown ones are."""
    slices: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, record: CodedRecord, *, dimensions: Sequence[str] = ()) -> Self:
        """Take from a record what predictions are compared with."""
        gold = record.keys()
        return cls(
            gold=gold,
            # One code may stand twice, with different modifiers; known gold outweighs unknown.
            unknown=record.keys(CodeState.UNKNOWN) - gold,
            listed=gold | record.keys(CodeState.NEGATIVE) if record.unlisted is Unlisted.UNKNOWN else None,
            slices=slice_values(record.encounter, dimensions=dimensions),
        )

    def knows(self, key: str) -> bool:
        """Say whether a code is judged on this record, or masked."""
        return key not in self.unknown and (self.listed is None or key in self.listed)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One record under one version."""

    gold: frozenset[str]
    suggested: frozenset[str]
    average_precision: float
    """0 where there is no gold."""
    precision_at_8: float
    levels: Counter[str]
    """Of gold visit codes: how many are right, over, under, missed."""


def judge(truth: Truth, prediction: Prediction) -> Outcome:
    """Hold a prediction against the truth."""
    ranked = [(key, code.suggested) for code in prediction.codes if truth.knows(key := code.key)]
    ranks = [rank for rank, (key, _) in enumerate(ranked, start=1) if key in truth.gold]
    suggested = [key for key, is_suggested in ranked if is_suggested]
    precisions = sum(hits / rank for hits, rank in enumerate(ranks, start=1))
    return Outcome(
        gold=truth.gold,
        suggested=frozenset(suggested),
        average_precision=precisions / len(truth.gold) if truth.gold else 0.0,
        precision_at_8=sum(rank <= _TOP for rank in ranks) / _TOP,
        levels=Counter(
            _judge_level(*place, key=key, suggested=suggested) for key in truth.gold if (place := level_of(key))
        ),
    )


def _judge_level(family: str, level: int, *, key: str, suggested: list[str]) -> str:
    """Compare a gold visit code with the first suggested one of its family."""
    if key in suggested:
        return "right"
    for other in suggested:
        place = level_of(other)
        if place and place[0] == family:
            return "over" if place[1] > level else "under"
    return "missed"
