from random import Random

import pytest

from serving.routing.history import PastEncounter, Segment
from serving.routing.pilots import find_pilots

CLEAN, FAIR = Segment("outpatient", "dermatology", "low"), Segment("emergency", "emergency-medicine", "low")
POOR = Segment("outpatient", "oncology", "moderate")
STAY, HARD = Segment("inpatient", "medicine", "low"), Segment("outpatient", "surgery", "high")
RARE = Segment("outpatient", "urology", "low")
ERROR = {RARE: 0.0, CLEAN: 0.01, FAIR: 0.1, POOR: 0.5, STAY: 0.0, HARD: 0.0}


def history(numbers: dict[Segment, int], *, seconds: float | None = 120.0) -> list[PastEncounter]:
    rng = Random(7)
    return [
        PastEncounter(segment, (), 3, int(rng.random() < ERROR[segment]), 0, seconds)
        for segment, number in numbers.items()
        for _ in range(number)
    ]


def test_the_segments_of_least_error_make_up_the_share() -> None:
    plan = find_pilots(history({CLEAN: 300, FAIR: 300, POOR: 800, STAY: 300, HARD: 300}), share=0.2)
    # A stay and what is involved are no routine, however well they went.
    assert [pilot.segment for pilot in plan.pilots] == [CLEAN, FAIR]
    assert plan.volume.count == 600 and plan.volume.value == 0.3
    assert plan.hours_saved == pytest.approx(600 * 120 / 3600)
    assert plan.error.value < plan.error_of_all.value
    # Measured on about half, in which nothing was chosen.
    assert 220 < plan.error.of < 380
    assert plan.pilots[0].error.low <= 0.01 <= plan.pilots[0].error.high


def test_few_encounters_without_an_error_prove_little() -> None:
    plan = find_pilots(history({CLEAN: 1000, RARE: 70}), share=0.2)
    assert [pilot.segment for pilot in plan.pilots] == [CLEAN]


def test_where_nobody_said_how_long_it_took_no_hours_are_told() -> None:
    plan = find_pilots(history({CLEAN: 200, POOR: 200}, seconds=None))
    assert (plan.hours_saved, plan.pilots[0].seconds_a_encounter) == (None, None)


def test_too_little_history_says_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"no routine segment has 30 encounters in half of the history of 20; give"):
        find_pilots(history({CLEAN: 20}))
    with pytest.raises(ValueError, match="share 0 must be above 0 and at most 1"):
        find_pilots(history({CLEAN: 20}), share=0)
