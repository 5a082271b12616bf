import hashlib
import json
from pathlib import Path

from clinical_coding.manifest import Manifest, hash_patients

GOLDEN = Path(__file__).parents[1] / "golden" / "manifest.json"


def test_patients_are_hashed_once_each_whatever_their_order() -> None:
    hashes = hash_patients(["p2", "Zoë", "p1", "p2"])
    assert hashes == hash_patients(["Zoë", "p1", "p2"]) == tuple(sorted(hashes))
    assert len(hashes) == 3
    assert hashlib.sha256("Zoë".encode()).hexdigest() in hashes


def test_a_manifest_written_without_patients_is_read() -> None:
    fields = json.loads(GOLDEN.read_text())
    assert fields.pop("patient_hashes")
    assert Manifest.model_validate(fields).patient_hashes == ()
