"""The training set: who may enter, reproducible bytes, flat memory, and what training reads back."""

import hashlib
import json
import stat
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, delete, insert, select

from clinical_coding.code_systems import CodeSystems
from clinical_coding.codes import CodeState
from clinical_coding.manifest import Manifest, hash_patient
from clinical_coding.readers import PatientInTwoSplitsError, assign_split, read_records, write_jsonl
from clinical_coding.records import CodedRecord, Note, Split, Unlisted
from clinical_coding.suggestions import SuggestionRequest
from feedback.errors import ForbiddenError, InvalidError
from feedback.settings import FeedbackSettings
from feedback.tables import adjudications, audit_draws, cases
from feedback.training_set import ExportReport, export
from ledger.audit_log import audit_log
from ledger.engine import writing
from ledger.principals import Principal
from ledger.suggestions import suggestion_contents, suggestions

SYSTEMS = CodeSystems.embedded()

People = Mapping[str, Principal]
Maker = Callable[..., Any]
REJECT = ("reject", "icd10cm:R07.9", "integral-symptom")
ADD = ("add", "icd10cm:J45.909", "missed-documentation")


def patients(split: Split) -> Iterator[str]:
    return (patient for patient in (f"p{number}" for number in count()) if assign_split(patient) is split)


TRAIN, DEV, TEST = (next(patients(split)) for split in Split)


@pytest.fixture
def exported(engine: Engine, people: People, tmp_path: Path) -> Callable[..., ExportReport]:
    def make(*, replay: Sequence[str] = (), name: str = "set") -> ExportReport:
        return export(engine, out=tmp_path / name, replay=replay, principal=people["supervisor"], systems=SYSTEMS)

    return make


@pytest.fixture
def ask(suggest: Maker, sample_request: SuggestionRequest) -> Callable[..., str]:
    """Store a suggestion for a patient and give its id."""
    numbers = count()

    def make(patient: str | None = TRAIN, *, route: str = "assisted", **changed: Any) -> str:
        changed = {"patient_id": patient, "record_id": f"r{next(numbers)}"} | changed
        identifier: str = suggest(route=route, request=sample_request.model_copy(update=changed)).suggestion_id
        return identifier

    return make


@pytest.fixture
def overridden(decide: Maker, judge: Maker, ask: Maker) -> Callable[..., str]:
    """A suggestion whose R07.9 was rejected, with the coder found right."""

    def make(patient: str | None = TRAIN, *, verdict: str = "coder-right", **changed: Any) -> str:
        suggestion_id: str = ask(patient, **changed)
        judge(decide(suggestion_id, REJECT).overrides[0].override_id, verdict)
        return suggestion_id

    return make


@pytest.fixture
def audited(engine: Engine, decide: Maker, judge: Maker, ask: Maker, drawn: FeedbackSettings) -> Callable[..., str]:
    """An accepted suggestion that was drawn, with a verdict."""

    def make(verdict: str, codes: Mapping[str, str] | None = None) -> str:
        suggestion_id: str = ask()
        decide(suggestion_id, settings=drawn)
        with engine.connect() as connection:
            query = select(audit_draws.c.id).where(audit_draws.c.suggestion_id == suggestion_id)
            judge(connection.execute(query).scalar_one(), verdict, codes)
        return suggestion_id

    return make


def copy(connection: Connection, suggestion_id: str, *, num_copies: int) -> None:
    """Give a judged suggestion twins of other record ids, each with its case and its verdict."""
    columns = ((suggestions, "id"), (suggestion_contents, "suggestion_id"), (cases, "suggestion_id"))
    for table, column in (*columns, (adjudications, "suggestion_id")):
        row = connection.execute(select(table).where(table.c[column] == suggestion_id)).one()._asdict()
        copies = []
        for number in range(num_copies):
            own = {"id": f"{table.name}-{number:06d}"} if "id" in row else {}
            others = {"suggestion_id": f"suggestions-{number:06d}", "case_id": f"cases-{number:06d}"}
            named = {name: value for name, value in others.items() if name in row}
            copies.append(row | own | named | ({"record_id": f"copy-{number}"} if "record_id" in row else {}))
        connection.execute(insert(table), copies)


def records_of(report: ExportReport) -> dict[str, CodedRecord]:
    return {record.record_id: record for record in read_records(f"jsonl:{report.folder / 'records.jsonl'}")}


def states(record: CodedRecord) -> dict[str, str]:
    return {code.key: code.state.value for code in record.codes}


def test_an_override_teaches_its_code_and_nothing_else(
    overridden: Maker, exported: Maker, sample_request: SuggestionRequest
) -> None:
    suggestion_id = overridden()
    [record] = records_of(exported()).values()
    assert record.record_id == f"feedback-{suggestion_id}"
    assert (record.patient_id, record.split, record.unlisted) == (TRAIN, Split.TRAIN, Unlisted.UNKNOWN)
    assert (record.notes, record.encounter) == (sample_request.notes, sample_request.encounter)
    assert states(record) == {
        "cpt:99213": "unknown",
        "icd10cm:E11.9": "unknown",
        "icd10cm:I10": "unknown",
        "icd10cm:R07.9": "negative",
    }


def test_an_open_override_beside_a_judged_one_stays_unknown(
    decide: Maker, judge: Maker, ask: Maker, exported: Maker
) -> None:
    rejected, _added = decide(ask(), REJECT, ADD).overrides
    judge(rejected.override_id, "ai-right")
    [record] = records_of(exported()).values()
    assert states(record)["icd10cm:R07.9"] == "positive"
    assert states(record)["icd10cm:J45.909"] == "unknown"


def test_an_audited_record_is_complete(audited: Maker, exported: Maker) -> None:
    audited("ai-right")
    audited("both-wrong", {"icd10cm:I10": "positive", "icd10cm:E11.65": "positive"})
    right, wrong = records_of(report := exported()).values()
    assert (right.unlisted, wrong.unlisted) == (Unlisted.ABSENT, Unlisted.ABSENT)
    assert set(states(right).values()) == {"positive"}
    assert states(wrong) == {
        "cpt:99213": "negative",
        "icd10cm:E11.65": "positive",
        "icd10cm:E11.9": "negative",
        "icd10cm:I10": "positive",
        "icd10cm:R07.9": "negative",
    }
    assert (report.num_complete, report.num_codes) == (2, {"positive": 6, "negative": 3, "unknown": 0})


def test_each_guard_counts_what_it_leaves_out(engine: Engine, overridden: Maker, exported: Maker) -> None:
    kept = overridden()
    overridden(None)
    overridden(DEV)
    overridden(TEST)
    overridden(verdict="policy-unclear")
    purged = overridden()
    with writing(engine) as connection:
        connection.execute(delete(suggestion_contents).where(suggestion_contents.c.suggestion_id == purged))
    report = exported()
    assert list(records_of(report)) == [f"feedback-{kept}"]
    assert report.left_out == {"no-patient-id": 1, "patient-held-out": 2, "purged": 1, "teaches-nothing": 1}
    assert (report.num_feedback, report.num_adjudications) == (1, 1)


def test_of_an_encounter_asked_again_the_newest_adjudicated_answer_enters(
    overridden: Maker, ask: Maker, exported: Maker, sample_request: SuggestionRequest
) -> None:
    overridden(record_id="same")
    overridden(record_id="same", verdict="ai-right")
    newest = overridden(record_id="same")
    overridden(record_id="same", verdict="policy-unclear")
    ask(record_id="same")
    other_patient = overridden(next(p for p in patients(Split.TRAIN) if p != TRAIN), record_id="same")
    amended = tuple(note.model_copy(update={"text": f"{note.text} Addendum."}) for note in sample_request.notes)
    other_notes = overridden(record_id="same", notes=amended)
    report = exported()
    assert set(records_of(report)) == {f"feedback-{kept}" for kept in (newest, other_patient, other_notes)}
    assert report.left_out == {"asked-again": 2, "teaches-nothing": 1}


def test_the_newest_answer_is_found_over_pages(
    overridden: Maker, exported: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feedback.adjudicated.PAGE", 2)
    kept = [[overridden(record_id=f"r-{number}") for number in range(3)] for _ in range(3)][-1]
    report = exported()
    assert list(records_of(report)) == [f"feedback-{suggestion_id}" for suggestion_id in kept]
    assert report.left_out == {"asked-again": 6}


def test_a_contradiction_is_counted_and_teaches_nothing(
    engine: Engine, decide: Maker, judge: Maker, ask: Maker, exported: Maker, drawn: FeedbackSettings, people: People
) -> None:
    suggestion_id = ask()
    [override] = decide(suggestion_id, REJECT).overrides
    said = judge(override.override_id, "coder-right")
    # A round that blind review will open: here a second case of the same suggestion says the opposite.
    with writing(engine) as connection:
        row = connection.execute(select(cases)).one()._asdict() | {"id": "audit-case", "kind": "audit"}
        connection.execute(insert(cases).values(row))
        verdict = connection.execute(select(adjudications)).one()._asdict()
        codes = verdict["codes"].replace("negative", "positive").replace(said.adjudication_id, "opposite")
        row = verdict | {"id": "opposite", "case_id": "audit-case", "codes": codes, "verdict": "ai-right"}
        connection.execute(insert(adjudications).values(row))
    with pytest.raises(InvalidError, match=r"no record is left to train on \(left out: teaches-nothing 1\)"):
        exported()
    overridden_id = ask()
    judge(decide(overridden_id, REJECT).overrides[0].override_id, "ai-right")
    assert exported().num_conflicts == 1


def test_codes_of_another_release_are_left_off(
    engine: Engine, suggest: Maker, decide: Maker, judge: Maker, exported: Maker, sample_request: SuggestionRequest
) -> None:
    # J45 is a category of today's release, and a code of the Spanish edition of 2018.
    request = sample_request.model_copy(update={"patient_id": TRAIN})
    suggestion = suggest(codes=("icd10cm:I10", "icd10cm:J45", "icd10cm:R07.9"), request=request)
    judge(decide(suggestion.suggestion_id, REJECT).overrides[0].override_id, "coder-right")
    report = exported()
    [record] = records_of(report).values()
    assert states(record) == {"icd10cm:I10": "unknown", "icd10cm:R07.9": "negative"}
    assert report.num_foreign_codes == 1


def test_training_hashes_the_same_lines_alike(
    overridden: Maker, exported: Maker, tmp_path: Path, engine: Engine
) -> None:
    from training.dataset import store_records

    overridden()
    report = exported(replay=["sample:30"])
    manifest = Manifest.model_validate_json((report.folder / "manifest.json").read_text())
    path = report.folder / "records.jsonl"
    stored = store_records(read_records(f"jsonl:{path}"), sources=manifest.sources, path=tmp_path / "records.arrow")
    assert stored == manifest
    assert hashlib.sha256(path.read_bytes()).hexdigest() == report.content_sha256 == manifest.content_sha256
    assert manifest.sources == ("feedback", "sample:30")
    assert hash_patient(TRAIN) in manifest.patient_hashes
    assert len(manifest.adjudication_ids) == 1


def test_only_the_train_split_is_replayed(overridden: Maker, exported: Maker, tmp_path: Path) -> None:
    base = list(read_records("sample:40"))
    # A source states its splits itself; where it holds the patient out, feedback does not train on it.
    stated = [record.model_copy(update={"record_id": f"x{at}", "patient_id": TRAIN, "split": Split.DEV})
              for at, record in enumerate(base[:2])]  # fmt: skip
    replayed = next(record for record in base if record.split is Split.TRAIN).model_copy(
        update={"record_id": "feedback-old"}
    )
    write_jsonl([*base[5:], *stated, replayed], tmp_path / "base.jsonl")
    other = next(p for p in patients(Split.TRAIN) if p != TRAIN)
    overridden()
    kept = overridden(other)
    report = exported(replay=[f"jsonl:{tmp_path / 'base.jsonl'}", "sample:10"])
    records = records_of(report)
    assert all(record.split is Split.TRAIN for record in records.values())
    assert set(records) == {record.record_id for record in base if record.split is Split.TRAIN} | {f"feedback-{kept}"}
    assert list(records)[-1] == f"feedback-{kept}"
    twice = sum(record.split is Split.TRAIN for record in base[5:10])
    assert report.left_out == {"patient-held-out-in-replay": 1, "replayed-feedback": 1, "replayed-twice": twice}
    assert report.num_replayed == len(records) - 1


def test_a_patient_in_two_splits_of_the_replayed_sources_stops_the_export(
    overridden: Maker, exported: Maker, tmp_path: Path
) -> None:
    overridden()
    record = next(record for record in read_records("sample:20") if record.split is Split.TRAIN)
    write_jsonl([record.model_copy(update={"split": Split.TEST, "record_id": "again"})], tmp_path / "other.jsonl")
    with pytest.raises(PatientInTwoSplitsError, match="leave one of the two out") as caught:
        exported(replay=["sample:20", f"jsonl:{tmp_path / 'other.jsonl'}"])
    assert record.notes[0].text not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir() if "set" in path.name] == []


def test_the_same_ledger_gives_the_same_bytes(overridden: Maker, exported: Maker) -> None:
    for _ in range(4):
        overridden()
    first, second = exported(replay=["sample:20"]), exported(replay=["sample:20"], name="again")
    for name in ("records.jsonl", "manifest.json"):
        assert (first.folder / name).read_bytes() == (second.folder / name).read_bytes()
    ids = [name for name in records_of(first) if name.startswith("feedback-")]
    assert ids == sorted(ids)


def test_an_export_is_told_in_the_audit_log_without_clinical_text(
    engine: Engine, overridden: Maker, exported: Maker, people: People, sample_request: SuggestionRequest
) -> None:
    overridden()
    overridden(DEV)
    report = exported(replay=["sample:20"])
    with engine.connect() as connection:
        [row] = connection.execute(select(audit_log).where(audit_log.c.action == "training-set-exported")).all()
    entry = json.loads(row.entry)
    assert row.subject == f"training-set:{report.content_sha256}"
    assert entry["principal_id"] == people["supervisor"].id
    assert entry["details"]["num_feedback"] == 1
    assert entry["details"]["left_out"] == {"patient-held-out": 1}
    assert entry["details"]["sources"] == ["feedback", "sample:20"]
    assert not any(word in row.entry for word in (TRAIN + '"', sample_request.notes[0].text[:30]))


@pytest.mark.parametrize("who", ["coder", "reviewer"])
def test_a_role_that_may_not_see_notes_exports_none(engine: Engine, people: People, tmp_path: Path, who: str) -> None:
    with pytest.raises(ForbiddenError, match="use a key of role supervisor, admin, service"):
        export(engine, out=tmp_path / "set", principal=people[who], systems=SYSTEMS)
    assert not (tmp_path / "set").exists()


def test_only_a_training_set_is_ever_replaced(overridden: Maker, exported: Maker, tmp_path: Path) -> None:
    overridden()
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("years of work")
    (tmp_path / "file").write_text("")
    for name in ("home", "file"):
        with pytest.raises(InvalidError, match="name a folder to make"):
            exported(name=name)
    assert (tmp_path / "home" / "thesis.txt").read_text() == "years of work"
    first = exported()
    overridden()
    second = exported()
    assert (first.folder, first.num_feedback, second.num_feedback) == (second.folder, 1, 2)
    assert len(records_of(second)) == 2
    # Notes are for their owner alone.
    assert stat.S_IMODE(second.folder.stat().st_mode) == 0o700


def test_the_folder_may_be_the_current_one(
    engine: Engine, overridden: Maker, people: People, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overridden()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert export(engine, out=Path(), principal=people["admin"], systems=SYSTEMS).folder == Path()
    assert {path.name for path in (tmp_path / "here").iterdir()} == {"records.jsonl", "manifest.json"}


def test_nothing_adjudicated_leaves_nothing_behind(exported: Maker, tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match="nothing is adjudicated yet"):
        exported()
    assert list(tmp_path.glob("*set*")) == []


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=st.lists(st.tuples(st.integers(0, 30), st.sampled_from(["coder-right", "ai-right"])), max_size=4))
def test_no_held_out_patient_ever_enters(overridden: Maker, exported: Maker, asked: Sequence[tuple[int, str]]) -> None:
    # The ledger keeps what earlier examples put into it.
    for number, verdict in [*asked, (0, "ai-right")]:
        overridden(f"patient-{number}", verdict=verdict)
    overridden(TRAIN)
    report = exported()
    records = records_of(report)
    held_out = {f"patient-{n}" for n in range(31) if assign_split(f"patient-{n}") is not Split.TRAIN}
    assert held_out
    assert not held_out & {record.patient_id for record in records.values()}
    manifest = Manifest.model_validate_json((report.folder / "manifest.json").read_text())
    assert not {hash_patient(patient) for patient in held_out} & set(manifest.patient_hashes)
    for record in records.values():
        for code in record.codes:
            is_learnt = code.state is not CodeState.UNKNOWN
            assert is_learnt == (code.provenance.adjudication_id in manifest.adjudication_ids)


def test_memory_does_not_grow_with_notes(
    engine: Engine, overridden: Maker, exported: Maker, sample_request: SuggestionRequest
) -> None:
    suggestion_id = overridden(notes=(Note(note_id="n1", text="word " * 10_000),))
    with writing(engine) as connection:
        copy(connection, suggestion_id, num_copies=800)
    exported(name="warm-up")
    tracemalloc.start()
    try:
        report = exported()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert report.num_feedback == 801
    # A page of 100 holds 5 MB of notes, and once more while it is parsed.
    assert (report.folder / "records.jsonl").stat().st_size > 40e6
    assert peak < 20e6
