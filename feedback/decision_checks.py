"""Whether a decision makes sense: against the suggestion, the reason codes, and the held releases.

Pure: nothing is read from the database and nothing written to it.
"""

from clinical_coding.code_systems import CodeSystems
from clinical_coding.decisions import CodeAction, CodeDecision, Decision
from clinical_coding.suggestions import RouteDecision
from feedback.code_validity import check_valid
from feedback.errors import InvalidError
from feedback.settings import ReasonCodes
from feedback.shown import Shown

__all__ = ["check_decision"]


def check_decision(decision: Decision, *, shown: Shown, reasons: ReasonCodes, systems: CodeSystems) -> None:
    """Judge a decision.

    A suggested code is named once at most. A code that is added, or takes another's place, is not
    suggested itself and is given once: so a decision can be told from suggested and final codes.

    Args:
        decision: What the coder says.
        shown: The suggestion that it is about.
        reasons: The reasons that can be given.
        systems: The releases that judge codes that are brought in.

    Raises:
        InvalidError: It contradicts the suggestion, gives a wrong reason, or brings in a code that is
            not valid on the date of coding.
    """
    if shown.keys is None:
        raise InvalidError(
            "suggestion_id: the content of this suggestion was purged, so that it cannot be decided any more; "
            "ask for a new suggestion"
        )
    if shown.is_check:
        raise InvalidError(
            "suggestion_id: this is a check of the documentation, which suggests no codes; ask for a suggestion, "
            "and decide on that"
        )
    named: set[str] = set()
    brought_in: set[str] = set()
    for position, code in enumerate(decision.codes):
        field = f"codes.{position}"
        _check_route(code, field=field, route=shown.route)
        reasons.require(code.reason, action=code.action, field=f"{field}.reason")
        if code.action is not CodeAction.ADD:
            _check_named(code, field=f"{field}.code", suggested=shown.keys, named=named)
        target = _brought_in_by(code)
        if target is not None:
            place = f"{field}.to" if code.action is CodeAction.MODIFY else f"{field}.code"
            # What was withheld cannot stand already, and saying so would tell it.
            standing = frozenset[str]() if shown.route is RouteDecision.MANUAL else shown.keys
            _check_brought_in(target, field=place, standing=standing, brought_in=brought_in)
            check_valid(code.system, code.to or code.code, field=place, on=shown.date_of_coding, systems=systems)


def _brought_in_by(code: CodeDecision) -> str | None:
    return code.key if code.action is CodeAction.ADD else code.to_key


def _check_route(code: CodeDecision, *, field: str, route: RouteDecision) -> None:
    if route is RouteDecision.MANUAL and code.action is not CodeAction.ADD:
        raise InvalidError(
            f"{field}.action {code.action.value!r} does not fit the manual route, on which no codes are shown; "
            "give every code with action 'add'"
        )


def _check_named(code: CodeDecision, *, field: str, suggested: frozenset[str], named: set[str]) -> None:
    if code.key not in suggested:
        raise InvalidError(
            f"{field} {code.code!r} of {code.system} is not suggested; name a suggested code, or use action 'add'"
        )
    if code.key in named:
        raise InvalidError(f"{field} {code.code!r} is named twice; say one thing about each suggested code")
    named.add(code.key)


def _check_brought_in(target: str, *, field: str, standing: frozenset[str], brought_in: set[str]) -> None:
    code = target.partition(":")[2]
    if target in standing:
        raise InvalidError(f"{field} {code!r} is suggested already; let it stand, and reject the codes that are wrong")
    if target in brought_in:
        raise InvalidError(f"{field} {code!r} is given twice; give each code once")
    brought_in.add(target)
