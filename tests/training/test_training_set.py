"""An exported training set: read when it is whole, refused when it is not or when it leaks."""

import json
from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from clinical_coding.bundle import read_labels
from clinical_coding.code_systems import CodeSystems
from clinical_coding.codes import Code, CodeSystem
from clinical_coding.data_directory import DataDirectory
from clinical_coding.evaluation_set import EvaluatedRecord, evaluation_set_sha256
from clinical_coding.manifest import Manifest
from clinical_coding.predictions import Prediction
from clinical_coding.readers import read_records, write_jsonl
from clinical_coding.records import CodedRecord
from clinical_coding.registered_version import EVALUATED_RECORDS_ARTIFACT, MANIFEST_ARTIFACT, PREDICTIONS_ARTIFACT
from governance.versions import list_versions, resolve_version
from training.code_validity import ValidCodes
from training.config import TrainConfig
from training.dataset import load_records, open_stored, store_records
from training.train import train
from training.training_set import store_training_set

Store = Callable[..., Manifest]
ARTIFACTS = (PREDICTIONS_ARTIFACT, EVALUATED_RECORDS_ARTIFACT, MANIFEST_ARTIFACT)
CORRECTED = "icd10cm:K52.9"


def adjudicated(number: int, **changes: Any) -> CodedRecord:
    """A record of two adjudicated codes; nothing is known of others. Patients q0 to q3 are assigned to train."""
    provenance = {"source": "adjudication", "adjudication_id": f"a{number}"}
    codes = [
        {"system": "icd10cm", "code": "K52.9", "provenance": provenance},
        {"system": "icd10cm", "code": "I10", "state": "negative", "weight": 2.0, "provenance": provenance},
        {"system": "icd10cm", "code": "N17.9", "state": "unknown", "provenance": {"source": "decision"}},
    ]
    fields = {"record_id": f"feedback-s{number}", "patient_id": f"q{number}", "split": "train", "codes": codes}
    encounter = {"setting": "outpatient", "specialty": "family-medicine"}
    notes = [{"note_id": "n1", "text": "Assessment: gastroenteritis. Plan: follow up in two weeks."}]
    return CodedRecord.model_validate(
        fields | {"encounter": encounter, "notes": notes, "unlisted": "unknown"} | changes
    )


def export(folder: Path, records: Iterable[CodedRecord], **changes: Any) -> Path:
    """Write a training set as feedback does; its manifest may be made to differ."""
    folder.mkdir()
    records = list(records)
    write_jsonl(records, folder / "records.jsonl")
    manifest = store_records(records, sources=["feedback", "jsonl:records.jsonl"], path=folder.parent / "scratch.arrow")
    (folder / "manifest.json").write_text(manifest.model_copy(update=changes).model_dump_json() + "\n")
    return folder


@pytest.fixture
def base(made_records: list[CodedRecord]) -> list[CodedRecord]:
    """What feedback replays: the training split."""
    return [record for record in made_records if record.split == "train"]


@pytest.fixture
def store(made_config: TrainConfig, tmp_path: Path) -> Store:
    """Store a training set under the made-up records as those that measure."""

    def store(folder: Path, *, valid_codes: ValidCodes | None = None) -> Manifest:
        return store_training_set(
            folder,
            base=made_config.records,
            path=tmp_path / "stored.arrow",
            valid_codes=valid_codes or ValidCodes(CodeSystems.embedded()),
            counted=lambda records: records,
        )

    return store


def test_a_whole_training_set_is_stored_under_its_own_manifest(
    base: list[CodedRecord], store: Store, tmp_path: Path
) -> None:
    records = [*base, adjudicated(0), adjudicated(1)]
    folder = export(tmp_path / "set", records)
    assert store(folder) == Manifest.model_validate_json((folder / "manifest.json").read_bytes())
    assert list(load_records(open_stored(tmp_path / "stored.arrow"))) == records


def test_what_is_settled_changes_the_manifest_of_what_is_trained_on_alone(
    base: list[CodedRecord], store: Store, import_icd10cm: Any, tmp_path: Path
) -> None:
    import_icd10cm(tmp_path, {"N17": "Acute kidney failure", "N17.0": "Tubular necrosis"}, start=date(2025, 10, 1))
    systems = CodeSystems.open(DataDirectory.locate(tmp_path).code_systems)
    too_early = Code(system=CodeSystem.ICD10CM, code="N17.9")
    then = base[0].encounter.model_copy(update={"service_start": date(2025, 11, 3), "service_end": date(2025, 11, 3)})
    records = [base[0].model_copy(update={"codes": (too_early,), "encounter": then}), *base[1:]]
    folder, valid_codes = export(tmp_path / "set", records), ValidCodes(systems)
    stored = store(folder, valid_codes=valid_codes)
    exported = Manifest.model_validate_json((folder / "manifest.json").read_bytes())
    assert stored.content_sha256 != exported.content_sha256
    assert stored == exported.model_copy(update={"content_sha256": stored.content_sha256})
    assert valid_codes.counts().num_dropped == 1
    settled, *others = load_records(open_stored(tmp_path / "stored.arrow"))
    assert [(code.code, code.state) for code in settled.codes] == [("N17.0", "unknown")]
    assert others == base[1:]


def test_a_manifest_that_names_no_patients_is_taken(base: list[CodedRecord], store: Store, tmp_path: Path) -> None:
    assert len(store(export(tmp_path / "set", base, patient_hashes=())).patient_hashes) == 20


@pytest.mark.parametrize("name", ["manifest.json", "records.jsonl"])
def test_a_missing_file_is_named(base: list[CodedRecord], store: Store, tmp_path: Path, name: str) -> None:
    folder = export(tmp_path / "set", base)
    (folder / name).unlink()
    with pytest.raises(ValueError, match=rf"training set .*set has no {name}; name a folder that `chartloop feedback"):
        store(folder)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"content_sha256": "0" * 64}, "content_sha256"),
        ({"record_ids": ("r1",)}, "record_ids"),
        ({"adjudication_ids": ()}, "adjudication_ids"),
        ({"adjudication_ids": ("a0", "a7")}, "adjudication_ids"),
        ({"splits": {"train": 3}}, "splits"),
        ({"patient_hashes": ("0" * 64,)}, "patient_hashes"),
    ],
)
def test_a_manifest_of_other_records_is_refused(
    base: list[CodedRecord], store: Store, tmp_path: Path, changes: dict[str, Any], field: str
) -> None:
    folder = export(tmp_path / "set", [*base, adjudicated(0)], **changes)
    message = f"is damaged: {field} in manifest.json is not that of records.jsonl; export it again"
    with pytest.raises(ValueError, match=message):
        store(folder)


def test_damage_to_the_records_is_found(base: list[CodedRecord], store: Store, tmp_path: Path) -> None:
    folder = export(tmp_path / "set", base)
    path = folder / "records.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    for damaged, message in (
        (lines[:-1], "record_ids in manifest.json"),
        ([*lines[:-1], lines[-1].replace("Phone call", "Phone chat")], "content_sha256 in manifest.json"),
        ([lines[1], lines[0], *lines[2:]], "record_ids in manifest.json"),
        ([*lines[:-1], lines[-1][:50]], "line 40: record: Invalid JSON"),
        ([*lines, lines[0]], "line 41: record_id 'r[0-9]+' was read before"),
        ([], "records.jsonl holds no record"),
    ):
        path.write_text("".join(damaged))
        with pytest.raises(ValueError, match=message) as caught:
            store(folder)
        assert "Phone" not in str(caught.value)


def test_a_malformed_manifest_is_refused_by_field(base: list[CodedRecord], store: Store, tmp_path: Path) -> None:
    folder = export(tmp_path / "set", base)
    manifest = json.loads((folder / "manifest.json").read_text()) | {"content_sha256": "short"}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=r"manifest\.json: content_sha256: .*; export it again"):
        store(folder)


@pytest.mark.parametrize(
    ("leak", "fault"),
    [
        # By the made-up records p23 is of dev and p25 of test; by their hashes q8 is of dev and q16 of test.
        ({"split": "dev"}, "is of split dev, expected train"),
        ({"split": "test"}, "is of split test, expected train"),
        ({"patient_id": "p23"}, r"is of a patient in the dev split of jsonl:records\.jsonl"),
        ({"patient_id": "p25"}, r"is of a patient in the test split of jsonl:records\.jsonl"),
        ({"patient_id": "q8"}, "is of a patient assigned to dev"),
        ({"patient_id": "q16"}, "is of a patient assigned to test"),
    ],
)
def test_training_records_that_leak_the_evaluation_patients_are_refused(
    base: list[CodedRecord], store: Store, tmp_path: Path, leak: dict[str, Any], fault: str
) -> None:
    folder = export(tmp_path / "set", [*base, adjudicated(0, **leak)])
    message = rf"would leak the evaluation patients: record 'feedback-s0' {fault}; export it again"
    with pytest.raises(ValueError, match=message):
        store(folder)


def test_a_leak_ends_a_training_before_a_run_begins(
    base: list[CodedRecord], made_config: TrainConfig, data_dir: Path, tmp_path: Path
) -> None:
    folder = export(tmp_path / "set", [*base, adjudicated(0, patient_id="p23")])
    with pytest.raises(ValueError, match="would leak the evaluation patients"):
        train(made_config, data_dir=data_dir, console=Console(quiet=True), training_set=folder)
    assert not list((data_dir / "checkpoints").glob("incoming-*"))
    assert list_versions(data_dir=data_dir) == []


def test_the_next_version_is_measured_on_the_same_records(
    base: list[CodedRecord], made_config: TrainConfig, made_store: Any, data_dir: Path, tmp_path: Path
) -> None:
    folder = export(tmp_path / "set", [*base, *(adjudicated(number) for number in range(4))])
    result = train(made_config, data_dir=data_dir, console=Console(quiet=True), training_set=folder)
    assert result.evaluated_on == "dev"
    second, first = (
        {name: data / "artifacts" / run_id / "artifacts" / name for name in ARTIFACTS}
        for data, run_id in ((data_dir, result.run_id), (made_store.data_dir, made_store.result.run_id))
    )
    truths = [
        [
            EvaluatedRecord.model_validate_json(line)
            for line in paths[EVALUATED_RECORDS_ARTIFACT].read_text().splitlines()
        ]
        for paths in (first, second)
    ]
    expected = [EvaluatedRecord.of(record) for record in read_records(made_config.records, splits=("dev",))]
    assert truths[0] == truths[1] == expected
    assert evaluation_set_sha256(truths[1]) == evaluation_set_sha256(expected)
    predictions = [
        Prediction.model_validate_json(line) for line in second[PREDICTIONS_ARTIFACT].read_text().splitlines()
    ]
    assert [one.record_id for one in predictions] == [one.record_id for one in expected]
    assert {one.version for one in predictions} == {result.version.bundle_sha256[:12]}
    manifest = Manifest.model_validate_json((folder / "manifest.json").read_bytes())
    assert Manifest.model_validate_json(second[MANIFEST_ARTIFACT].read_bytes()) == manifest
    bundle = resolve_version("1", data_dir=data_dir).folder
    assert Manifest.model_validate_json((bundle / "manifest.json").read_bytes()) == manifest
    assert manifest.adjudication_ids == ("a0", "a1", "a2", "a3")
    # The adjudicated code is learnt; what stands unaudited beside it is no label of its own.
    assert CORRECTED in {label.key for label in read_labels(bundle)}
    assert CORRECTED not in {label.key for label in read_labels(made_store.bundle)}
