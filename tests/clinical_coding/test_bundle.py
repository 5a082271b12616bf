import json
import shutil
from pathlib import Path

import pytest

from clinical_coding.artefact import sha256_of_file
from clinical_coding.bundle import read_bundle, read_labels

GOLDEN = Path(__file__).parents[1] / "golden" / "bundle.json"
LABEL = {"system": "icd10cm", "release": "2026-04", "code": "I10", "description": "Essential (primary) hypertension"}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    (tmp_path / "labels.json").write_text(json.dumps([LABEL]))
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "vocab.txt").write_text("[PAD]\n")
    names = ["labels.json", "tokenizer/vocab.txt"]
    index = json.loads(GOLDEN.read_text()) | {"files": {name: sha256_of_file(tmp_path / name) for name in names}}
    (tmp_path / "bundle.json").write_text(json.dumps(index))
    return tmp_path


def test_a_whole_bundle_is_read_with_its_hash_and_labels(bundle: Path) -> None:
    index, digest = read_bundle(bundle)
    assert index.windowing.max_window_tokens == 128
    assert digest == sha256_of_file(bundle / "bundle.json")
    assert [label.key for label in read_labels(bundle)] == ["icd10cm:I10"]


def test_one_changed_byte_is_found(bundle: Path) -> None:
    (bundle / "tokenizer" / "vocab.txt").write_text("[PAF]\n")
    with pytest.raises(ValueError, match=r"bundle file tokenizer/vocab.txt does not have the SHA-256"):
        read_bundle(bundle)


def test_a_missing_and_an_unlisted_file_are_found(bundle: Path) -> None:
    (bundle / "extra.bin").write_bytes(b"")
    with pytest.raises(ValueError, match=r"extra.bin is not listed in"):
        read_bundle(bundle)
    (bundle / "extra.bin").unlink()
    shutil.rmtree(bundle / "tokenizer")
    with pytest.raises(ValueError, match=r"vocab.txt is missing, but listed in"):
        read_bundle(bundle)


def test_no_bundle_and_a_malformed_one_are_told_apart(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no model bundle at"):
        read_bundle(tmp_path / "elsewhere")
    (bundle / "bundle.json").write_text("{}")
    with pytest.raises(ValueError, match=r"bundle.json: base_model: Field required"):
        read_bundle(bundle)
