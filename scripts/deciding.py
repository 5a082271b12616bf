"""``chartloop decide``: a coder's answer to one suggestion, sent to the gateway (stage 8)."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from scripts.acting import Key
from scripts.options import DEFAULT_DATA_DIR, AsJson, DataDir, print_json

if TYPE_CHECKING:
    from clinical_coding.decisions import CodeDecision, Decision
    from feedback.decision_routes import DecisionAnswer

__all__ = ["decide", "local_key"]

_OPTION_FORMS = {
    "reject": "icd10cm:I10=not-documented",
    "modify": "icd10cm:E11.9=icd10cm:E11.65,more-specific-code-documented",
    "add": "icd10cm:I10=missed-documentation",
}


def decide(
    suggestion_id: Annotated[str, typer.Argument(help="As the suggestion told it.")],
    accept_rest: Annotated[
        bool,
        typer.Option("--accept-rest", help="Let every code stand that is not named; needed where none is named."),
    ] = False,
    reject: Annotated[list[str] | None, typer.Option("--reject", help=f"Like {_OPTION_FORMS['reject']}.")] = None,
    modify: Annotated[list[str] | None, typer.Option("--modify", help=f"Like {_OPTION_FORMS['modify']}.")] = None,
    add: Annotated[list[str] | None, typer.Option("--add", help=f"Like {_OPTION_FORMS['add']}.")] = None,
    escalate: Annotated[bool, typer.Option("--escalate", help="Leave it to somebody else.")] = False,
    defer: Annotated[bool, typer.Option("--defer", help="Wait for the answer to a physician query.")] = False,
    seconds_spent: Annotated[float, typer.Option("--seconds-spent", min=0, help="How long it took you.")] = 0.0,
    idempotency_key: Annotated[
        str | None, typer.Option("--idempotency-key", help="The same for each attempt to send it; default: a new one.")
    ] = None,
    url: Annotated[str, typer.Option("--url", help="The gateway.")] = "http://127.0.0.1:8080",
    key: Key = None,
    as_json: AsJson = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Say what became of a suggestion: codes that you do not name stand.

    Example: [bold]chartloop decide ID --reject icd10cm:I10=not-documented --seconds-spent 40[/bold]
    """
    from clinical_coding.artefact import new_id
    from clinical_coding.decisions import Decision
    from serving.client import Client, GatewayUnreachableError

    codes = [
        _parse(action, value)
        for action, values in (("reject", reject), ("modify", modify), ("add", add))
        for value in values or ()
    ]
    outcome = _outcome(escalate=escalate, defer=defer)
    if outcome == "decided" and not codes and not accept_rest:
        raise ValueError(
            "nothing is decided; let all codes stand with --accept-rest, or name codes with --reject, --modify, --add"
        )
    decision = Decision.model_validate(
        {"suggestion_id": suggestion_id, "outcome": outcome, "codes": codes, "seconds_spent": seconds_spent}
    )
    with Client(url, local_key(key, data_dir=data_dir)) as client:
        idempotency_key = idempotency_key or new_id()
        try:
            answer = client.decide(decision, idempotency_key=idempotency_key)
        except GatewayUnreachableError as error:
            raise ValueError(
                f"{error}; it may be stored all the same, so send it again with --idempotency-key {idempotency_key}"
            ) from None
    if as_json:
        print_json(answer.model_dump(mode="json"))
    else:
        _show(answer, decision=decision)


def local_key(key: str | None, *, data_dir: Path) -> str:
    """Take the key that was given, else that of the local coder.

    Raises:
        ValueError: There is neither.
    """
    from clinical_coding.data_directory import DataDirectory
    from ledger.local_key import LOCAL_KEY_FILE

    if key is not None:
        return key
    key_file = DataDirectory.locate(data_dir).keys / LOCAL_KEY_FILE
    if not key_file.is_file():
        raise ValueError(f"no key: {key_file} does not exist; start chartloop serve first, or give --key")
    return key_file.read_text(encoding="ascii").strip()


def _outcome(*, escalate: bool, defer: bool) -> str:
    if escalate and defer:
        raise ValueError("--escalate and --defer exclude each other; give one of them")
    if escalate:
        return "escalated"
    return "deferred" if defer else "decided"


def _parse(action: str, value: str) -> "CodeDecision":
    """Read ``SYSTEM:CODE=REASON``, or ``SYSTEM:CODE=SYSTEM:CODE,REASON`` to modify."""
    from clinical_coding.codes import normalise_code, split_key
    from clinical_coding.decisions import CodeAction, CodeDecision

    # The value is not repeated: prose put here by mistake may be clinical.
    expected = f"--{action} must be written like {_OPTION_FORMS[action]}"
    named, separator, reason = value.partition("=")
    to = None
    if action == "modify":
        to, comma, reason = reason.partition(",")
        separator = separator and comma
    if not separator or not reason:
        raise ValueError(expected)
    try:
        system, code = split_key(named.strip())
        to_system, to_code = (system, None) if to is None else split_key(to.strip())
    except ValueError:
        raise ValueError(f"{expected}, with the system icd10cm, icd10pcs, cpt or hcpcs") from None
    if to_system is not system:
        raise ValueError(f"{expected}: the code in its place must be of the same system; else --reject one, --add one")
    return CodeDecision(
        action=CodeAction(action),
        system=system,
        code=normalise_code(system, code),
        to=None if to_code is None else normalise_code(system, to_code),
        reason=reason.strip(),
    )


def _show(answer: "DecisionAnswer", *, decision: "Decision") -> None:
    console = Console()
    rest = "; codes not named stand" if decision.outcome == "decided" else ""
    console.print(f"Stored: {decision.outcome}{rest}. Decision {escape(answer.decision_id)}", soft_wrap=True)
    if not answer.overrides:
        return
    table = Table(title="overrides, for a supervisor to judge")
    for column in ("action", "code", "in its place", "reason", "case"):
        table.add_column(column, no_wrap=column == "case")
    for one in answer.overrides:
        code = f"{one.system}:{one.code}"
        table.add_row(one.action, code, one.to_code or "", escape(one.reason), one.override_id)
    console.print(table)
