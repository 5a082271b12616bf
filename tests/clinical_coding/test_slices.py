from pathlib import Path

import pytest

from clinical_coding.records import Encounter, Setting
from clinical_coding.schemas import ARTEFACTS
from clinical_coding.slices import DIMENSIONS, slice_values

GOLDEN = Path(__file__).parents[1] / "golden" / "suggestion-request.json"


def test_a_full_encounter_lies_in_one_slice_of_every_dimension() -> None:
    request = ARTEFACTS["suggestion-request"].model_validate_json(GOLDEN.read_text())
    values = dict(slice_values(request.encounter))  # type: ignore[attr-defined]
    assert tuple(values) == DIMENSIONS
    assert values == {
        "specialty": "cardiology",
        "setting": "inpatient",
        "complexity": "high",
        "payer": "medicare",
        "provider": "d7",
    }


def test_what_an_encounter_does_not_state_makes_no_slice() -> None:
    encounter = Encounter(setting=Setting.EMERGENCY, specialty="urology")
    assert slice_values(encounter) == (("specialty", "urology"), ("setting", "emergency"))
    assert slice_values(encounter, dimensions=("payer",)) == ()


def test_an_unknown_dimension_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="dimension 'weekday' is unknown; choose from specialty, setting"):
        slice_values(Encounter(setting=Setting.EMERGENCY, specialty="urology"), dimensions=("weekday",))
