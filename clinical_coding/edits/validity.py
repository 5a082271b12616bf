"""Rules of validity: the code exists, on the date of service, with all its characters.

Each code is told by one rule at most. Source: Official Guidelines I.A.4, I.A.5, I.B.2; 45 CFR 162.1002.
"""

from collections.abc import Iterator
from functools import lru_cache

from clinical_coding.code_library import CodeLibrary
from clinical_coding.code_systems import Standing
from clinical_coding.codes import Code, CodeSystem
from clinical_coding.edits.case import Case
from clinical_coding.edits.rules import Hit

__all__ = [
    "deleted_codes",
    "headings",
    "missing_placeholders",
    "missing_seventh_characters",
    "not_yet_effective_codes",
    "unknown_codes",
    "wrong_seventh_characters",
]

_LENGTH = 7
"""Characters of a code that has a seventh character, the dot not counted."""


def unknown_codes(case: Case) -> Iterator[Hit]:
    """Codes that no release ever had."""
    for code in _standing(case, Standing.UNKNOWN):
        if code.system is CodeSystem.ICD10CM and _base_of(case.library, code.code) is not None:
            continue
        nearest = case.library.nearest_ancestor(code.code) if code.system is CodeSystem.ICD10CM else None
        yield Hit(
            (code.key,),
            f"No release of {code.system} has the code {code.code}.",
            f"{code.system} code set; 45 CFR 162.1002",
            f"The nearest entry is {nearest.code}, {nearest.description}." if nearest else "Correct the code.",
        )


def deleted_codes(case: Case) -> Iterator[Hit]:
    """Codes that the release in force no longer has."""
    for code in _standing(case, Standing.DELETED):
        yield Hit(
            (code.key,),
            f"{code.code} was deleted before {_date(case)}.",
            f"{code.system} code set in force on the date of service; 45 CFR 162.1002",
            "Use the code that took its place in the release of the date of service.",
        )


def not_yet_effective_codes(case: Case) -> Iterator[Hit]:
    """Codes of a later release."""
    for code in _standing(case, Standing.NOT_YET):
        yield Hit(
            (code.key,),
            f"{code.code} takes effect after {_date(case)}.",
            f"{code.system} code set in force on the date of service; 45 CFR 162.1002",
            "Use a code of the release in force on the date of service, or correct the date.",
        )


def headings(case: Case) -> Iterator[Hit]:
    """Categories and subcategories where a whole code is due."""
    for code in _standing(case, Standing.NOT_A_LEAF):
        is_diagnosis = code.system is CodeSystem.ICD10CM
        if is_diagnosis and case.library.seventh_characters(code.code):
            continue
        children = case.library.children(code.code) if is_diagnosis else ()
        yield Hit(
            (code.key,),
            f"{code.code} is a heading; a code is reported with all its characters.",
            "Official Guidelines I.B.2",
            f"Choose among {_few(children)}." if children else "Add the missing characters.",
        )


def missing_seventh_characters(case: Case) -> Iterator[Hit]:
    """Codes that end before their seventh character."""
    for code in _standing(case, Standing.NOT_A_LEAF):
        if code.system is not CodeSystem.ICD10CM:
            continue
        characters = case.library.seventh_characters(code.code)
        if not characters:
            continue
        is_whole = not any(not _is_extension(code.code, child) for child in case.library.children(code.code))
        example = _extended(code.code, next(iter(characters)))
        yield Hit(
            (code.key,),
            f"{code.code} needs a seventh character ({', '.join(characters)}).",
            "Official Guidelines I.A.5",
            f"For instance {example}." if is_whole else f"Choose among {_few(case.library.children(code.code))}.",
        )


def wrong_seventh_characters(case: Case) -> Iterator[Hit]:
    """Codes whose seventh character the tabular list does not offer."""
    for code in _standing(case, Standing.UNKNOWN):
        base = _base_of(case.library, code.code) if code.system is CodeSystem.ICD10CM else None
        if base is None or _lacks_placeholder(case.library, base, code.code):
            continue
        characters = case.library.seventh_characters(base)
        yield Hit(
            (code.key,),
            f"{base} has the seventh characters {', '.join(characters)}, not those of {code.code}.",
            "Official Guidelines I.A.5",
            f"For instance {_extended(base, next(iter(characters)))}.",
        )


def missing_placeholders(case: Case) -> Iterator[Hit]:
    """Codes whose seventh character stands before the seventh place."""
    for code in _standing(case, Standing.UNKNOWN):
        base = _base_of(case.library, code.code) if code.system is CodeSystem.ICD10CM else None
        if base is not None and _lacks_placeholder(case.library, base, code.code):
            yield Hit(
                (code.key,),
                f"The seventh character of {code.code} is not in the seventh place.",
                "Official Guidelines I.A.4, I.A.5",
                f"Fill the empty places with X: {_extended(base, code.code[-1])}.",
            )


def _standing(case: Case, standing: Standing) -> Iterator[Code]:
    for code, found in zip(case.codes, case.standings, strict=True):
        if found is standing:
            yield code


@lru_cache(maxsize=4096)
def _base_of(library: CodeLibrary, code: str) -> str | None:
    """The longest beginning of an unknown code that only lacks a right seventh character; null when there is none."""
    for length in range(len(code) - 1, 2, -1):
        base = code[:length].rstrip(".")
        if library.get(base) is not None:
            whole = base.removesuffix("X") if library.get(base.removesuffix("X")) is not None else base
            return whole if library.seventh_characters(whole) and not _has_deeper(library, whole) else None
    return None


def _has_deeper(library: CodeLibrary, base: str) -> bool:
    return any(not _is_extension(base, child) for child in library.children(base))


def _is_extension(base: str, child: str) -> bool:
    """True for a child that only adds placeholders and a seventh character."""
    return len(child.replace(".", "")) == _LENGTH or child.removeprefix(base).lstrip(".").strip("X") == ""


def _lacks_placeholder(library: CodeLibrary, base: str, code: str) -> bool:
    written = code.replace(".", "")
    return len(written) < _LENGTH and library.get(_extended(base, written[-1])) is not None


def _extended(base: str, character: str) -> str:
    """A code with its placeholders and seventh character: ``W19``, ``A`` gives ``W19.XXXA``."""
    filled = base.replace(".", "").ljust(_LENGTH - 1, "X") + character
    return f"{filled[:3]}.{filled[3:]}"


def _few(codes: tuple[str, ...]) -> str:
    return ", ".join(codes[:6]) + (", …" if len(codes) > 6 else "")


def _date(case: Case) -> str:
    return case.on.isoformat() if case.on else "the newest release"
