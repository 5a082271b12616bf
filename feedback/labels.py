"""What adjudications teach: from all verdicts on one suggestion to the codes of its training record (stage 10).

A code is positive or negative only where an adjudication says so, and names it. Every other code that
was suggested or decided is listed as unknown, so that nobody's unreviewed word is learnt, the coder's
no more than the model's. It does not know the ledger, notes, patients or splits.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from clinical_coding.codes import Code, CodeState, Provenance, split_key
from clinical_coding.decisions import Adjudication, Verdict
from clinical_coding.records import Unlisted

__all__ = ["Labels", "labels_of"]


@dataclass(frozen=True, slots=True)
class Labels:
    """The codes of one training record."""

    codes: tuple[Code, ...]
    """Sorted by key; positives and negatives name their adjudication."""
    unlisted: Unlisted
    conflicts: tuple[str, ...]
    """Keys that adjudications contradict each other about; they are unknown."""

    @property
    def teaches(self) -> bool:
        """Whether any code is positive or negative."""
        return any(code.state is not CodeState.UNKNOWN for code in self.codes)


def labels_of(adjudications: Iterable[Adjudication], *, named: Iterable[str]) -> Labels:
    """Turn all that supervisors said of one suggestion into labels.

    A later round of a case replaces the earlier ones. A verdict of policy-unclear teaches nothing.
    Where a random audit reached a verdict, the whole encounter was coded: codes that are not listed
    are absent.

    Args:
        adjudications: Those of the override cases and of the audit case, in any order.
        named: Label keys of every code that was suggested or decided.

    Returns:
        The codes and what it means that a code is not among them.
    """
    teaching = [ruling for ruling in _last_rounds(adjudications) if ruling.verdict is not Verdict.POLICY_UNCLEAR]
    stated = _statements(teaching)
    audit = next((ruling for ruling in teaching if ruling.audit_draw_id is not None), None)
    conflicts = _conflicts(stated, audit=audit)
    settled = {
        (code.key, code.modifiers): code
        for key, statements in stated.items()
        if key not in conflicts
        for code in statements[-1]
    }
    looked_at = {code.key for ruling in teaching for code in ruling.codes} | set(named)
    codes = [*settled.values(), *(_unknown(key) for key in looked_at - {key for key, _ in settled})]
    return Labels(
        codes=tuple(sorted(codes, key=lambda code: (code.key, code.modifiers))),
        unlisted=Unlisted.UNKNOWN if audit is None else Unlisted.ABSENT,
        conflicts=tuple(sorted(conflicts)),
    )


def _last_rounds(adjudications: Iterable[Adjudication]) -> list[Adjudication]:
    """The newest round of each case, oldest verdict first."""
    last: dict[str | None, Adjudication] = {}
    for ruling in sorted(adjudications, key=lambda ruling: ruling.round):
        last[ruling.override_id or ruling.audit_draw_id] = ruling
    return sorted(last.values(), key=lambda ruling: (ruling.adjudicated_at, ruling.adjudication_id))


def _statements(teaching: Sequence[Adjudication]) -> dict[str, list[list[Code]]]:
    """By label key, what each adjudication in turn says of it; one code may stand with several modifiers."""
    stated: defaultdict[str, list[list[Code]]] = defaultdict(list)
    for ruling in teaching:
        provenance = Provenance(source="adjudication", adjudication_id=ruling.adjudication_id)
        by_key: defaultdict[str, list[Code]] = defaultdict(list)
        for code in ruling.codes:
            # An adjudicator who leaves a code open says nothing of it.
            if code.state is not CodeState.UNKNOWN:
                by_key[code.key].append(code.model_copy(update={"provenance": provenance}))
        for key, codes in by_key.items():
            stated[key].append(codes)
    return stated


def _conflicts(stated: Mapping[str, list[list[Code]]], *, audit: Adjudication | None) -> set[str]:
    conflicts = {
        key for key, statements in stated.items() if len({code.state for codes in statements for code in codes}) > 1
    }
    if audit is None:
        return conflicts
    # Whoever coded the whole encounter and left a code out contradicts who found it right.
    audited = {code.key for code in audit.codes}
    return conflicts | {
        key
        for key, statements in stated.items()
        if key not in audited and statements[-1][0].state is CodeState.POSITIVE
    }


# The same codes are suggested again and again, and making one costs more than all else about it.
@lru_cache(maxsize=4096)
def _unknown(key: str) -> Code:
    system, code = split_key(key)
    # Unknown stays without weight in training, whichever release it is judged by.
    return Code(system=system, code=code, state=CodeState.UNKNOWN, provenance=Provenance(source="decision"))
