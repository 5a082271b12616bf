from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest
from hypothesis import settings
from sqlalchemy import Engine

from clinical_coding.codes import split_key
from clinical_coding.comparisons import ComparedVersion
from clinical_coding.evaluation_set import EvaluatedRecord
from clinical_coding.manifest import Manifest, hash_patient, hash_patients
from clinical_coding.metrics import evaluate
from clinical_coding.predictions import Prediction
from clinical_coding.registered_version import EVALUATED_RECORDS_ARTIFACT, PREDICTIONS_ARTIFACT, EvaluatedOn
from governance.comparison import Measured
from ledger.principals import Principal, authenticate, create_key
from training.register import register_version
from training.tracking import open_store, start_run

# Examples share their cores with whatever else runs; time is no property of theirs.
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")

EvaluatedMaker = Callable[..., EvaluatedRecord]
PredictionMaker = Callable[[str, Sequence[str], int], Prediction]
MeasuredMaker = Callable[..., Measured]
Register = Callable[..., int]
PrincipalMaker = Callable[..., Principal]


def evaluated(record_id: str = "r1", positive: Iterable[str] = ("icd10cm:I10",), **fields: object) -> EvaluatedRecord:
    stated = {"record_id": record_id, "patient_hash": hash_patient(record_id), "notes_sha256": "0" * 64}
    stated["slices"] = {"setting": "inpatient"}
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


@pytest.fixture
def register(data_dir: Path, make_bundle: Callable[[str], Path]) -> Register:
    """Register a small version as training does, without training; gives its number."""
    from clinical_coding.data_directory import DataDirectory

    def make(
        seed: str,
        *,
        trained_on: Sequence[str] = ("t1",),
        adjudication_ids: tuple[str, ...] = (),
        evaluated: Sequence[EvaluatedRecord] | None = None,
        predictions: Sequence[Prediction] = (),
    ) -> int:
        manifest = Manifest(
            record_ids=tuple(trained_on),
            content_sha256="2" * 64,
            splits={"train": len(trained_on)},
            sources=("sample:1",),
            adjudication_ids=adjudication_ids,
            patient_hashes=hash_patients(f"patient-of-{record_id}" for record_id in trained_on),
        )
        client = open_store(DataDirectory.locate(data_dir))
        with start_run({"seed": seed}, data_dir=data_dir, manifest=manifest, dataset=seed) as run:
            if evaluated is not None:
                for name, lines in ((EVALUATED_RECORDS_ARTIFACT, evaluated), (PREDICTIONS_ARTIFACT, predictions)):
                    client.log_text(run.run_id, "".join(line.model_dump_json() + "\n" for line in lines), name)
            version = register_version(
                run.run_id,
                bundle_folder=make_bundle(seed),
                data_dir=data_dir,
                metrics=evaluate([], []).overall,
                evaluated_on=EvaluatedOn.DEV,
            )
        assert version.number is not None
        return version.number

    return make


@pytest.fixture
def make_principal(engine: Engine) -> PrincipalMaker:
    """Make a principal in a role."""

    def make(role: str = "reviewer", name: str | None = None) -> Principal:
        principal = authenticate(engine, create_key(engine, role=role, name=name or role))
        assert principal is not None
        return principal

    return make
