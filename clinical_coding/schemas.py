"""JSON Schemas of the artefacts, for those who write or read them in another language.

``docs/schemas/`` holds the committed export; a test keeps the two equal.
"""

import json
from pathlib import Path
from typing import Final

from clinical_coding.artefact import Artefact, publish
from clinical_coding.bundle import Bundle
from clinical_coding.code_systems import Release
from clinical_coding.comparisons import Comparison
from clinical_coding.decisions import Adjudication, Decision
from clinical_coding.evaluation_set import EvaluatedRecord
from clinical_coding.manifest import Manifest
from clinical_coding.predictions import Prediction
from clinical_coding.records import CodedRecord
from clinical_coding.suggestions import Suggestion, SuggestionRequest

__all__ = ["ARTEFACTS", "export_schemas"]

ARTEFACTS: Final[dict[str, type[Artefact]]] = {
    "adjudication": Adjudication,
    "bundle": Bundle,
    "coded-record": CodedRecord,
    "comparison": Comparison,
    "decision": Decision,
    "evaluated-record": EvaluatedRecord,
    "manifest": Manifest,
    "prediction": Prediction,
    "release": Release,
    "suggestion": Suggestion,
    "suggestion-request": SuggestionRequest,
}


def export_schemas(folder: Path) -> list[Path]:
    """Write each artefact's JSON Schema (draft 2020-12) to ``FOLDER/NAME.json``.

    Returns:
        The files written.
    """
    paths = []
    for name, artefact in ARTEFACTS.items():
        schema = {"$schema": "https://json-schema.org/draft/2020-12/schema"} | artefact.model_json_schema()
        path = folder / f"{name}.json"
        with publish(path) as stream:
            stream.write(json.dumps(schema, indent=2, ensure_ascii=False) + "\n")
        paths.append(path)
    return paths
