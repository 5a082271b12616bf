"""Whether a code can stand on a claim at a date of service, for decisions and adjudications alike.

Only ICD-10-CM is judged: of the other systems no list of codes is held.
"""

from datetime import date

from clinical_coding.code_library import CodeLibrary, load_icd10cm
from clinical_coding.codes import CodeSystem
from feedback.errors import InvalidError

__all__ = ["check_valid"]


def check_valid(system: CodeSystem, code: str, *, field: str, service_start: date | None) -> None:
    """Refuse a code that cannot stand on a claim.

    Args:
        system: The code's system.
        code: The code in its usual form.
        field: Where it was given, for the message: ``codes.0.to``.
        service_start: Date of service, where it is known.

    Raises:
        InvalidError: It is an ICD-10-CM code that is not valid, or one that is not complete.
    """
    if system is not CodeSystem.ICD10CM:
        return
    # One release is held, so that it judges every date of service.
    library = load_icd10cm()
    if library.is_valid(code):
        return
    when = f"the date of service {service_start}" if service_start else "an unknown date of service"
    raise InvalidError(
        f"{field} {code!r} is not a valid code of ICD-10-CM release {library.release}, which applies to {when}"
        f"{_hint(code, library=library)}; give a valid code"
    )


def _hint(code: str, *, library: CodeLibrary) -> str:
    ancestor = library.nearest_ancestor(code)
    if ancestor is None:
        return ""
    nearest = next(leaf for leaf in library.leaves() if leaf.startswith(ancestor.code))
    return f" (nearest: {nearest})"
