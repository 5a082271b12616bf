from rich.console import Console, RenderableType

from clinical_coding.codes import EvidenceSpan
from clinical_coding.findings import Finding, Severity
from clinical_coding.physician_queries import OTHER, UNABLE_TO_DETERMINE, PhysicianQuery, QueryForm, QueryIndicator
from serving.finding_display import render_findings, render_queries


def shown(what: RenderableType) -> str:
    console = Console(width=100)
    with console.capture() as capture:
        console.print(what)
    return capture.get()


def finding(rule: str, severity: Severity, *codes: str, fix: str | None = None) -> Finding:
    span = EvidenceSpan(note_id="n1", start=0, end=3)
    return Finding(
        rule=rule, severity=severity, codes=codes, explanation="It is so.", source="I.B.4", fix=fix, evidence=(span,)
    )


def test_the_gravest_finding_comes_first_whatever_the_order() -> None:
    told = shown(
        render_findings(
            [
                finding("a-note", Severity.INFO, "icd10cm:I10"),
                finding("a-block", Severity.BLOCKING, "icd10cm:E10.9", "cpt:99213", fix="Leave one out."),
                finding("a-doubt", Severity.WARNING),
            ]
        )
    )
    assert told.index("a-block") < told.index("a-doubt") < told.index("a-note")
    assert "→ Leave one out." in told and told.count("→") == 1
    # A diagnosis by its number alone, a procedure with its system.
    assert "99213 cpt" in told and "icd10cm" not in told


def test_a_query_shows_what_it_rests_on_and_numbers_its_options() -> None:
    query = PhysicianQuery(
        query_id="q1",
        topic="t",
        title="Heart failure: type",
        form=QueryForm.MULTIPLE_CHOICE,
        question="Please specify the type.",
        options=("Systolic", OTHER, UNABLE_TO_DETERMINE),
        indicators=(QueryIndicator(note_id="n1", start=0, end=9, name="ejection fraction", text="EF\x1b[31m\n30%"),),
        codes=("icd10cm:I50.9",),
        source="s",
    )
    told = shown(render_queries([query]))
    assert "ejection fraction: “EF [31m 30%”" in told
    assert "1. Systolic" in told and "3. Unable to determine" in told
    # What it bears on is for coders, elsewhere.
    assert "I50.9" not in told
