"""Physician queries: questions to the physician where the documentation has a gap.

A query cites this patient's indicators, with spans, and leads to no answer. The life of a query, from draft
to answer, is ``feedback``'s business. Source: Guidelines for Achieving a Compliant Query Practice (AHIMA and
ACDIS, 2022 update).
"""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from clinical_coding.artefact import Artefact
from clinical_coding.codes import EvidenceSpan

__all__ = ["OTHER", "UNABLE_TO_DETERMINE", "PhysicianQuery", "QueryForm", "QueryIndicator"]

OTHER = "Other (please specify)"
UNABLE_TO_DETERMINE = "Unable to determine"


class QueryForm(StrEnum):
    """How an answer is given."""

    MULTIPLE_CHOICE = "multiple-choice"
    OPEN_ENDED = "open-ended"
    YES_NO = "yes-no"


class QueryIndicator(EvidenceSpan):
    """A sign, result or treatment in this patient's notes that gives rise to the query."""

    name: str
    """What it is, in the words of the rule, such as ``troponin ordered``."""
    text: str
    """The words of the note."""


class PhysicianQuery(Artefact):
    """A question to the physician where the documentation has a gap."""

    query_id: str
    """Follows from the suggestion, the topic and its place: asked again, the same."""
    topic: str
    """Name of the rule in ``configs/queries.yaml``, such as ``heart-failure-type``."""
    title: str
    form: QueryForm
    question: str
    options: tuple[str, ...]
    """Answers to choose from, ``OTHER`` and ``UNABLE_TO_DETERMINE`` last; none when open-ended."""
    indicators: Annotated[tuple[QueryIndicator, ...], Field(min_length=1)]
    codes: tuple[str, ...]
    """Label keys that the answer bears on; for coders, not part of what the physician sees."""
    source: str
    """Guideline section or clinical definition that the question rests on."""
