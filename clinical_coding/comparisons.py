"""The comparison of two versions, as governance makes it and reviewers read it (stage 11).

Differences are always B minus A, so that a positive one speaks for B. It knows no models and no records.
"""

from typing import Annotated, Literal

from pydantic import Field

from clinical_coding.artefact import Artefact
from clinical_coding.codes import CodeSystem
from clinical_coding.manifest import Sha256
from clinical_coding.records import SCHEMA_VERSION

__all__ = ["ChangedCode", "CodeOutcome", "ComparedVersion", "Comparison", "Difference"]

Proportion = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]


class ComparedVersion(Artefact):
    """One of the two, and what it came from."""

    number: int | None
    """Registered version number; null for a bundle that is named by its path."""
    bundle_sha256: Sha256
    manifest_sha256: Sha256
    """Of the content of the records that trained it."""
    base_model: str
    """Name and revision, ``name@revision``."""
    code_commit: str | None


class Difference(Artefact):
    """One metric under both versions, on all records or on those of one slice."""

    metric: str
    """As in ``clinical_coding.metrics.Metrics``."""
    dimension: str | None
    """What is sliced by; null for all records."""
    value: str | None
    """The slice; null for all records."""
    a: Proportion
    b: Proportion
    difference: float
    """B minus A."""
    low: float
    """Lower end of the interval of the difference."""
    high: float
    """Upper end."""
    num_records: Count
    num_codes: Count
    """Gold codes on these records."""
    is_small: bool
    """Too few records for the interval to be trusted: it tends to be too narrow."""


class CodeOutcome(Artefact):
    """What one version did with one code, over all records."""

    correct: Count
    missed: Count
    """Gold, but not suggested."""
    wrong: Count
    """Suggested, but not gold."""


class ChangedCode(Artefact):
    """A code that the two versions treat differently."""

    system: CodeSystem
    code: str
    num_gold: Count
    a: CodeOutcome
    b: CodeOutcome

    @property
    def key(self) -> str:
        """The label key: ``icd10cm:I21.4``."""
        return f"{self.system}:{self.code}"


class Comparison(Artefact):
    """Two versions on one evaluation set."""

    schema_version: Literal[1] = SCHEMA_VERSION
    a: ComparedVersion
    b: ComparedVersion
    evaluation_set_sha256: Sha256
    num_records: Count
    num_patients: Count
    num_codes: Count
    """Gold codes on all records."""
    num_resamples: Annotated[int, Field(ge=1)]
    seed: int
    confidence_level: Proportion
    """Of every interval."""
    differences: tuple[Difference, ...]
    """All records first, then slices by dimension and falling number of records."""
    changed_codes: tuple[ChangedCode, ...]
    """Those that changed most, first."""
    num_changed_codes: Count
    """All that changed at all."""

    def overall(self, metric: str) -> Difference:
        """The difference in one metric on all records."""
        return next(row for row in self.differences if row.metric == metric and row.dimension is None)
