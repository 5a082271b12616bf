import io
from typing import Any, Literal

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from clinical_coding.records import Note
from clinical_coding.suggestions import Suggestion
from serving.highlight import render

TEXT = "Seen for essential hypertension. Type 2 diabetes mellitus, on metformin."
NOTES = (Note(note_id="n1", type="progress-note", text=TEXT),)


def code(rank: int, *spans: tuple[int, int], text: str = TEXT, name: str = "I10", **more: Any) -> dict[str, Any]:
    return {
        "system": "icd10cm",
        "code": name,
        "description": "Essential (primary) hypertension",
        "confidence": 0.91,
        "rank": rank,
        "evidence": [{"note_id": "n1", "start": s, "end": e, "text": text[s:e]} for s, e in spans],
        "alternatives": [{"system": "icd10cm", "code": "I11.9", "description": None, "confidence": 0.06}],
    } | more


def suggestion(*codes: dict[str, Any], decision: str = "assisted", **more: Any) -> Suggestion:
    return Suggestion.model_validate(
        {
            "suggestion_id": "s",
            "version": {"name": "clinical-coder", "number": 7, "alias": "champion", "bundle_sha256": "0" * 64},
            "route": {"decision": decision, "rules": ["confidence-below-threshold"], "record_confidence": 0.7},
            "degraded": False,
            "codes": codes,
            "trace_id": "t",
        }
        | more
    )


def shown(notes: tuple[Note, ...], answer: Suggestion, *, colours: bool = False, width: int = 100) -> str:
    system: Literal["standard"] | None = "standard" if colours else None
    console = Console(file=io.StringIO(), width=width, force_terminal=colours, color_system=system)
    console.print(render(notes, answer))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_everything_a_coder_needs_is_shown() -> None:
    text = shown(NOTES, suggestion(code(1, (9, 31)), code(2, (33, 57), name="E11.9", description=None, system="cpt")))
    for expected in (
        "progress-note n1",
        "essential hypertension[1]. Type 2 diabetes mellitus[2], on metformin.",
        "Essential (primary)",
        "(descriptor is",
        "“essential hypertension”",
        "0.91",
        "I11.9 0.06",
        "route assisted: a coder decides, with these codes (confidence-below-threshold",
        "version clinical-coder 7 (champion)",
    ):
        assert expected in text
    assert max(map(len, text.splitlines())) <= 100


def test_evidence_has_its_codes_colour() -> None:
    text = shown(NOTES, suggestion(code(1, (9, 31)), code(2, (33, 57))), colours=True)
    assert "\x1b[4;32messential hypertension\x1b[0m\x1b[1;32m[1]" in text
    assert "\x1b[4;35mType 2 diabetes mellitus\x1b[0m\x1b[1;35m[2]" in text


def test_manual_and_degraded_say_so() -> None:
    text = shown(NOTES, suggestion(decision="manual", degraded=True))
    assert "route manual: a coder decides, without codes from the model" in text
    assert "degraded: the fallback answered" in text


def test_a_note_cannot_steer_the_terminal() -> None:
    raw = "\x1b[2J\x1b]0;owned\x07 [red]asthma[/red] \x9b31m"
    notes = (Note(note_id="n1", text=raw),)
    text = shown(notes, suggestion(code(1, (0, len(raw)), text=raw)))
    assert "\x1b" not in text and "\x9b" not in text and "\x07" not in text
    assert "[red]asthma[/red]" in text


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 12)), max_size=6), st.integers(40, 120))
def test_any_spans_leave_the_note_whole(drawn: list[tuple[int, int]], width: int) -> None:
    text = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGH"
    codes = [code(rank, (start, start + length), text=text) for rank, (start, length) in enumerate(drawn, start=1)]
    panel = shown((Note(note_id="n1", text=text),), suggestion(*codes), width=width).partition("╯")[0]
    flat = "".join(character for character in panel.partition("╮")[2] if character not in "│╰─ \n")
    for rank in range(1, len(drawn) + 1):
        assert f"[{rank}]" in flat
        flat = flat.replace(f"[{rank}]", "")
    assert flat == text
