from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical_coding.code_systems import CodeSystems, ReleasedSystem
from clinical_coding.code_systems.importing import import_release
from clinical_coding.data_directory import DataDirectory
from clinical_coding.readers import PatientInTwoSplitsError, assign_split, read_records, write_jsonl
from clinical_coding.readers.admission import Admission
from clinical_coding.records import CodedRecord, Split

Make = Callable[..., CodedRecord]


def test_splits_are_stable_across_processes_and_releases() -> None:
    # By hand: the SHA-256 begins 0x169b, 0xdc92 and 0xf645, of 0x10000.
    assert [assign_split(patient_id) for patient_id in ("p0", "p13", "p1")] == [Split.TRAIN, Split.DEV, Split.TEST]


def test_splits_come_80_to_10_to_10() -> None:
    counts = Counter(assign_split(f"patient-{number}") for number in range(20_000))
    assert counts[Split.TRAIN] / 20_000 == pytest.approx(0.8, abs=0.01)
    assert counts[Split.DEV] / 20_000 == pytest.approx(0.1, abs=0.01)
    assert counts[Split.TEST] / 20_000 == pytest.approx(0.1, abs=0.01)


@given(patients=st.lists(st.sampled_from([f"p{number}" for number in range(12)]), max_size=40))
def test_no_patient_crosses_the_splits_given_here(make_record: Make, patients: list[str]) -> None:
    admission = Admission()
    splits: dict[str, set[Split | None]] = {}
    for number, patient_id in enumerate(patients):
        record = admission.admit(make_record(f"r{number}", patient_id=patient_id))
        splits.setdefault(patient_id, set()).add(record.split)
    assert all(len(found) == 1 and None not in found for found in splits.values())


stated = st.sampled_from([None, *Split])


@given(rows=st.lists(st.tuples(st.sampled_from(["p1", "p2", "p3"]), stated), max_size=12))
def test_stated_splits_are_kept_or_refused_never_crossed(
    make_record: Make, rows: list[tuple[str, Split | None]]
) -> None:
    expected: dict[str, set[Split]] = {}
    for patient_id, split in rows:
        expected.setdefault(patient_id, set()).add(split or assign_split(patient_id))
    admission = Admission()
    records = [make_record(f"r{n}", patient_id=patient, split=split) for n, (patient, split) in enumerate(rows)]
    if any(len(splits) > 1 for splits in expected.values()):
        with pytest.raises(PatientInTwoSplitsError, match="state the same split on both"):
            for record in records:
                admission.admit(record)
    else:
        admitted = [admission.admit(record) for record in records]
        assert [record.split for record in admitted] == [split or assign_split(patient) for patient, split in rows]


@given(ids=st.lists(st.sampled_from(["r1", "r2", "r3", "r4"]), max_size=10))
def test_every_record_id_is_read_once(
    make_record: Make, tmp_path_factory: pytest.TempPathFactory, ids: list[str]
) -> None:
    path: Path = tmp_path_factory.mktemp("twice") / "records.jsonl"
    write_jsonl((make_record(record_id) for record_id in ids), path)
    read = [record.record_id for record in read_records(f"jsonl:{path}")]
    assert read == list(dict.fromkeys(ids))


@pytest.fixture(scope="module")
def systems(tmp_path_factory: pytest.TempPathFactory) -> CodeSystems:
    """The embedded release, a later one of two codes, and a list of CPT codes."""
    folder = tmp_path_factory.mktemp("releases")
    directory = DataDirectory.locate(folder / "data")
    rows = [("I21", 0, "Infarction"), ("I214", 0, "NSTEMI"), ("I2141", 1, "Finer")]
    lines = (f"{number:05} {code:<7} {valid} {words:<60} {words}\n" for number, (code, valid, words) in enumerate(rows))
    (folder / "order.txt").write_text("".join(lines))
    (folder / "codes.txt").write_text("99214\tOur words\n")
    for system, name, start in (
        (ReleasedSystem.ICD10CM, "order.txt", date(2026, 10, 1)),
        (ReleasedSystem.CPT, "codes.txt", date(2026, 1, 1)),
    ):
        import_release(system, [folder / name], name=f"{start:%Y-%m}", effective_from=start, directory=directory)
    return CodeSystems.open(directory.code_systems)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        # Without a release: what some held release knows in any form is let pass, whatever the day.
        ({"code": "I21.4"}, None),
        ({"code": "I21.41"}, None),
        ({"code": "I21"}, None),
        ({"code": "I21.45"}, r"codes.0.code: 'I21.45' is not a code of ICD-10-CM 2026-04 \(nearest: I21.4\)"),
        ({"system": "cpt", "code": "99214"}, None),
        ({"system": "cpt", "code": "99215"}, "'99215' is not a code of CPT 2026-01; correct it"),
        ({"system": "hcpcs", "code": "J1885"}, None),
        # A held release judges what states it.
        ({"code": "I21.4", "release": "2026-04"}, None),
        ({"code": "I21.4", "release": "2026-10"}, r"ICD-10-CM 2026-10 \(its category I21.4 has more specific ones\)"),
        ({"code": "I21.41", "release": "2026-10"}, None),
        ({"code": "I21.41", "release": "2026-04"}, r"ICD-10-CM 2026-04 \(nearest: I21.4\)"),
        ({"code": "I21", "release": "2026-04"}, "has more specific ones"),
        # Nothing is known of a release that is not held.
        ({"code": "I21.45", "release": "icd10es-2018"}, None),
    ],
)
def test_codes_are_judged_by_their_release_or_by_what_any_release_knows(
    make_record: Make, systems: CodeSystems, code: dict[str, str], message: str | None
) -> None:
    encounter = {"setting": "outpatient", "specialty": "cardiology", "service_start": "2026-05-01"}
    record = make_record(encounter=encounter, codes=[{"system": "icd10cm"} | code])
    admission = Admission(systems)
    if message is None:
        assert admission.admit(record).codes == record.codes
    else:
        with pytest.raises(ValueError, match=message):
            admission.admit(record)
