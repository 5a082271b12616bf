"""Evaluation-and-management levels: which CPT visit codes differ from each other by level alone.

Numbers only; CPT descriptors are licensed. Source of the families: the evaluation and management
section of CPT as revised in 2021 and 2023 (levels chosen by medical decision making or time).
"""

from typing import Final

__all__ = ["level_of"]

# Each family in rising order of level.
_FAMILIES: Final[dict[str, tuple[str, ...]]] = {
    "office, new patient": ("99202", "99203", "99204", "99205"),
    "office, established patient": ("99211", "99212", "99213", "99214", "99215"),
    "hospital, initial": ("99221", "99222", "99223"),
    "hospital, subsequent": ("99231", "99232", "99233"),
    "hospital, admission and discharge on one day": ("99234", "99235", "99236"),
    "office consultation": ("99242", "99243", "99244", "99245"),
    "inpatient consultation": ("99252", "99253", "99254", "99255"),
    "emergency department": ("99281", "99282", "99283", "99284", "99285"),
    "nursing facility, initial": ("99304", "99305", "99306"),
    "nursing facility, subsequent": ("99307", "99308", "99309", "99310"),
    "home, new patient": ("99341", "99342", "99344", "99345"),
    "home, established patient": ("99347", "99348", "99349", "99350"),
}


_LEVELS: Final = {
    f"cpt:{code}": (family, level) for family, codes in _FAMILIES.items() for level, code in enumerate(codes, start=1)
}


def level_of(key: str) -> tuple[str, int] | None:
    """Give a label key's family and its place in the family's levels; null when it is no levelled visit.

    Args:
        key: A label key such as ``cpt:99214``.
    """
    return _LEVELS.get(key)
