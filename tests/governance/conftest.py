from collections.abc import Callable, Iterable, Sequence

import pytest
from hypothesis import settings

from clinical_coding.codes import split_key
from clinical_coding.comparisons import ComparedVersion
from clinical_coding.evaluation_set import EvaluatedRecord
from clinical_coding.manifest import hash_patient
from clinical_coding.predictions import Prediction
from governance.comparison import Measured

# Examples share their cores with whatever else runs; time is no property of theirs.
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")

EvaluatedMaker = Callable[..., EvaluatedRecord]
PredictionMaker = Callable[[str, Sequence[str], int], Prediction]
MeasuredMaker = Callable[..., Measured]


def evaluated(record_id: str = "r1", positive: Iterable[str] = ("icd10cm:I10",), **fields: object) -> EvaluatedRecord:
    stated = {"record_id": record_id, "patient_hash": hash_patient(record_id), "slices": {"setting": "inpatient"}}
    return EvaluatedRecord.model_validate(stated | {"positive": tuple(positive)} | fields)


def predicted(record_id: str, ranked: Sequence[str], num_suggested: int) -> Prediction:
    codes = []
    for rank, key in enumerate(ranked):
        system, code = split_key(key)
        stated = {"system": system, "code": code}
        codes.append(stated | {"confidence": 1 - rank / 200, "suggested": rank < num_suggested})
    return Prediction.model_validate({"record_id": record_id, "version": "1", "codes": codes})


@pytest.fixture(scope="session")
def make_evaluated() -> EvaluatedMaker:
    """What is true of one record; some fields replaced."""
    return evaluated


@pytest.fixture(scope="session")
def make_prediction() -> PredictionMaker:
    """Keys in rank order, the first few suggested."""
    return predicted


@pytest.fixture(scope="session")
def make_measured() -> MeasuredMaker:
    """A version with its predictions."""

    def make(number: int, records: Sequence[EvaluatedRecord], predictions: Sequence[Prediction]) -> Measured:
        version = ComparedVersion(
            number=number,
            bundle_sha256=f"{number}" * 64,
            manifest_sha256="2" * 64,
            base_model="tiny@1",
            code_commit=None,
        )
        return Measured(version, records, predictions)

    return make
