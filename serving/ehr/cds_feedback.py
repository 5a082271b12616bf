"""Outcomes of cards become a decision, once every code's card of a suggestion has one (stage 8).

A decision takes codes that it does not mention for accepted, and an EHR never reports a card that was
ignored: so nothing is decided before all are told. It does not know HTTP.
"""

from collections.abc import Sequence
from typing import Literal

from sqlalchemy import Engine

from clinical_coding.code_systems import CodeSystems
from clinical_coding.codes import split_key
from clinical_coding.decisions import CodeAction, CodeDecision, Decision
from feedback.decisions import record_decision
from feedback.errors import FeedbackError
from feedback.settings import FeedbackSettings, ReasonCodes
from ledger.principals import Principal
from serving.ehr.cds_store import CardOutcome, load_outcomes

__all__ = ["FeedbackKeeper", "Settled"]

Settled = Literal["waiting", "decided", "refused"]


class FeedbackKeeper:
    """Decides suggestions by what became of their cards."""

    def __init__(
        self,
        engine: Engine,
        *,
        feedback: FeedbackSettings,
        reasons: ReasonCodes,
        systems: CodeSystems,
        override_reason: str,
    ) -> None:
        """Join what decisions need.

        Args:
            engine: A migrated database.
            feedback: How decisions are kept.
            reasons: The reasons that can be given.
            systems: The releases that judge codes.
            override_reason: Stands for a reason that was not told, or is not one of ours.

        Raises:
            ValueError: That reason does not fit modifying and rejecting.
        """
        for action in (CodeAction.MODIFY, CodeAction.REJECT):
            if override_reason not in reasons.fitting(action):
                raise ValueError(
                    f"ehr.override_reason {override_reason!r} does not fit action {action.value!r}; "
                    "name a reason that fits modify and reject"
                )
        self._engine = engine
        self._feedback = feedback
        self._reasons = reasons
        self._systems = systems
        self._override_reason = override_reason

    def settle(self, suggestion_id: str, *, principal: Principal) -> Settled:
        """Decide a suggestion when all its code cards have outcomes; blocks, and may be repeated.

        Args:
            suggestion_id: Whose cards were told of.
            principal: Of the EHR.

        Returns:
            ``waiting`` while cards are missing; ``refused`` where the decision cannot stand, as when a coder
            decided before. The outcomes stay stored.
        """
        outcomes = load_outcomes(self._engine, suggestion_id)
        if not outcomes or any(one.outcome is None for one in outcomes):
            return "waiting"
        decision = Decision(
            suggestion_id=suggestion_id, codes=self._actions(outcomes), seconds_spent=_seconds(outcomes)
        )
        try:
            record_decision(
                self._engine,
                decision,
                idempotency_key=f"cds-hooks {suggestion_id}",
                principal=principal,
                settings=self._feedback,
                reasons=self._reasons,
                systems=self._systems,
            )
        except FeedbackError:
            return "refused"
        return "decided"

    def _actions(self, outcomes: Sequence[CardOutcome]) -> tuple[CodeDecision, ...]:
        actions = []
        brought_in: set[str] = set()
        for one in outcomes:
            system, code = split_key(one.code_key)
            if one.outcome == "overridden":
                reason = self._reason(one.reason)
                actions.append(CodeDecision(action=CodeAction.REJECT, system=system, code=code, reason=reason))
            elif one.to_key is not None and one.to_key != one.code_key:
                # Two cards may lead to one code, which stands once.
                is_first = one.to_key not in brought_in
                brought_in.add(one.to_key)
                actions.append(
                    CodeDecision(
                        action=CodeAction.MODIFY if is_first else CodeAction.REJECT,
                        system=system,
                        code=code,
                        to=split_key(one.to_key)[1] if is_first else None,
                        reason=self._override_reason,
                    )
                )
            else:
                actions.append(CodeDecision(action=CodeAction.ACCEPT, system=system, code=code))
        return tuple(actions)

    def _reason(self, told: str | None) -> str:
        return told if told is not None and told in self._reasons.fitting(CodeAction.REJECT) else self._override_reason


def _seconds(outcomes: Sequence[CardOutcome]) -> float:
    """From showing the cards to the last outcome, by two clocks that may differ."""
    last = max(one.outcome_at for one in outcomes if one.outcome_at is not None)
    return max(0.0, (last - min(one.shown_at for one in outcomes)).total_seconds())
