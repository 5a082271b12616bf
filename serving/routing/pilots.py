"""Where autonomy would pay first: the segments of routine work with the least error, up to a fifth of the volume.

Routine is what is no stay and of no high complexity. Segments are chosen on one half of the history and measured
on the other, since the best of many looks better than it is where it was chosen. Which half an encounter falls
in is drawn with a fixed seed.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from serving.routing.history import PastEncounter, Segment, share_in_error
from serving.routing.shares import Share

__all__ = ["Pilot", "PilotPlan", "find_pilots"]

_SEED: Final = 0


@dataclass(frozen=True, slots=True)
class Pilot:
    """A segment that was chosen."""

    segment: Segment
    volume: Share
    """Of all encounters."""
    error: Share
    """Encounters in error, of those in the half that it was not chosen on."""
    seconds_a_encounter: float | None
    """That coders spent on one; None where nobody said."""


@dataclass(frozen=True, slots=True)
class PilotPlan:
    """The segments in the order in which to begin, and what they come to."""

    pilots: tuple[Pilot, ...]
    volume: Share
    error: Share
    """Over all of them, in the half that they were not chosen on."""
    error_of_all: Share
    """Of the whole history in that half, for comparison."""
    hours_saved: float | None
    """That coders spent on these encounters; None where nobody said."""


def find_pilots(history: Sequence[PastEncounter], *, share: float = 0.2, min_encounters: int = 30) -> PilotPlan:
    """Choose segments, least error first, until they make up a share of the volume.

    Args:
        history: Past encounters, each with codes that are known to be right.
        share: Of the volume to reach.
        min_encounters: A segment with fewer, in the half that is chosen on, is not considered.

    Raises:
        ValueError: The share is not between 0 and 1, or no segment is large enough.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share {share} must be above 0 and at most 1")
    rng = Random(_SEED)
    halves: tuple[dict[Segment, list[PastEncounter]], ...] = (defaultdict(list), defaultdict(list))
    for one in history:
        halves[rng.random() < 0.5][one.segment].append(one)
    chosen_on, measured_on = halves
    large = [one for one, ones in chosen_on.items() if one.is_routine and len(ones) >= min_encounters]
    if not large:
        raise ValueError(
            f"no routine segment has {min_encounters} encounters in half of the history of {len(history):,}; "
            "give more history, or lower --min-encounters"
        )
    # By the interval's upper end: few encounters without an error prove little.
    large.sort(key=lambda segment: (share_in_error(chosen_on[segment]).high, -len(chosen_on[segment]), _order(segment)))
    taken: list[Segment] = []
    volume = 0
    for segment in large:
        if volume >= share * len(history):
            break
        taken.append(segment)
        volume += len(chosen_on[segment]) + len(measured_on[segment])
    return _plan(taken, chosen_on, measured_on, num_encounters=len(history))


def _plan(
    taken: Sequence[Segment],
    chosen_on: dict[Segment, list[PastEncounter]],
    measured_on: dict[Segment, list[PastEncounter]],
    *,
    num_encounters: int,
) -> PilotPlan:
    pilots, everything = [], list[PastEncounter]()
    for segment in taken:
        ones = chosen_on[segment] + measured_on[segment]
        everything += ones
        seconds = _seconds(ones)
        pilots.append(
            Pilot(
                segment,
                Share(len(ones), num_encounters),
                share_in_error(measured_on[segment]),
                sum(seconds) / len(seconds) if seconds else None,
            )
        )
    spent = _seconds(everything)
    return PilotPlan(
        pilots=tuple(pilots),
        volume=Share(len(everything), num_encounters),
        error=share_in_error([one for segment in taken for one in measured_on[segment]]),
        error_of_all=share_in_error([one for ones in measured_on.values() for one in ones]),
        hours_saved=sum(spent) / 3600 if spent else None,
    )


def _seconds(ones: Iterable[PastEncounter]) -> list[float]:
    return [one.seconds_spent for one in ones if one.seconds_spent is not None]


def _order(segment: Segment) -> tuple[str, str, str]:
    return segment.setting, segment.specialty, segment.complexity
