from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
