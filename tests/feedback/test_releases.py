"""Codes are judged, described and exported by the release in force on the date of coding, imported ones included."""

import json
from collections.abc import Callable, Mapping
from datetime import date
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from clinical_coding.code_systems import CodeSystems, ReleasedSystem
from clinical_coding.code_systems.importing import import_release
from clinical_coding.data_directory import DataDirectory
from clinical_coding.readers import assign_split, read_records
from clinical_coding.records import Setting, Split
from clinical_coding.suggestions import SuggestionRequest
from feedback.adjudication import adjudicate
from feedback.decisions import load_decision
from feedback.errors import InvalidError
from feedback.queue import claim, show
from feedback.settings import FeedbackSettings
from feedback.shown import load_shown
from feedback.tables import audit_draws
from feedback.training_set import export
from feedback.verdicts import AdjudicationRequest
from ledger.principals import Principal

Maker = Callable[..., Any]
# One code that the embedded release has too, one that it has not; E11.9 is dropped.
CODES = {"I10": "Essential hypertension, reworded", "I21": "Infarction", "I21.4": "NSTEMI", "I21.41": "Finer NSTEMI"}
START = date(2026, 10, 1)
ADMITTED, BEFORE, AFTER = date(2026, 9, 20), date(2026, 9, 30), date(2026, 10, 2)
ADD = ("add", "icd10cm:I21.41", "missed-documentation")
TRAIN = next(p for p in (f"p{number}" for number in count()) if assign_split(p) is Split.TRAIN)


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> CodeSystems:
    """The embedded release, and a small one from October."""
    folder: Path = tmp_path_factory.mktemp("releases")
    headings = {other for other in CODES for code in CODES if code != other and code.startswith(other)}
    (folder / "order.txt").write_text(
        "".join(
            f"{number:05} {code.replace('.', ''):<7} {code not in headings:d} {words:<60} {words}\n"
            for number, (code, words) in enumerate(CODES.items(), start=1)
        )
    )
    directory = DataDirectory.locate(folder / "data")
    import_release(
        ReleasedSystem.ICD10CM, [folder / "order.txt"], name="2026-10", effective_from=START, directory=directory
    )
    return CodeSystems.open(directory.code_systems)


@pytest.fixture
def systems(imported: CodeSystems) -> CodeSystems:
    return imported


@pytest.fixture
def ask(suggest: Maker, sample_request: SuggestionRequest) -> Callable[..., str]:
    """Store a suggestion for an encounter of some dates and give its id."""

    def make(
        start: date | None, end: date | None, *, setting: Setting = Setting.INPATIENT, codes: tuple[str, ...] = ()
    ) -> str:
        dates = {"setting": setting, "service_start": start, "service_end": end, "drg": None}
        encounter = sample_request.encounter.model_copy(update=dates)
        request = sample_request.model_copy(update={"encounter": encounter, "patient_id": TRAIN})
        identifier: str = suggest(request=request, codes=codes or ("icd10cm:I10",)).suggestion_id
        return identifier

    return make


@pytest.mark.parametrize(
    ("setting", "start", "end", "coded"),
    [
        (Setting.INPATIENT, ADMITTED, AFTER, AFTER),
        (Setting.INPATIENT, ADMITTED, None, ADMITTED),
        (Setting.OUTPATIENT, ADMITTED, AFTER, ADMITTED),
        (Setting.EMERGENCY, None, AFTER, AFTER),
        (Setting.OUTPATIENT, None, None, None),
    ],
)
def test_what_was_shown_tells_its_date_of_coding(
    engine: Engine, ask: Maker, setting: Setting, start: date | None, end: date | None, coded: date | None
) -> None:
    suggestion_id = ask(start, end, setting=setting)
    with engine.connect() as connection:
        assert load_shown(connection, [suggestion_id])[suggestion_id].date_of_coding == coded


def test_a_code_of_an_imported_release_is_added_to_a_stay_discharged_after_it_takes_effect_and_not_before(
    engine: Engine, ask: Maker, decide: Maker
) -> None:
    recorded = decide(ask(ADMITTED, AFTER), ADD)
    with engine.connect() as connection:
        assert [code.code for code in load_decision(connection, recorded.decision_id).decision.codes] == ["I21.41"]
    for stay in (ask(ADMITTED, BEFORE), ask(ADMITTED, AFTER, setting=Setting.OUTPATIENT)):
        with pytest.raises(InvalidError, match=r"release 2026-04, which applies to the date of coding 2026-09-"):
            decide(stay, ADD)


def test_a_code_that_an_imported_release_drops_is_refused_after_it_takes_effect(ask: Maker, decide: Maker) -> None:
    dropped = ("add", "icd10cm:E11.9", "missed-documentation")
    decide(ask(ADMITTED, BEFORE), dropped)
    with pytest.raises(InvalidError, match=r"'E11.9' is not a valid code of ICD-10-CM release 2026-10.*deleted"):
        decide(ask(ADMITTED, AFTER), dropped)


@pytest.mark.parametrize(
    ("end", "release", "words"),
    [(AFTER, "2026-10", "Essential hypertension, reworded"), (BEFORE, "2026-04", "Essential (primary) hypertension")],
)
def test_adjudicated_codes_carry_the_release_of_the_date_of_coding_and_cases_its_words(
    engine: Engine,
    ask: Maker,
    decide: Maker,
    judge: Maker,
    people: Mapping[str, Principal],
    systems: CodeSystems,
    end: date,
    release: str,
    words: str,
) -> None:
    (override,) = decide(ask(ADMITTED, end), ("reject", "icd10cm:I10", "not-documented")).overrides
    view = show(engine, override.override_id, principal=people["supervisor"], systems=systems)
    assert view.answer is not None and view.answer.code.description == words
    (code,) = judge(override.override_id, "ai-right").codes
    assert (code.key, code.release) == ("icd10cm:I10", release)


def test_a_code_outside_every_release_is_of_none(ask: Maker, decide: Maker, judge: Maker) -> None:
    stay = ask(date(2025, 2, 1), date(2025, 2, 3))
    (override,) = decide(stay, ("reject", "icd10cm:I10", "not-documented")).overrides
    (code,) = judge(override.override_id, "ai-right").codes
    assert code.release is None


@pytest.mark.parametrize(
    ("end", "code", "release", "message"),
    [
        (AFTER, "I21.41", None, None),
        (AFTER, "I21.41", "2026-10", None),
        (AFTER, "I21.41", "2026-04", "release '2026-04' is not held, or is not the one"),
        (BEFORE, "I21.41", None, "release 2026-04, which applies to the date of coding 2026-09-30"),
        (BEFORE, "I21.4", "2026-10", "release '2026-10' is not held, or is not the one"),
    ],
)
def test_codes_of_verdicts_are_judged_by_the_date_of_coding(
    engine: Engine,
    ask: Maker,
    decide: Maker,
    people: Mapping[str, Principal],
    feedback_settings: FeedbackSettings,
    systems: CodeSystems,
    end: date,
    code: str,
    release: str | None,
    message: str | None,
) -> None:
    (override,) = decide(ask(ADMITTED, end), ("reject", "icd10cm:I10", "not-documented")).overrides
    named = {"system": "icd10cm", "code": code, "release": release, "state": "positive"}
    asked = AdjudicationRequest.model_validate({"verdict": "both-wrong", "citation": "I.B.4", "codes": [named]})
    supervisor = people["supervisor"]
    claim(engine, override.override_id, principal=supervisor, settings=feedback_settings, systems=systems)
    if message is not None:
        with pytest.raises(InvalidError, match=message):
            adjudicate(engine, override.override_id, asked, principal=supervisor, systems=systems)
        return
    kept = adjudicate(engine, override.override_id, asked, principal=supervisor, systems=systems)
    assert {one.code: one.release for one in kept.codes}["I21.41"] == "2026-10"


def test_an_export_keeps_codes_of_imported_releases_and_leaves_off_those_not_of_the_date(
    engine: Engine,
    ask: Maker,
    decide: Maker,
    judge: Maker,
    people: Mapping[str, Principal],
    drawn: FeedbackSettings,
    systems: CodeSystems,
    tmp_path: Path,
) -> None:
    # A version that learnt an older release suggests E11.9 too, which the verdict makes a negative.
    suggestion_id = ask(ADMITTED, AFTER, codes=("icd10cm:I10", "icd10cm:E11.9"))
    decide(suggestion_id, settings=drawn)
    with engine.connect() as connection:
        draw_id = connection.scalar(select(audit_draws.c.id).where(audit_draws.c.suggestion_id == suggestion_id))
    judge(draw_id, "both-wrong", {"icd10cm:I10": "positive", "icd10cm:I21.41": "positive"})
    report = export(engine, out=tmp_path / "set", principal=people["supervisor"], systems=systems)
    [line] = (tmp_path / "set" / "records.jsonl").read_text().splitlines()
    assert {code["code"]: code["release"] for code in json.loads(line)["codes"]} == dict.fromkeys(
        ("I10", "I21.41"), "2026-10"
    )
    assert report.num_foreign_codes == 1
    [record] = read_records(f"jsonl:{tmp_path / 'set' / 'records.jsonl'}", systems=systems)
    assert record.record_id == f"feedback-{suggestion_id}"
