import json
from pathlib import Path

import jsonschema
import pytest
from pydantic import ValidationError

from clinical_coding.artefact import describe_errors
from clinical_coding.schemas import ARTEFACTS, export_schemas

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
SCHEMAS = ROOT / "docs" / "schemas"


def test_the_committed_schemas_are_the_export(tmp_path: Path) -> None:
    exported = {path.name: path.read_text() for path in export_schemas(tmp_path)}
    assert {path.name: path.read_text() for path in SCHEMAS.glob("*.json")} == exported


def test_every_artefact_has_a_golden_file() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} >= ARTEFACTS.keys()


@pytest.mark.parametrize("name", ARTEFACTS)
def test_golden_files_keep_to_the_schema_and_come_back_byte_for_byte(name: str) -> None:
    text = (GOLDEN / f"{name}.json").read_text(encoding="utf-8")
    schema = json.loads((SCHEMAS / f"{name}.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(json.loads(text))
    assert ARTEFACTS[name].model_validate_json(text).model_dump_json(indent=2) + "\n" == text


@pytest.mark.parametrize("name", ARTEFACTS)
def test_an_unknown_field_breaks_schema_and_model_alike(name: str) -> None:
    fields = json.loads((GOLDEN / f"{name}.json").read_text()) | {"surprise": 1}
    schema = json.loads((SCHEMAS / f"{name}.json").read_text())
    assert not jsonschema.Draft202012Validator(schema).is_valid(fields)
    with pytest.raises(ValidationError, match="surprise"):
        ARTEFACTS[name].model_validate(fields)


@pytest.mark.parametrize("name", [name for name in ARTEFACTS if name != "suggestion-request"])
@pytest.mark.parametrize("version", [0, 2])
def test_another_version_of_any_artefact_is_refused(name: str, version: int) -> None:
    fields = json.loads((GOLDEN / f"{name}.json").read_text()) | {"schema_version": version}
    with pytest.raises(ValidationError) as caught:
        ARTEFACTS[name].model_validate(fields)
    assert "schema_version: only version 1 is read here" in describe_errors(caught.value)
