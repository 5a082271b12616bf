"""Slices: the parts of a set of records whose metrics are told apart, by circumstance of care.

It knows encounters alone; what is measured in a slice is ``metrics``' business.
"""

from collections.abc import Callable, Sequence
from typing import Final

from clinical_coding.records import Encounter

__all__ = ["DIMENSIONS", "slice_values"]

_VALUES: Final[dict[str, Callable[[Encounter], str | None]]] = {
    "specialty": lambda encounter: encounter.specialty,
    "setting": lambda encounter: encounter.setting.value,
    "complexity": lambda encounter: encounter.complexity and encounter.complexity.value,
    "payer": lambda encounter: encounter.payer,
    "provider": lambda encounter: encounter.provider_id,
}

DIMENSIONS: Final[tuple[str, ...]] = tuple(_VALUES)


def slice_values(encounter: Encounter, *, dimensions: Sequence[str] = DIMENSIONS) -> tuple[tuple[str, str], ...]:
    """Name the slices that an encounter belongs to, one for each dimension that it states.

    Returns:
        Pairs such as ``("specialty", "cardiology")``.

    Raises:
        ValueError: There is no such dimension.
    """
    pairs = []
    for dimension in dimensions:
        if dimension not in _VALUES:
            raise ValueError(f"dimension {dimension!r} is unknown; choose from {', '.join(DIMENSIONS)}")
        value = _VALUES[dimension](encounter)
        if value:
            pairs.append((dimension, value))
    return tuple(pairs)
