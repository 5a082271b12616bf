"""Whether a code can stand on a claim on its date of coding, for decisions and adjudications alike.

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


def check_valid(system: CodeSystem, code: str, *, field: str, on: date | None, systems: CodeSystems) -> None:
    """Refuse a code that cannot stand on a claim.

    Args:
        system: The code's system.
        code: The code in its usual form.
        field: Where it was given, for the message: ``codes.0.to``.
        on: The date of coding, where it is known; else the newest release judges.
        systems: The held releases.

    Raises:
        InvalidError: The release of the day does not have it as a complete code.
    """
    release = systems.judging(system, on)
    standing = systems.standing(system, code, on)
    if release is None or standing in {Standing.VALID, Standing.NOT_HELD}:
        return
    when = f"the date of coding {on}" if on else "an unknown date of coding"
    hint = _hint(code, library=systems.library(release)) if system is CodeSystem.ICD10CM else ""
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
