"""The words that stand for a code wherever a model reads labels: in training, and when a release extends a version.

Label queries and the lexical match start from them, and a bundle keeps the first as the label's description. Official
words where they are held and free: ICD-10-CM, ICD-10-PCS and HCPCS Level II are in the public domain. The descriptors
of CPT are the American Medical Association's, and a bundle travels further than a licence: CPT has our own words
alone, also where the licensee's file is held.
"""

from clinical_coding.code_library import describe
from clinical_coding.code_systems import CodeSystems
from clinical_coding.codes import CodeSystem

__all__ = ["description_of", "terms_of"]


def description_of(system: CodeSystem, code: str, *, release: str | None, systems: CodeSystems) -> str | None:
    """Say what a code means, in words that may lie in a bundle.

    Args:
        system: The code's system.
        code: The code in its usual form.
        release: The edition that it is judged by.
        systems: The held releases.

    Returns:
        ICD-10-CM: the title in that edition; where that is not held or has no such code, of the nearest category in
        the embedded one.
        ICD-10-PCS and HCPCS: the official words of that edition, else of the newest held that has the code, else our
        own. CPT: our own. Null when there are none.
    """
    held = None if release is None else systems.named(system, release)
    if system is CodeSystem.ICD10CM:
        entry = None if held is None else systems.library(held).get(code)
        return describe(system, code, release) if entry is None else entry.description
    if system is CodeSystem.CPT:
        return describe(system, code, release)
    return systems.describe(system, code, None if held is None else held.effective_from)


def terms_of(
    system: CodeSystem, code: str, *, description: str | None, release: str | None, systems: CodeSystems
) -> tuple[str, ...]:
    """A code's description and inclusion terms; the bare code where it has no description.

    Args:
        system: The code's system.
        code: The code in its usual form.
        description: From ``description_of``, or as a bundle keeps it.
        release: The edition that it is judged by.
        systems: The held releases.
    """
    first = description or f"{system} {code}"
    if system is not CodeSystem.ICD10CM:
        return (first,)
    held = None if release is None else systems.named(system, release)
    library = CodeSystems.embedded().icd10cm() if held is None else systems.library(held)
    entry = library.get(code)
    return (first, *(entry.inclusion_terms if entry else ()))
