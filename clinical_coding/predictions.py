"""The prediction file: one line a record, up to 100 ranked codes, evidence on the suggested ones."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from clinical_coding.artefact import Artefact
from clinical_coding.codes import CodeSystem, EvidenceSpan
from clinical_coding.records import SCHEMA_VERSION, Identifier

__all__ = ["MAX_PREDICTED_CODES", "PredictedCode", "Prediction"]

MAX_PREDICTED_CODES = 100


class PredictedCode(Artefact):
    """One scored code of a record."""

    system: CodeSystem
    code: str
    confidence: Annotated[float, Field(ge=0, le=1)]
    suggested: bool
    """True when the confidence reaches the version's threshold."""
    evidence: tuple[EvidenceSpan, ...] = ()

    @property
    def key(self) -> str:
        """The label key: ``icd10cm:I21.4``."""
        return f"{self.system}:{self.code}"


class Prediction(Artefact):
    """What a version says of one record, best code first."""

    schema_version: Literal[1] = SCHEMA_VERSION
    record_id: Identifier
    version: str
    codes: Annotated[tuple[PredictedCode, ...], Field(max_length=MAX_PREDICTED_CODES)]

    @model_validator(mode="after")
    def _ranked(self) -> Self:
        confidences = [code.confidence for code in self.codes]
        if confidences != sorted(confidences, reverse=True):
            raise ValueError("codes must be ranked by falling confidence")
        if len({(code.system, code.code) for code in self.codes}) != len(self.codes):
            raise ValueError("codes must not repeat a system and code; keep the best of each")
        return self
