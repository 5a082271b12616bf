"""An extended bundle is measured and registered: stages 4 and 5 for labels that came without training.

Takes a bundle that ``extend`` wrote, gives a version of the registry with a run of its own. Its metrics are its own
too, measured anew: more labels are more ways to be wrong, which the version it came from cannot tell.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from clinical_coding.manifest import Manifest
from clinical_coding.metrics import Evaluation, evaluate
from clinical_coding.records import CodedRecord
from clinical_coding.registered_version import EvaluatedOn
from clinical_coding.suggestions import VersionName
from training.config import TrainConfig
from training.extend import Extension
from training.model.scorer import Scorer
from training.plots import evaluation_figures
from training.predict import predict
from training.progress import progress_bar
from training.register import register_version
from training.steps import code_commit
from training.tracking import start_run

__all__ = ["ExtendedVersion", "config_of_run", "register_extension"]

_KIND = "extend"
_TRAINED_BY = "trained_by"


@dataclass(frozen=True, slots=True)
class ExtendedVersion:
    """What an extension gave."""

    run_id: str
    version: VersionName
    evaluation: Evaluation


def config_of_run(logged: Mapping[str, Any]) -> TrainConfig:
    """The configuration that trained a version, from what its run logged: its own, or that of the version extended."""
    return TrainConfig.model_validate(logged.get(_TRAINED_BY, logged))


def register_extension(
    bundle: Path,
    *,
    parent: VersionName,
    extension: Extension,
    config: TrainConfig,
    measured_on: str,
    records: Sequence[CodedRecord],
    data_dir: Path,
    console: Console,
) -> ExtendedVersion:
    """Measure an extended bundle and register it as the candidate.

    Args:
        bundle: What ``extend_bundle`` wrote.
        parent: The version that was extended.
        extension: By what.
        config: The configuration that trained the parent; kept with the run, for whoever extends this version again.
        measured_on: The spec of ``records``, without folders.
        records: Of patients that the parent was not trained on.
        data_dir: The data directory.
        console: Where progress is shown.
    """
    # The records that trained the parent trained this version: nothing else did.
    manifest = Manifest.model_validate_json((bundle / "manifest.json").read_bytes())
    told = _lineage(parent, extension, config, measured_on=measured_on)
    dataset = " + ".join(manifest.sources)
    with start_run(told, data_dir=data_dir, manifest=manifest, dataset=dataset, code_commit=code_commit()) as run:
        scorer = Scorer(bundle)
        with progress_bar("evaluate", total=len(records), console=console) as advance:
            predictions = list(predict(scorer, records, version=scorer.bundle_sha256[:12], progress=advance))
        evaluation = evaluate(records, predictions)
        run.log_evaluation(evaluation)
        run.log_evaluation_set(records, predictions)
        run.log_figures(evaluation_figures(list(records), predictions, evaluation))
        version = register_version(
            run.run_id,
            bundle_folder=bundle,
            data_dir=data_dir,
            metrics=evaluation.overall,
            evaluated_on=EvaluatedOn.DEV,
            description=_describe(parent, extension),
        )
    return ExtendedVersion(run.run_id, version, evaluation)


def _lineage(parent: VersionName, extension: Extension, config: TrainConfig, *, measured_on: str) -> dict[str, Any]:
    return {
        "kind": _KIND,
        "extended_from": parent.model_dump(mode="json"),
        "release": extension.release,
        "compared_with": list(extension.compared_with),
        "num_added_labels": len(extension.labels),
        "measured_on": measured_on,
        _TRAINED_BY: config.model_dump(mode="json"),
    }


def _describe(parent: VersionName, extension: Extension) -> str:
    came_from = "a bundle's folder" if parent.number is None else f"version {parent.number}"
    return (
        f"Extended from {came_from} (bundle {parent.bundle_sha256[:12]}) by {len(extension.labels):,} codes of "
        f"ICD-10-CM {extension.release}, without retraining."
    )
