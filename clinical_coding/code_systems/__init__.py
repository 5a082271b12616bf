"""Releases of code systems: imported, found by date of service, searched and compared.

``CodeSystems`` is the one door: it answers which release is in force on a day and how a code stands in it.
"""

from clinical_coding.code_systems.dates import date_of_coding
from clinical_coding.code_systems.payment_tables import PairEdit, PairEdits, UnitLimit, UnitLimits
from clinical_coding.code_systems.releases import Release, ReleasedSystem, Standing
from clinical_coding.code_systems.systems import CodeSystems

__all__ = [
    "CodeSystems",
    "PairEdit",
    "PairEdits",
    "Release",
    "ReleasedSystem",
    "Standing",
    "UnitLimit",
    "UnitLimits",
    "date_of_coding",
]
