from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clinical_coding.evaluation_set import EvaluatedRecord
from clinical_coding.manifest import Manifest, hash_patient
from governance.lineage import manifest_of, parse_manifest, require_unseen, versions_trained_on
from governance.versions import find_version

Register = Callable[..., int]


def test_versions_are_found_by_an_adjudication_that_trained_them(data_dir: Path, register: Register) -> None:
    register("one", adjudication_ids=("a1",))
    register("two", adjudication_ids=("a1", "a2"))
    register("three")
    assert [version.number for version in versions_trained_on("a1", data_dir=data_dir)] == [2, 1]
    assert [version.number for version in versions_trained_on("a2", data_dir=data_dir)] == [2]
    assert versions_trained_on("a3", data_dir=data_dir) == []


def test_a_lost_or_foreign_manifest_is_not_passed_over(data_dir: Path, register: Register) -> None:
    register("one")
    version = find_version("candidate", data_dir=data_dir)
    assert manifest_of(version, data_dir=data_dir).record_ids == ("t1",)
    (path,) = (data_dir / "artifacts" / str(version.run_id)).rglob("artifacts/manifest.json")
    manifest = Manifest.model_validate_json(path.read_bytes())
    path.write_text(manifest.model_copy(update={"content_sha256": "3" * 64}).model_dump_json())
    with pytest.raises(
        ValueError, match=f"manifest of version 1 has content_sha256 {'3' * 64}, registered was {'2' * 64}"
    ):
        versions_trained_on("a1", data_dir=data_dir)
    path.unlink()
    with pytest.raises(ValueError, match=r"run .* has no readable artefact manifest\.json .*; restore it"):
        versions_trained_on("a1", data_dir=data_dir)


def test_a_data_directory_may_be_moved(data_dir: Path, register: Register, tmp_path: Path) -> None:
    register("one", adjudication_ids=("a1",))
    moved = data_dir.rename(tmp_path / "moved")
    assert [version.number for version in versions_trained_on("a1", data_dir=moved)] == [1]


def test_a_malformed_manifest_is_named() -> None:
    with pytest.raises(ValueError, match="manifest of version 4: record_ids: Field required"):
        parse_manifest(b'{"content_sha256": "x"}', content_sha256="2" * 64, version="4")


def test_records_that_trained_a_version_are_refused_by_id_and_by_patient(
    make_evaluated: Callable[..., EvaluatedRecord],
) -> None:
    fields: dict[str, Any] = {"content_sha256": "2" * 64, "splits": {}, "sources": ()}
    manifest = Manifest(record_ids=("r1", "r2"), patient_hashes=(hash_patient("p2"), hash_patient("p3")), **fields)
    clean = [make_evaluated("r7"), make_evaluated("r8")]
    require_unseen(clean, manifest, version="2")
    by_id, by_both, by_patient = (
        make_evaluated("r1"),
        make_evaluated("r2", patient_hash=hash_patient("p2")),
        make_evaluated("r9", patient_hash=hash_patient("p3")),
    )
    counts = r"3 of 5 evaluation records leaked into the training of version 2 \(2 by record id, 2 by patient\)"
    with pytest.raises(ValueError, match=counts + ".*--records"):
        require_unseen([*clean, by_id, by_both, by_patient], manifest, version="2")


def test_a_manifest_that_names_no_patients_proves_nothing(make_evaluated: Callable[..., EvaluatedRecord]) -> None:
    manifest = Manifest(record_ids=("t1",), content_sha256="2" * 64, splits={}, sources=())
    with pytest.raises(ValueError, match="manifest of version 2 holds no patient_hashes"):
        require_unseen([make_evaluated("r1")], manifest, version="2")
