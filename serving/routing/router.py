"""From a reviewed encounter to its route: gathers what the policy's rules look at, then applies them.

Made once for a policy. It keeps what is costly to find out, such as which codes changed lately, and nothing of
an encounter.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import date, timedelta

from clinical_coding.code_systems import CodeSystems, date_of_coding
from clinical_coding.codes import CodeSystem
from clinical_coding.documentation import Assertion, ReadNote
from clinical_coding.findings import Finding
from clinical_coding.grouping import Grouping
from clinical_coding.predictions import PredictedCode
from clinical_coding.records import Encounter
from clinical_coding.suggestions import Route
from serving.routing.deciding import decide_route
from serving.routing.facts import RoutingFacts
from serving.routing.rules import RoutingRules

__all__ = ["Router"]


class Router:
    """A policy, ready to be applied."""

    def __init__(self, rules: RoutingRules, *, systems: CodeSystems) -> None:
        """Prepare it.

        Args:
            rules: The policy.
            systems: The releases, which know what changed and what a DRG weighs.
        """
        self.rules = rules
        self._systems = systems
        phrases = sorted(rules.phrases(), key=len, reverse=True)
        # A phrase may be broken over two lines.
        words = "|".join(r"\s+".join(map(re.escape, phrase.split(" "))) for phrase in phrases)
        self._phrases = re.compile(rf"\b(?:{words})\b", re.IGNORECASE) if phrases else None
        self._asks_for_changes = any(rule.when.codes_changed for rule in rules.rules)
        self._changed: dict[tuple[CodeSystem, date], frozenset[str]] = {}

    def route(self, facts: RoutingFacts) -> Route:
        """Apply the policy."""
        return decide_route(facts, self.rules)

    def facts(
        self,
        encounter: Encounter,
        codes: Sequence[PredictedCode],
        *,
        read: Mapping[str, ReadNote],
        findings: Sequence[Finding],
        num_withheld: int,
        num_queries: int,
        grouping: Grouping | None,
        on: date | None = None,
    ) -> RoutingFacts:
        """Gather what the rules look at.

        Args:
            encounter: The circumstances of care.
            codes: All scored codes but those that were withheld.
            read: The notes, by note id.
            findings: What coding rules say of the suggested codes.
            num_withheld: Codes without support.
            num_queries: Questions to the physician.
            grouping: The working DRG of a stay.
            on: The day of routing; today when None.
        """
        on = on or date.today()
        return RoutingFacts(
            encounter=encounter,
            codes=codes,
            on=on,
            findings=findings,
            num_withheld=num_withheld,
            num_queries=num_queries,
            grouping=grouping,
            billed_weight=self._billed_weight(encounter),
            changed=frozenset(code.key for code in codes if code.suggested and self._is_changed(code, on=on)),
            affirmed_words=self._affirmed(read),
        )

    def warm(self) -> None:
        """Find out what changed lately, which takes seconds for each pair of releases."""
        for system in CodeSystem:
            self._changes_of(system, on=date.today())

    def _billed_weight(self, encounter: Encounter) -> float | None:
        if encounter.drg is None:
            return None
        weights = self._systems.drg_weights(date_of_coding(encounter))
        return weights.get(encounter.drg.zfill(3)) if weights is not None else None

    def _is_changed(self, code: PredictedCode, *, on: date) -> bool:
        return code.code in self._changes_of(code.system, on=on)

    def _changes_of(self, system: CodeSystem, *, on: date) -> frozenset[str]:
        if not self._asks_for_changes:
            return frozenset()
        since = on - timedelta(days=self.rules.changed_within_days)
        if (system, since) not in self._changed:
            # One day's are kept: yesterday's are of no more use.
            self._changed = {place: codes for place, codes in self._changed.items() if place[1] == since}
            self._changed[system, since] = self._systems.changed_since(system, since)
        return self._changed[system, since]

    def _affirmed(self, read: Mapping[str, ReadNote]) -> frozenset[str]:
        if self._phrases is None:
            return frozenset()
        return frozenset(
            " ".join(found[0].lower().split())
            for note in read.values()
            for found in self._phrases.finditer(note.note.text)
            if note.assertion(found.start(), found.end()) not in (Assertion.NEGATED, Assertion.FAMILY)
        )
