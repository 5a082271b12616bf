from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clinical_coding.manifest import hash_patient
from clinical_coding.registered_version import PREDICTIONS_ARTIFACT
from governance.measured import compare_logged, describe_bundle, manifest_of_bundle
from governance.versions import find_version, resolve_version

Register = Callable[..., int]


@pytest.fixture
def register_measured(register: Register, make_evaluated: Any, make_prediction: Any) -> Register:
    """Register a version that was measured on records of these ids, and got one in so many right."""

    def make(seed: str, *record_ids: str, right: int = 1, **settings: Any) -> int:
        records = [make_evaluated(record_id) for record_id in record_ids]
        predictions = [
            make_prediction(record_id, ["icd10cm:I10"], place % right == 0)
            for place, record_id in enumerate(record_ids)
        ]
        return register(seed, evaluated=records, predictions=predictions, **settings)

    return make


def test_what_two_trainings_logged_is_compared(data_dir: Path, register_measured: Register) -> None:
    for seed, right in (("one", 2), ("two", 1)):
        register_measured(seed, "r1", "r2", "r3", "r4", right=right)
    comparison = compare_logged("1", "candidate", data_dir=data_dir)
    assert (comparison.a.number, comparison.b.number, comparison.num_records) == (1, 2, 4)
    assert comparison.b == describe_bundle(resolve_version("2", data_dir=data_dir))
    accuracy = comparison.overall("code_over_code_accuracy")
    assert (accuracy.a, accuracy.b, accuracy.difference) == (0.5, 1.0, 0.5)
    assert [code.key for code in comparison.changed_codes] == ["icd10cm:I10"]


def test_versions_measured_on_different_records_are_refused(data_dir: Path, register_measured: Register) -> None:
    register_measured("one", "r1", "r2")
    register_measured("two", "r1", "r3")
    with pytest.raises(ValueError, match=r"measured on different records: evaluation set .* with --records"):
        compare_logged("1", "2", data_dir=data_dir)


@pytest.mark.parametrize("trained_on", [("t1", "r2"), ("t1", "of-patient-r2")])
def test_a_version_trained_on_evaluation_records_is_refused(
    data_dir: Path, register: Register, make_evaluated: Any, make_prediction: Any, trained_on: tuple[str, ...]
) -> None:
    records = [make_evaluated("r1"), make_evaluated("r2", patient_hash=hash_patient("patient-of-of-patient-r2"))]
    predictions = [make_prediction(record.record_id, [], 0) for record in records]
    register("one", evaluated=records, predictions=predictions)
    register("two", evaluated=records, predictions=predictions, trained_on=trained_on)
    for a, b in (("1", "2"), ("2", "1")):
        with pytest.raises(ValueError, match=r"1 of 2 evaluation records leaked into the training of version 2 \("):
            compare_logged(a, b, data_dir=data_dir)


def test_what_was_not_logged_is_named_with_the_remedy(
    data_dir: Path, register: Register, register_measured: Register, make_bundle: Callable[[str], Path]
) -> None:
    register_measured("one", "r1")
    register("two")
    with pytest.raises(
        ValueError, match=r"version 2: run .* no readable artefact evaluation/records\.jsonl .*--records"
    ):
        compare_logged("1", "2", data_dir=data_dir)
    with pytest.raises(ValueError, match=r"is a bundle's folder, of which no measurement is registered.*--records"):
        compare_logged(str(make_bundle("aside")), "1", data_dir=data_dir)
    run_id = find_version("1", data_dir=data_dir).run_id
    (path,) = (data_dir / "artifacts" / str(run_id)).rglob(PREDICTIONS_ARTIFACT)
    path.write_text(path.read_text() + '{"record_id": "secret words"}\n')
    with pytest.raises(
        ValueError, match=r"evaluation/predictions\.jsonl of version 1, line 2: version: Field"
    ) as caught:
        compare_logged("1", "1", data_dir=data_dir)
    assert "secret" not in str(caught.value)


def test_a_bundle_without_its_manifest_cannot_be_judged(make_bundle: Callable[[str], Path], tmp_path: Path) -> None:
    resolved = resolve_version(str(make_bundle("one")), data_dir=tmp_path)
    with pytest.raises(ValueError, match=r"has no manifest\.json, so nobody can tell what it was trained on"):
        manifest_of_bundle(resolved)


def test_a_bundle_carries_the_manifest_of_its_training(tiny_bundle: Path, tmp_path: Path, trained_store: Any) -> None:
    manifest = manifest_of_bundle(resolve_version(str(tiny_bundle), data_dir=tmp_path))
    assert len(manifest.patient_hashes) > 0
    assert manifest.sources == ("sample:60",)
