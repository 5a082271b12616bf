"""What a registered version says of itself in MLflow: its name, its aliases, its tags, its run's artefacts.

Training writes the tags and artefacts, governance reads them; this module is where they agree. Aliases are
mutable and keep no history, so approvals live in the audit log and the alias is their projection.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Self

from pydantic import ValidationError

from clinical_coding.artefact import Artefact, describe_errors
from clinical_coding.manifest import Sha256

__all__ = [
    "EVALUATED_RECORDS_ARTIFACT",
    "MANIFEST_ARTIFACT",
    "MODEL_NAME",
    "PREDICTIONS_ARTIFACT",
    "EvaluatedOn",
    "VersionAlias",
    "VersionLineage",
]

MODEL_NAME = "clinical-coder"
MANIFEST_ARTIFACT = "manifest.json"
"""Where a version's run keeps the manifest of the records that trained it."""
PREDICTIONS_ARTIFACT = "evaluation/predictions.jsonl"
"""Where it keeps the predictions that its registered metrics were computed from."""
EVALUATED_RECORDS_ARTIFACT = "evaluation/records.jsonl"
"""Where it keeps what is true of the same records, without notes."""
METRIC_PREFIX = "metric."


class VersionAlias(StrEnum):
    """The part a version plays."""

    CHAMPION = "champion"
    """Serves."""
    CANDIDATE = "candidate"
    """The last one trained."""
    CHALLENGER = "challenger"
    """Runs in the champion's shadow."""


class EvaluatedOn(StrEnum):
    """Which records a version's registered metrics were measured on."""

    DEV = "dev"
    """The dev split, by the registered bundle; nothing was chosen on it."""
    HELD_OUT = "held-out"
    """Training patients kept aside for early stopping and the threshold, before any refit: a little too good."""


class VersionLineage(Artefact):
    """What a version holds and what it came from."""

    bundle_sha256: Sha256
    """Of bundle.json, which stands for the whole bundle."""
    manifest_sha256: Sha256
    """Of the content of the records that trained it."""
    base_model: str
    """Name and revision, ``name@revision``."""
    code_commit: str | None
    evaluated_on: EvaluatedOn
    metrics: dict[str, float]
    """Headline metrics, proportions 0 to 1."""

    def to_tags(self) -> dict[str, str]:
        """Write the lineage as MLflow tags, which hold text."""
        tags = {
            "bundle_sha256": self.bundle_sha256,
            "manifest_sha256": self.manifest_sha256,
            "base_model": self.base_model,
            "evaluated_on": self.evaluated_on.value,
        }
        if self.code_commit is not None:
            tags["code_commit"] = self.code_commit
        return tags | {f"{METRIC_PREFIX}{name}": repr(float(value)) for name, value in self.metrics.items()}

    @classmethod
    def from_tags(cls, tags: Mapping[str, str]) -> Self:
        """Read the lineage back; tags that people added in MLflow are left alone.

        Raises:
            ValueError: A tag is missing or malformed; the message names it.
        """
        metrics = {k.removeprefix(METRIC_PREFIX): v for k, v in tags.items() if k.startswith(METRIC_PREFIX)}
        fields = {name: tags[name] for name in cls.model_fields if name in tags and name != "metrics"}
        try:
            return cls.model_validate({"code_commit": None} | fields | {"metrics": metrics})
        except ValidationError as error:
            raise ValueError(f"tags of a registered version: {describe_errors(error)}") from None
