"""Codes that are not valid for their record's date: mapped where one is meant, else dropped without denying others."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinical_coding.code_systems import CodeSystems
from clinical_coding.codes import CodeState
from clinical_coding.data_directory import DataDirectory
from clinical_coding.readers import read_records, write_jsonl
from clinical_coding.records import CodedRecord
from training.code_validity import MAX_MASKED_CODES, CodeValidity, ValidCodes

IN_FORCE = "2026-05-01"

OLDER = {
    "I50": "Heart failure",
    "I50.9": "Heart failure, unspecified",
    "M51": "Disc disorders",
    "M51.3": "Disc degeneration",
    "M51.36": "Disc degeneration, lumbar region",
    "Z73": "Life problems",
    "Z73.0": "Burn-out",
    "Z73.1": "Old words for nothing else",
    "Z99": "Dependence on machines",
    "Z99.0": "Dependence on aspirator",
}
NEWER = {
    "I50": "Heart failure",
    "I50.9": "Heart failure, unspecified",
    "M51": "Disc disorders",
    "M51.3": "Disc degeneration",
    "M51.36": "Disc degeneration, lumbar region",
    "M51.360": "Disc degeneration, lumbar region, with pain of the back alone",
    "M51.369": "Disc degeneration, lumbar region, without mention of pain",
    "Z73": "Life problems",
    "Z73.9": "BURN-OUT",
    "Z99": "Dependence on machines",
    "Z99.0": "Dependence on aspirator",
}


def record(codes: Sequence[dict[str, Any]], *, day: str | None = IN_FORCE, **changes: Any) -> CodedRecord:
    encounter = {"setting": "outpatient", "specialty": "cardiology", "service_start": day}
    notes = [{"note_id": "n1", "text": "Invented words, forty characters of them."}]
    stated = [{"system": "icd10cm"} | code for code in codes]
    fields = {"record_id": "r1", "patient_id": "p1", "encounter": encounter, "notes": notes, "codes": stated}
    return CodedRecord.model_validate(fields | changes)


def settle(one: CodedRecord, systems: CodeSystems) -> tuple[CodedRecord, CodeValidity]:
    valid_codes = ValidCodes(systems)
    (settled,) = valid_codes.settle([one])
    return settled, valid_codes.counts()


def told(settled: CodedRecord) -> list[tuple[str, str]]:
    return [(code.code, code.state.value) for code in settled.codes]


@pytest.fixture(scope="module")
def embedded() -> CodeSystems:
    return CodeSystems.embedded()


@pytest.fixture(scope="module")
def releases(import_icd10cm: Any, tmp_path_factory: pytest.TempPathFactory) -> CodeSystems:
    """A small release before the embedded one and one after it."""
    data_dir = tmp_path_factory.mktemp("releases")
    import_icd10cm(data_dir, OLDER, start=date(2025, 10, 1))
    import_icd10cm(data_dir, NEWER, start=date(2026, 10, 1))
    return CodeSystems.open(DataDirectory.locate(data_dir).code_systems)


@pytest.mark.parametrize(
    ("code", "fate", "expected"),
    [
        ("I10", "valid", [("I10", "positive")]),
        # I.A.4: the placeholder X was left out, before the 7th character or in the middle.
        ("T15.01A", "mapped-completed", [("T15.01XA", "positive")]),
        ("T36.01A", "mapped-completed", [("T36.0X1A", "positive")]),
        # I.B.2: a heading denies none of the codes below it.
        ("A00", "dropped-not-a-leaf", [("A00.0", "unknown"), ("A00.1", "unknown"), ("A00.9", "unknown")]),
        # I.A.5: which 7th character is meant, nobody can tell.
        ("T15.01", "dropped-not-a-leaf", [(f"T15.01X{seventh}", "unknown") for seventh in "ADS"]),
        # More characters than there are: the code that it goes beyond is not denied.
        ("I10.9", "dropped-unknown", [("I10", "unknown")]),
        ("B20.1", "dropped-unknown", [("B20", "unknown")]),
    ],
)
def test_a_code_is_judged_by_the_release_in_force(
    embedded: CodeSystems, code: str, fate: str, expected: list[tuple[str, str]]
) -> None:
    settled, counts = settle(record([{"code": code}]), embedded)
    assert told(settled) == expected
    assert {name: count for name, count in counts.codes.items() if count} == {fate: 1}
    assert settled.unlisted == "absent"


@pytest.mark.parametrize(
    ("code", "day", "fate", "expected"),
    [
        ("M51.36", "2025-11-01", "valid", ["M51.36"]),
        # The same code became a heading.
        ("M51.36", "2026-11-01", "dropped-not-a-leaf", ["M51.360", "M51.369"]),
        ("M51.360", "2026-11-01", "valid", ["M51.360"]),
        # Not there yet, so the code that stood in its place is not denied.
        ("M51.360", "2025-11-01", "dropped-not-yet-effective", ["M51.36"]),
        # Deleted: another code has the same title; or none, and the neighbours are not denied.
        ("Z73.0", "2026-11-01", "mapped-successor", ["Z73.9"]),
        ("Z73.1", "2026-11-01", "dropped-deleted", ["Z73.9"]),
        ("I50", "2026-11-01", "mapped-only-code-below", ["I50.9"]),
        ("I50.9", "2026-11-01", "valid", ["I50.9"]),
    ],
)
def test_each_date_has_its_release(releases: CodeSystems, code: str, day: str, fate: str, expected: list[str]) -> None:
    settled, counts = settle(record([{"code": code}], day=day), releases)
    assert [one.code for one in settled.codes] == expected
    assert {name: count for name, count in counts.codes.items() if count} == {fate: 1}
    state = "unknown" if fate.startswith("dropped-") else "positive"
    assert {one.state for one in settled.codes} == {state}


def test_a_stated_release_outweighs_the_date(releases: CodeSystems) -> None:
    one = record([{"code": "M51.36", "release": "2025-10"}, {"code": "Z73.0", "release": "2026-10"}], day="2026-11-01")
    settled, counts = settle(one, releases)
    assert [(code.code, code.release) for code in settled.codes] == [("M51.36", "2025-10"), ("Z73.9", "2026-10")]
    assert (counts.num_mapped, counts.num_dropped) == (1, 0)


def test_the_date_of_an_inpatient_is_the_discharge(releases: CodeSystems) -> None:
    stay = {"setting": "inpatient", "specialty": "surgery", "service_start": "2026-09-29", "service_end": "2026-10-02"}
    settled, _ = settle(record([{"code": "M51.360"}], encounter=stay), releases)
    assert told(settled) == [("M51.360", "positive")]


@pytest.mark.parametrize(
    ("code", "day"),
    [
        # A release that is not held, of which nobody knows what it holds.
        ({"code": "I50", "release": "icd10es-2018"}, IN_FORCE),
        ({"code": "Z73.1", "release": "2019-10"}, IN_FORCE),
        # No held release covers the day; the nearest would be a guess.
        ({"code": "Z73.1"}, "2019-05-01"),
        # No release of the system is held.
        ({"system": "cpt", "code": "99213"}, IN_FORCE),
        ({"system": "hcpcs", "code": "J9999"}, IN_FORCE),
        ({"system": "icd10pcs", "code": "0270", "release": "icd10es-2018"}, None),
    ],
)
def test_what_nobody_can_judge_is_kept(embedded: CodeSystems, code: dict[str, Any], day: str | None) -> None:
    one = record([code], day=day)
    settled, counts = settle(one, embedded)
    assert settled is one
    assert counts.codes["not-judged"] == 1


def test_without_a_date_the_newest_release_judges(releases: CodeSystems) -> None:
    settled, _ = settle(record([{"code": "M51.360"}, {"code": "Z73.0"}], day=None), releases)
    assert told(settled) == [("M51.360", "positive"), ("Z73.9", "positive")]


def test_a_code_mapped_onto_itself_is_merged(releases: CodeSystems) -> None:
    spans = [{"note_id": "n1", "start": 0, "end": 8}, {"note_id": "n1", "start": 6, "end": 14}]
    codes = [
        {"code": "Z73.0", "evidence": [spans[0], {"note_id": "n1", "start": 20, "end": 25}], "sequence": 2},
        {"code": "Z73.9", "evidence": [spans[1]], "weight": 3.0, "sequence": 1},
    ]
    settled, counts = settle(record(codes, day="2026-11-01"), releases)
    (code,) = settled.codes
    assert (code.code, code.sequence, code.weight) == ("Z73.9", 1, 3.0)
    assert [(span.start, span.end) for span in code.evidence] == [(0, 14), (20, 25)]
    assert counts.num_merged_codes == 1
    # What is written is a record that readers take.
    assert CodedRecord.model_validate_json(settled.model_dump_json()) == settled


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (("negative", "positive"), "positive"),
        (("positive", "negative"), "positive"),
        (("negative", "unknown"), "unknown"),
        (("negative", "negative"), "negative"),
    ],
)
def test_of_two_states_the_stronger_wins(releases: CodeSystems, states: tuple[str, str], expected: str) -> None:
    codes = [{"code": code, "state": state} for code, state in zip(("Z73.0", "Z73.9"), states, strict=True)]
    settled, _ = settle(record(codes, day="2026-11-01"), releases)
    assert told(settled) == [("Z73.9", expected)]


def test_modifiers_keep_codes_apart(releases: CodeSystems) -> None:
    codes = [{"code": "Z73.0", "modifiers": ["25"]}, {"code": "Z73.9"}]
    settled, counts = settle(record(codes, day="2026-11-01"), releases)
    assert [(code.code, code.modifiers) for code in settled.codes] == [("Z73.9", ("25",)), ("Z73.9", ())]
    assert counts.num_merged_codes == 0


def test_a_code_that_the_record_states_is_not_masked(embedded: CodeSystems) -> None:
    codes = [{"code": "A00"}, {"code": "A00.1"}, {"code": "A00.9", "state": "negative"}]
    settled, counts = settle(record(codes), embedded)
    assert told(settled) == [("A00.1", "positive"), ("A00.9", "negative"), ("A00.0", "unknown")]
    assert counts.num_masked_codes == 1


def test_a_rejected_code_denies_no_other_and_masks_none(embedded: CodeSystems) -> None:
    settled, counts = settle(record([{"code": "A00", "state": "negative"}, {"code": "I10"}]), embedded)
    assert told(settled) == [("I10", "positive")]
    assert (counts.num_dropped, counts.num_masked_codes) == (1, 0)


@pytest.mark.parametrize("code", ["S52", "Q98.9X", "U99"])
def test_where_neighbours_cannot_be_listed_nothing_unlisted_is_known(embedded: CodeSystems, code: str) -> None:
    library = embedded.icd10cm()
    nearest = library.nearest_ancestor(code)
    too_many = nearest is None or len(library.leaves_below(nearest.code)) > MAX_MASKED_CODES
    settled, counts = settle(record([{"code": code}, {"code": "I10"}]), embedded)
    assert (settled.unlisted == "unknown") is too_many
    assert counts.num_partial_records == too_many
    assert ("I10", "positive") in told(settled)
    # A record that was partial before is not counted again.
    assert settle(record([{"code": code}], unlisted="unknown"), embedded)[1].num_partial_records == 0


def test_sample_records_are_passed_on_as_they_are(embedded: CodeSystems) -> None:
    records = list(read_records("sample:60"))
    valid_codes = ValidCodes(embedded)
    assert all(one is other for one, other in zip(valid_codes.settle(records), records, strict=True))
    counts = valid_codes.counts()
    assert counts.codes["valid"] > 0 and counts.num_changed_records == 0
    assert sum(counts.codes.values()) == sum(len(one.codes) for one in records)
    assert "mapped" not in counts.describe() and "dropped" not in counts.describe()


def test_what_a_reader_lets_pass_is_settled(embedded: CodeSystems, tmp_path: Path) -> None:
    write_jsonl([record([{"code": "A00"}, {"code": "I10"}])], tmp_path / "records.jsonl")
    (read,) = read_records(f"jsonl:{tmp_path / 'records.jsonl'}", max_rejects=0)
    settled, counts = settle(read, embedded)
    assert told(settled)[:2] == [("I10", "positive"), ("A00.0", "unknown")]
    assert counts.codes["dropped-not-a-leaf"] == 1


def test_counts_are_told_in_one_line(embedded: CodeSystems) -> None:
    valid_codes = ValidCodes(embedded)
    list(valid_codes.settle([record([{"code": code}]) for code in ("I10", "A00", "S52", "T15.01A")]))
    assert valid_codes.counts().describe() == (
        "codes by release: valid 1, mapped completed 1, dropped not a leaf 2; records that are now partial 1"
    )


CODES = st.sampled_from([*OLDER, *NEWER, "Z73.5", "U99", "T15.01A", "S52"])
STATES = st.sampled_from([state.value for state in CodeState])


@settings(max_examples=150, deadline=None)
@given(
    codes=st.dictionaries(CODES, STATES, max_size=6),
    day=st.sampled_from([None, "2025-11-01", IN_FORCE, "2026-11-01", "2019-01-01"]),
)
def test_settling_twice_is_settling_once(releases: CodeSystems, codes: dict[str, str], day: str | None) -> None:
    one = record([{"code": code, "state": state} for code, state in codes.items()], day=day)
    settled, _ = settle(one, releases)
    assert CodedRecord.model_validate_json(settled.model_dump_json()) == settled
    again, counts = settle(settled, releases)
    assert again is settled
    assert counts.num_mapped == counts.num_dropped == 0


def test_every_training_tells_what_became_of_its_codes(made_store: Any) -> None:
    run = made_store.data_dir / "artifacts" / made_store.result.run_id / "artifacts"
    stored = CodeValidity.model_validate_json((run / "code-validity.json").read_bytes())
    assert stored == made_store.result.code_validity
    assert stored.num_dropped == stored.num_mapped == 0
    assert stored.codes["valid"] > stored.codes["not-judged"] > 0
