"""Grouping: what the codes of an encounter add up to, MS-DRG for an inpatient stay and HCCs for any.

It comes after the codes are settled and says which of them the payment group rests on. It reads no notes.
"""

from clinical_coding.grouping.groupings import (
    CodeEffect,
    CodeRole,
    ComplicationLevel,
    Grouping,
    HccCategory,
    NotCounted,
)
from clinical_coding.grouping.hcc import find_hccs
from clinical_coding.grouping.ms_drg import group

__all__ = [
    "CodeEffect",
    "CodeRole",
    "ComplicationLevel",
    "Grouping",
    "HccCategory",
    "NotCounted",
    "find_hccs",
    "group",
]
