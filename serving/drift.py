"""How far the traffic of late is from the records that trained the version that answers (stage 7).

The bundle holds histograms of the training records: tokens a document, codes, best confidence. The same
is counted here over a window of the last suggestions, and the population stability index tells of the
difference. Only counts are kept: no text, no ids. Who is told, and when that is an alarm, is not known here.
"""

import math
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from clinical_coding.predictions import PredictedCode

__all__ = ["Drift", "DriftSettings", "Facet"]

_REST: Final = "other"
# An empty bin would make the index infinite; half an observation is the least that can be told from none.
_PSEUDO_COUNT: Final = 0.5
# Of the training records' shares, for the same reason.
_LEAST_SHARE: Final = 1e-4
_REFERENCE_NAMES: Final = {"input_length": "note_tokens", "code_mix": "codes", "confidence": "best_confidence"}


class Facet(StrEnum):
    """What is compared."""

    INPUT_LENGTH = "input_length"
    """Tokens a document."""
    CODE_MIX = "code_mix"
    """Suggested codes: the most frequent ones of training, and the rest together."""
    CONFIDENCE = "confidence"
    """Of the best code."""


class DriftSettings(BaseModel):
    """How much traffic is compared with training."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    window_suggestions: Annotated[int, Field(ge=1)] = 2000
    """Suggestions of late that are compared."""
    min_suggestions: Annotated[int, Field(ge=1)] = 200
    """Fewer tell nothing: the index is not a number until then."""
    num_codes: Annotated[int, Field(ge=1, le=200)] = 20
    """Most frequent codes of training that are told apart; chance moves the index by about this number over the
    number of codes suggested in the window."""


@dataclass(slots=True)
class _Histogram:
    """Expected shares, and counts of what came."""

    shares: dict[str, float]
    counts: Counter[str]

    def psi(self, num_counted: int) -> float:
        """The population stability index: 0 for the same distribution; above 0.2 is commonly called a shift.

        Source: Siddiqi, Credit Risk Scorecards (2006), chapter 9: the sum of (a - e) * ln(a / e) over bins.
        """
        total = num_counted + _PSEUDO_COUNT * len(self.shares)
        index = 0.0
        for name, expected in self.shares.items():
            actual = (self.counts[name] + _PSEUDO_COUNT) / total
            expected = max(expected, _LEAST_SHARE)
            index += (actual - expected) * math.log(actual / expected)
        return index


class Drift:
    """Counts one version's suggestions. All methods belong to one event loop."""

    def __init__(self, reference: Mapping[str, Mapping[str, float]], *, settings: DriftSettings) -> None:
        """Begin with nothing counted.

        Args:
            reference: The bundle's histograms (``clinical_coding.bundle.Bundle.reference``).
            settings: How much is compared.
        """
        self._settings = settings
        self._histograms: dict[Facet, _Histogram] = {}
        for facet in Facet:
            shares = dict(reference.get(_REFERENCE_NAMES[facet], {}))
            if facet is Facet.CODE_MIX:
                shares = _most_frequent(shares, num_codes=settings.num_codes)
            if shares:
                self._histograms[facet] = _Histogram(shares, Counter())
        self._edges = {facet: _edges(histogram.shares) for facet, histogram in self._histograms.items()}
        self._window: deque[dict[Facet, tuple[str, ...]]] = deque()
        self._num_counted: Counter[Facet] = Counter()
        self._num_suggestions: Counter[Facet] = Counter()

    def count(self, codes: Sequence[PredictedCode], *, num_tokens: int | None) -> None:
        """Count one suggestion.

        Args:
            codes: Ranked, as the model gave them.
            num_tokens: Of its notes, the encoder's special ones left out; None where nobody told.
        """
        seen: dict[Facet, Iterable[str]] = {
            Facet.CODE_MIX: (self._code_bin(code.key) for code in codes if code.suggested)
        }
        if num_tokens is not None:
            seen[Facet.INPUT_LENGTH] = (self._number_bin(Facet.INPUT_LENGTH, num_tokens),)
        if codes:
            seen[Facet.CONFIDENCE] = (self._number_bin(Facet.CONFIDENCE, max(code.confidence for code in codes)),)
        entry = {facet: tuple(bins) for facet, bins in seen.items() if facet in self._histograms}
        self._window.append(entry)
        self._add(entry, sign=1)
        if len(self._window) > self._settings.window_suggestions:
            self._add(self._window.popleft(), sign=-1)

    def values(self) -> dict[Facet, float]:
        """The index of each facet; not a number where too few suggestions were counted, or training told nothing."""
        values = dict.fromkeys(Facet, math.nan)
        for facet, histogram in self._histograms.items():
            if self._num_suggestions[facet] >= self._settings.min_suggestions and self._num_counted[facet]:
                values[facet] = histogram.psi(self._num_counted[facet])
        return values

    def _add(self, entry: Mapping[Facet, tuple[str, ...]], *, sign: int) -> None:
        for facet, bins in entry.items():
            self._num_suggestions[facet] += sign
            self._num_counted[facet] += sign * len(bins)
            for name in bins:
                self._histograms[facet].counts[name] += sign

    def _code_bin(self, key: str) -> str:
        histogram = self._histograms.get(Facet.CODE_MIX)
        return key if histogram is not None and key in histogram.shares else _REST

    def _number_bin(self, facet: Facet, number: float) -> str:
        edges = self._edges.get(facet, [])
        at = bisect_right(edges, number, key=lambda edge: edge[0]) - 1
        return edges[max(at, 0)][1] if edges else _REST


def _most_frequent(shares: Mapping[str, float], *, num_codes: int) -> dict[str, float]:
    """The most frequent codes, and all others as one."""
    ranked = sorted((name for name in shares if name != _REST), key=lambda name: -shares[name])[:num_codes]
    if not ranked:
        return {}
    kept = {name: shares[name] for name in ranked}
    return kept | {_REST: max(0.0, 1.0 - sum(kept.values()))}


def _edges(shares: Mapping[str, float]) -> list[tuple[float, str]]:
    """Lower edges of bins that are named ``0.5+``, ascending."""
    return sorted((float(name.removesuffix("+")), name) for name in shares if name.endswith("+"))
