import pytest

from clinical_coding.readers import read_records
from clinical_coding.readers.spec import RecordSpec, parse_spec, without_folders
from clinical_coding.records import Split


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("jsonl:a/b.jsonl", RecordSpec("jsonl", "a/b.jsonl", {})),
        ("jsonl:odd?name.jsonl", RecordSpec("jsonl", "odd?name.jsonl", {})),
        ("parquet:C:/x.parquet", RecordSpec("parquet", "C:/x.parquet", {})),
        ("codiesp:c.zip", RecordSpec("codiesp", "c.zip", {"lang": "en", "task": "D"})),
        ("codiesp:c.zip?task=P", RecordSpec("codiesp", "c.zip", {"lang": "en", "task": "P"})),
        ("codiesp:c.zip?lang=es&task=D", RecordSpec("codiesp", "c.zip", {"lang": "es", "task": "D"})),
        ("sample:20", RecordSpec("sample", "20", {"seed": "0"})),
        ("sample:20?seed=4242", RecordSpec("sample", "20", {"seed": "4242"})),
    ],
)
def test_a_spec_comes_apart(spec: str, expected: RecordSpec) -> None:
    assert parse_spec(spec) == expected


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "records.jsonl",
        "jsonl:",
        "csv:records.csv",
        "codiesp:c.zip?lang=fr",
        "codiesp:c.zip?task=X",
        "codiesp:c.zip?split=dev",
        "codiesp:c.zip?",
        "sample:many",
        "sample:-1",
        "sample:5?seed=x",
        "sample:5?size=3",
    ],
)
def test_another_spec_is_refused_with_the_allowed_forms(spec: str) -> None:
    with pytest.raises(ValueError, match=r"write jsonl:PATH, parquet:PATH, codiesp:PATH\[.*\] or sample:N\[") as caught:
        parse_spec(spec)
    assert repr(spec) in str(caught.value)


@pytest.mark.parametrize(
    "spec", ["jsonl:/nowhere/x.jsonl", "parquet:/nowhere/x.parquet", "codiesp:/nowhere", "jsonl:/"]
)
def test_a_missing_file_is_told_before_anything_is_read(spec: str) -> None:
    with pytest.raises(ValueError, match=r"names no file at /.*; check the path"):
        read_records(spec)


def test_the_chosen_splits_partition_the_records() -> None:
    whole = list(read_records("sample:60"))
    parts = {split: list(read_records("sample:60", splits=(split,))) for split in Split}
    assert all(parts.values())
    assert all(record.split is split for split, records in parts.items() for record in records)
    assert sorted((record for records in parts.values() for record in records), key=whole.index) == whole
    both = (Split.TRAIN, Split.DEV)
    assert list(read_records("sample:60", splits=both)) == [record for record in whole if record.split in both]


@pytest.mark.parametrize(
    ("spec", "shown"),
    [
        ("jsonl:/home/ada/records.jsonl", "jsonl:records.jsonl"),
        ("codiesp:../data/codiesp.zip?lang=es&task=D", "codiesp:codiesp.zip?lang=es&task=D"),
        ("sample:10?seed=1", "sample:10?seed=1"),
    ],
)
def test_a_manifest_names_no_folders(spec: str, shown: str) -> None:
    assert without_folders(spec) == shown
