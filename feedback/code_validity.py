"""Whether a code can stand on a claim at a date of service, for decisions and adjudications alike.

Codes of every system of which a release is held are judged; of the others nothing but the form is known.
"""

from datetime import date

from clinical_coding.code_library import CodeLibrary
from clinical_coding.code_systems import CodeSystems, Release, Standing
from clinical_coding.codes import CodeSystem
from feedback.errors import InvalidError

__all__ = ["check_valid"]

_NAMES = {
    CodeSystem.ICD10CM: "ICD-10-CM",
    CodeSystem.ICD10PCS: "ICD-10-PCS",
    CodeSystem.HCPCS: "HCPCS",
    CodeSystem.CPT: "CPT",
}
_REASONS = {
    Standing.NOT_YET: " (a later release has it)",
    Standing.DELETED: " (it was deleted)",
}


def check_valid(
    system: CodeSystem, code: str, *, field: str, service_start: date | None, systems: CodeSystems | None = None
) -> None:
    """Refuse a code that cannot stand on a claim.

    Args:
        system: The code's system.
        code: The code in its usual form.
        field: Where it was given, for the message: ``codes.0.to``.
        service_start: The day by whose release it is judged, where it is known; else the newest release judges.
        systems: The held releases; default: the embedded one.

    Raises:
        InvalidError: The release of the day does not have it as a complete code.
    """
    held = systems or CodeSystems.embedded()
    release = held.judging(system, service_start)
    standing = held.standing(system, code, service_start)
    if release is None or standing in {Standing.VALID, Standing.NOT_HELD}:
        return
    when = f"the date of service {service_start}" if service_start else "an unknown date of service"
    hint = _hint(code, library=held.library(release)) if system is CodeSystem.ICD10CM else ""
    raise InvalidError(
        f"{field} {code!r} is not a valid code of {_describe(release, system)}, which applies to {when}"
        f"{_REASONS.get(standing, '')}{hint}; give a valid code"
    )


def _describe(release: Release, system: CodeSystem) -> str:
    return f"{_NAMES[system]} release {release.name}"


def _hint(code: str, *, library: CodeLibrary) -> str:
    ancestor = library.nearest_ancestor(code)
    if ancestor is None:
        return ""
    leaves = library.leaves_below(ancestor.code)
    return f" (nearest: {leaves[0]})" if leaves else ""
