from datetime import date

import pytest

from clinical_coding.code_systems import date_of_coding
from clinical_coding.records import Encounter

START, END = date(2026, 9, 29), date(2026, 10, 2)


@pytest.mark.parametrize(
    ("setting", "start", "end", "expected"),
    [
        ("inpatient", START, END, END),
        ("inpatient", START, None, START),
        ("inpatient", None, END, END),
        ("outpatient", START, END, START),
        ("emergency", None, END, END),
        ("same-day-surgery", START, END, START),
        ("inpatient", None, None, None),
    ],
)
def test_inpatient_stays_are_judged_by_discharge_all_else_by_the_day_of_service(
    setting: str, start: date | None, end: date | None, expected: date | None
) -> None:
    encounter = Encounter.model_validate(
        {"setting": setting, "specialty": "cardiology", "service_start": start, "service_end": end}
    )
    assert date_of_coding(encounter) == expected
