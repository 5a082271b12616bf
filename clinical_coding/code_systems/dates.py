"""The one date that an encounter's codes are judged by.

Edits, readers, decisions and grouping all ask here, so that a stay over a change of releases is judged by one
release everywhere. Source: ICD-10-CM Official Guidelines and 45 CFR 162.1002: inpatient claims use the codes in
force at discharge, all others those in force on the date of service.
"""

from datetime import date

from clinical_coding.records import Encounter, Setting

__all__ = ["date_of_coding"]


def date_of_coding(encounter: Encounter) -> date | None:
    """Find the date whose releases hold for an encounter.

    Args:
        encounter: Its setting and dates of service.

    Returns:
        Inpatient: the discharge, or the admission where no discharge is known. Elsewhere: the start of service,
        or its end where no start is known. Null when neither date is.
    """
    if encounter.setting is Setting.INPATIENT:
        return encounter.service_end or encounter.service_start
    return encounter.service_start or encounter.service_end
